//! Asynchronous code must not read or write files.

use syn::visit::{self, Visit};

use super::facts::FACTS;

/// Top-level modules whose asynchronous code must use `crate::fs::blocking` for file work.
const ROOMS_WITHOUT_FILE_WORK: &[&str] = &["engine", "recipe", "run"];

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

/// Finds file work in asynchronous code; closures that run on a blocking thread are not searched.
struct AsyncFileWork {
    is_async: bool,
    found: Vec<String>,
}

impl AsyncFileWork {
    fn within<T>(&mut self, is_async: bool, visit: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.is_async, is_async);
        let value = visit(self);
        self.is_async = outer;
        value
    }
}

impl<'ast> Visit<'ast> for AsyncFileWork {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(item.sig.asyncness.is_some(), |this| {
            visit::visit_item_fn(this, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(item.sig.asyncness.is_some(), |this| {
            visit::visit_impl_item_fn(this, item);
        });
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.within(true, |this| visit::visit_expr_async(this, block));
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.within(closure.asyncness.is_some(), |this| {
            visit::visit_expr_closure(this, closure);
        });
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if self.is_async
            && let syn::Expr::Path(function) = &*call.func
        {
            let path = &function.path.segments;
            let words: Vec<String> = path.iter().map(|word| word.ident.to_string()).collect();
            let is_file_work = ["tree_digest_of_folder", "single_folder"]
                .contains(&words.last().map_or("", String::as_str))
                || words.ends_with(&["LogWriter".to_owned(), "create".to_owned()])
                || words[..words.len() - 1].iter().any(|word| word == "fs");
            if is_file_work && words.last().is_some_and(|last| last != "blocking") {
                self.found.push(words.join("::"));
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
        let name = call.method.to_string();
        if self.is_async && is_of_files && FILE_WORK.contains(&name.as_str()) {
            self.found.push(format!(".{name}()"));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Returns the calls in a file's asynchronous code that do file work.
pub(super) fn asynchronous_file_work(file: &syn::File) -> Vec<String> {
    let mut work = AsyncFileWork {
        is_async: false,
        found: Vec::new(),
    };
    work.visit_file(file);
    work.found
}

#[test]
fn asynchronous_code_does_file_work_on_blocking_threads_only() {
    let mut wrong = Vec::new();
    for facts in FACTS.iter().filter(|facts| !facts.is_of_tests) {
        if ROOMS_WITHOUT_FILE_WORK.contains(&facts.module[0].as_str()) {
            let path = facts.path.display();
            let found = facts.file_work.iter();
            wrong.extend(found.map(|found| format!("{path}: {found}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
