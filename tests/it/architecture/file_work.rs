//! Asynchronous code must not read or write files.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::facts::FACTS;

/// File work of asynchronous code that needs no other thread: nothing else is under way during the look-up.
const ALLOWED: [(&str, &str); 1] = [("run/placing.rs", "report_now")];

/// Functions of `fs` that read and write no files.
const WITHOUT_FILE_WORK: &[&str] = &["blocking"];

/// What these methods are called on: the store, outcomes, the output directory, the log of a job.
const RECEIVERS: [&str; 4] = ["store", "outcomes", "out", "log"];

/// Their methods that may read, write or wait for a long time.
const FILE_WORK: &[&str] = &[
    "discard_tree",
    "finish",
    "has_whole_blob",
    "is_untouched",
    "place",
    "place_log",
    "put",
    "put_blob",
    "put_tree",
    "seal_tree",
    "temporary_folder",
];

/// The file work of a function, and the functions of the same file that it calls.
#[derive(Default)]
struct Function {
    file_work: Vec<String>,
    calls: Vec<String>,
}

/// Collects file work and calls; closures, which may run on a blocking thread, belong to no function.
#[derive(Default)]
struct FileWork {
    is_async: bool,
    /// The synchronous function that is being visited.
    function: Option<String>,
    functions: BTreeMap<String, Function>,
    asynchronous: Function,
    /// The names of asynchronous functions, which are judged by themselves.
    names: BTreeSet<String>,
}

impl FileWork {
    fn within(&mut self, is_async: bool, function: Option<String>, visit: impl FnOnce(&mut Self)) {
        let outer = (self.is_async, self.function.take());
        (self.is_async, self.function) = (is_async, function);
        visit(self);
        (self.is_async, self.function) = outer;
    }

    fn note(&mut self, signature: &syn::Signature) {
        if signature.asyncness.is_some() {
            self.names.insert(signature.ident.to_string());
        }
    }

    fn current(&mut self) -> Option<&mut Function> {
        if self.is_async {
            return Some(&mut self.asynchronous);
        }
        let function = self.function.as_ref()?;
        Some(self.functions.entry(function.clone()).or_default())
    }

    /// Returns true if a function does file work, itself or through functions of the same file.
    fn works(&self, name: &str, seen: &mut BTreeSet<String>) -> bool {
        let Some(function) = self.functions.get(name) else {
            return false;
        };
        !self.names.contains(name)
            && seen.insert(name.to_owned())
            && (!function.file_work.is_empty()
                || function.calls.iter().any(|call| self.works(call, seen)))
    }
}

impl<'ast> Visit<'ast> for FileWork {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig);
        let name = Some(item.sig.ident.to_string());
        self.within(item.sig.asyncness.is_some(), name, |this| {
            visit::visit_item_fn(this, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig);
        let name = Some(item.sig.ident.to_string());
        self.within(item.sig.asyncness.is_some(), name, |this| {
            visit::visit_impl_item_fn(this, item);
        });
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.within(true, None, |this| visit::visit_expr_async(this, block));
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.within(closure.asyncness.is_some(), None, |this| {
            visit::visit_expr_closure(this, closure);
        });
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(current) = self.current()
        {
            let path = &function.path.segments;
            let words: Vec<String> = path.iter().map(|word| word.ident.to_string()).collect();
            let last = words.last().map_or("", String::as_str);
            let is_own = words.len() == 1 || words[0] == "Self";
            let is_tokio = words[0] == "tokio";
            let is_file_work = !is_tokio
                && (["tree_digest_of_folder", "single_folder", "tempdir"].contains(&last)
                    || words.ends_with(&["LogWriter".to_owned(), "create".to_owned()])
                    || words[..words.len() - 1].iter().any(|word| word == "fs"));
            if !is_file_work {
                if is_own {
                    current.calls.push(last.to_owned());
                }
            } else if !WITHOUT_FILE_WORK.contains(&last) {
                current.file_work.push(words.join("::"));
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_of_files = match &*call.receiver {
            syn::Expr::Field(field) => {
                matches!(&field.member, syn::Member::Named(name) if RECEIVERS.contains(&&*name.to_string()))
            }
            syn::Expr::Path(path) => RECEIVERS.iter().any(|name| path.path.is_ident(name)),
            _ => false,
        };
        let is_own = matches!(&*call.receiver, syn::Expr::Path(path) if path.path.is_ident("self"));
        let name = call.method.to_string();
        if let Some(current) = self.current() {
            if is_of_files && FILE_WORK.contains(&name.as_str()) {
                current.file_work.push(format!(".{name}()"));
            } else if is_own {
                current.calls.push(name);
            }
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Returns the calls in a file's asynchronous code that do file work.
pub(super) fn asynchronous_file_work(file: &syn::File) -> Vec<String> {
    let mut work = FileWork::default();
    work.visit_file(file);
    let calls = work.asynchronous.calls.iter();
    let indirect = calls.filter(|call| work.works(call, &mut BTreeSet::new()));
    let direct = work.asynchronous.file_work.iter();
    direct.chain(indirect).cloned().collect()
}

#[test]
fn asynchronous_code_does_file_work_on_blocking_threads_only() {
    let mut wrong = Vec::new();
    let mut allowed = 0;
    for facts in FACTS.iter().filter(|facts| !facts.is_of_tests) {
        let path = facts.path.display().to_string();
        for found in &facts.file_work {
            if ALLOWED.contains(&(path.as_str(), found.as_str())) {
                allowed += 1;
            } else {
                wrong.push(format!("{path}: {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        allowed,
        ALLOWED.len(),
        "an exception is not needed any more"
    );
}
