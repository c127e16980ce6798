//! Rules of the code base that the compiler does not check: who imports whom, and how large a file may be.
//!
//! Sources are parsed, so groups, nested groups, `super::super` and paths in expressions count; code under
//! `#[cfg(test)]` does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use syn::visit::{self, Visit};

/// Rooms whose files still import each other in circles of more than two.
const ROOMS_WITH_CIRCLES: &[&str] = &["cli", "discover", "executor", "source"];

/// Rooms in which not even two files import each other.
const ROOMS_WITHOUT_CIRCLES: &[&str] = &["engine", "recipe", "resolve", "run", "session"];

/// A module's path without `crate`: `["fetch", "fetcher"]`.
type ModulePath = Vec<String>;

/// A source file.
struct Source {
    path: PathBuf,
    module: ModulePath,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_owned();
                files.push(Source {
                    module: module_of(&relative),
                    text: std::fs::read_to_string(&path).unwrap(),
                    path: relative,
                });
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files
}

fn module_of(path: &Path) -> ModulePath {
    let mut parts: ModulePath = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn is_test_file(source: &Source) -> bool {
    source.module.last().is_some_and(|last| last == "tests")
}

/// A path that a file names, made absolute.
struct Named {
    path: ModulePath,
    /// Whether it stands in a `pub use`: its module passes it on.
    is_reexport: bool,
}

/// Collects the paths of this crate that a file names.
struct Names {
    module: ModulePath,
    found: Vec<Named>,
    children: BTreeSet<String>,
    is_reexport: bool,
}

/// What each source file names; tests are left out.
static NAMES: LazyLock<BTreeMap<ModulePath, Vec<Named>>> = LazyLock::new(|| {
    let sources = sources();
    let sources = sources.iter().filter(|source| !is_test_file(source));
    sources
        .map(|source| (source.module.clone(), Names::of(source)))
        .collect()
});

impl Names {
    fn of(source: &Source) -> Vec<Named> {
        let file = syn::parse_file(&source.text).unwrap();
        let children = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        });
        let mut names = Self {
            module: source.module.clone(),
            found: Vec::new(),
            children: children.collect(),
            is_reexport: false,
        };
        names.visit_file(&file);
        names.found
    }

    /// Takes a path whose first word says where it begins.
    fn take(&mut self, words: &[String]) {
        let mut base = self.module.clone();
        let mut rest = words;
        match words.first().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest = &words[1..];
            }
            Some("self") => rest = &words[1..],
            Some("super") => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            Some(first) if self.children.contains(first) => {}
            _ => return,
        }
        base.extend(rest.iter().cloned());
        self.found.push(Named {
            path: base,
            is_reexport: self.is_reexport,
        });
    }

    fn take_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.take_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(before, tree);
                }
            }
            syn::UseTree::Glob(_) => self.take(before),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.take(before);
                before.pop();
            }
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.take_tree(&mut Vec::new(), &item.tree);
        self.is_reexport = false;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if words.len() > 1 && path.leading_colon.is_none() {
            self.take(&words);
        }
        visit::visit_path(self, path);
    }

    /// Arguments of macros are not parsed: their words are looked through.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string().replace(' ', "");
        for rest in text.split("crate::").skip(1) {
            let path = rest
                .split(|found: char| !(found.is_alphanumeric() || found == '_' || found == ':'))
                .next()
                .unwrap_or_default();
            let words = path.split("::").map(str::to_owned);
            let words: Vec<String> = std::iter::once("crate".to_owned()).chain(words).collect();
            self.take(&words);
        }
        visit::visit_macro(self, called);
    }
}

/// The table of docs/architecture.md: for each module, those that it may import, and whether its row names them.
fn table() -> BTreeMap<String, (BTreeSet<String>, bool)> {
    let text = include_str!("../../docs/architecture.md");
    let table = text
        .split("## Modules and what they may import")
        .nth(1)
        .unwrap();
    let table = table.split("## ").next().unwrap();
    let words = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let module = cells[0].trim_matches('`').to_owned();
        let row = (words(cells[2]), cells[2].starts_with("everything"));
        let earlier = rows.insert(module.clone(), row);
        assert!(earlier.is_none(), "`{module}` has two rows");
    }
    let all: BTreeSet<String> = rows.keys().cloned().collect();
    rows.into_iter()
        .map(|(module, (named, is_everything))| {
            let mut allowed = named;
            if is_everything {
                allowed = all.difference(&allowed).cloned().collect();
                allowed.remove(&module);
            }
            (module, (allowed, !is_everything))
        })
        .collect()
}

/// What each top-level module imports, with the modules in it that do.
fn imports() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut imports: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (path, names) in &*NAMES {
        let module = &path[0];
        if module == "main" || module == "lib" {
            continue;
        }
        let others = imports.entry(module.clone()).or_default();
        for other in names.iter().filter_map(|named| named.path.first()) {
            if other != module {
                let files = others.entry(other.clone()).or_default();
                files.insert(path.join("::"));
            }
        }
    }
    imports
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let table = table();
    let mut wrong = Vec::new();
    for (module, others) in imports() {
        let (allowed, _) = table
            .get(&module)
            .unwrap_or_else(|| panic!("docs/architecture.md has no row for `{module}`"));
        for (other, files) in others {
            if !allowed.contains(&other) {
                wrong.push(format!("{module} imports {other}: {files:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_permission_of_the_architecture_is_used() {
    let imports = imports();
    let mut unused = Vec::new();
    for (module, (allowed, is_named)) in table() {
        let used = imports.get(&module).unwrap_or_else(|| {
            panic!("docs/architecture.md has a row for `{module}`, which does not exist")
        });
        let others = allowed
            .iter()
            .filter(|other| is_named && !used.contains_key(*other));
        unused.extend(others.map(|other| format!("{module} may import {other}, and does not")));
    }
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn table_of_the_architecture_has_no_circle() {
    let graph = table()
        .into_iter()
        .map(|(module, (allowed, _))| (module, allowed))
        .collect();
    assert_eq!(circles(&graph), Vec::<BTreeSet<String>>::new());
}

#[test]
fn files_of_a_room_import_each_other_in_no_circle() {
    // What a `mod.rs` passes on is its child's.
    let mut passed_on: BTreeMap<(ModulePath, String), ModulePath> = BTreeMap::new();
    for (module, names) in &*NAMES {
        for named in names.iter().filter(|named| named.is_reexport) {
            let name = named.path.last().unwrap().clone();
            passed_on.insert((module.clone(), name), named.path.clone());
        }
    }
    let file_of = |path: &ModulePath| -> Option<ModulePath> {
        let mut path = path.clone();
        for _ in 0..8 {
            let inside = (1..=path.len())
                .rev()
                .find(|&length| NAMES.contains_key(&path[..length]))?;
            let next = path
                .get(inside)
                .and_then(|name| passed_on.get(&(path[..inside].to_vec(), name.clone())));
            match next {
                Some(next) => path.clone_from(next),
                None => return Some(path[..inside].to_vec()),
            }
        }
        None
    };
    let mut wrong = Vec::new();
    let mut rooms: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, names) in &*NAMES {
        let others = names
            .iter()
            .filter(|named| !named.is_reexport)
            .filter_map(|named| file_of(&named.path))
            .filter(|other| other != module && other[0] == module[0]);
        let graph = rooms.entry(module[0].clone()).or_default();
        graph
            .entry(module.join("::"))
            .or_default()
            .extend(others.map(|other| other.join("::")));
    }
    for (room, graph) in rooms {
        let circles = circles(&graph);
        let most = if ROOMS_WITHOUT_CIRCLES.contains(&room.as_str()) {
            1
        } else {
            2
        };
        let has_circle = circles.iter().any(|circle| circle.len() > most);
        if has_circle && !ROOMS_WITH_CIRCLES.contains(&room.as_str()) {
            wrong.push(format!("{room}: {circles:?}"));
        }
        if !has_circle && ROOMS_WITH_CIRCLES.contains(&room.as_str()) {
            wrong.push(format!(
                "{room} has no circle any more: take it off the list"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The sets of two or more that can all be reached from each other.
fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(node) = next.pop() {
            for other in graph.get(node).into_iter().flatten() {
                if seen.insert(other.clone()) {
                    next.push(other);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|node| (node, reached(node))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (node, reached) in &all {
        let circle: BTreeSet<String> = reached
            .iter()
            .filter(|other| all.get(other).is_some_and(|back| back.contains(*node)))
            .cloned()
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn files_stay_small() {
    let large: Vec<_> = sources()
        .into_iter()
        .filter(|source| !is_test_file(source))
        .filter_map(|source| {
            let code = source
                .text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap()
                .lines()
                .count();
            (code > 500).then(|| format!("{}: {code} lines", source.path.display()))
        })
        .collect();
    assert!(large.is_empty(), "these files want splitting: {large:#?}");
}

/// An error's own text, and the fields that are its sources.
#[derive(Default)]
struct ErrorTexts {
    found: Vec<String>,
}

impl ErrorTexts {
    fn look_at(&mut self, name: &str, attributes: &[syn::Attribute], fields: &syn::Fields) {
        let text = attributes.iter().find_map(|attribute| {
            if !attribute.path().is_ident("error") {
                return None;
            }
            let tokens = attribute.meta.require_list().ok()?.tokens.clone();
            let first = tokens.into_iter().next()?;
            syn::parse_str::<syn::LitStr>(&first.to_string()).ok()
        });
        let Some(text) = text.map(|text| text.value()) else {
            return;
        };
        for (index, field) in fields.iter().enumerate() {
            let field_name = field
                .ident
                .as_ref()
                .map_or_else(|| index.to_string(), ToString::to_string);
            let is_marked = field.attrs.iter().any(|attribute| {
                attribute.path().is_ident("source") || attribute.path().is_ident("from")
            });
            let is_source = is_marked || field_name == "source";
            let is_said = [":", "}"]
                .iter()
                .any(|end| text.contains(&format!("{{{field_name}{end}")));
            if is_source && is_said {
                self.found.push(format!("{name}: {text}"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for ErrorTexts {
    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.look_at(&variant.ident.to_string(), &variant.attrs, &variant.fields);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.look_at(&item.ident.to_string(), &item.attrs, &item.fields);
    }
}

#[test]
fn errors_say_their_cause_or_return_it_but_not_both() {
    let mut texts = ErrorTexts::default();
    for source in sources() {
        let file = syn::parse_file(&source.text).unwrap();
        texts.visit_file(&file);
    }
    assert!(
        texts.found.is_empty(),
        "these errors interpolate their source, so that it would be printed twice: {:#?}",
        texts.found
    );

    let wrong: syn::File = syn::parse_quote! {
        enum Wrong {
            #[error("no file: {source}")]
            One { source: std::io::Error },
            #[error("no file: {0}")]
            Two(#[from] std::io::Error),
            #[error("no file {path}")]
            Right { path: String, source: std::io::Error },
        }
    };
    let mut texts = ErrorTexts::default();
    texts.visit_file(&wrong);
    assert_eq!(texts.found.len(), 2, "{:?}", texts.found);
}

/// Rooms whose asynchronous code leaves file work to `crate::fs::blocking`.
const ROOMS_WITHOUT_FILE_WORK: &[&str] = &["engine", "recipe", "run"];

/// Methods of the store, outcomes and the output folder that read, write or wait for many bytes.
const FILE_WORK: &[&str] = &[
    "discard_tree",
    "has_whole_blob",
    "is_untouched",
    "place",
    "place_log",
    "put",
    "put_blob",
    "put_tree",
    "seal_tree",
];

/// Finds file work in asynchronous code; a closure that is handed to a thread that may wait is none.
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
                matches!(&field.member, syn::Member::Named(name) if ["store", "outcomes", "out"].contains(&&*name.to_string()))
            }
            syn::Expr::Path(path) => ["store", "outcomes", "out"]
                .iter()
                .any(|name| path.path.is_ident(name)),
            _ => false,
        };
        let name = call.method.to_string();
        if self.is_async && is_of_files && FILE_WORK.contains(&name.as_str()) {
            self.found.push(format!(".{name}()"));
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[test]
fn asynchronous_code_leaves_file_work_to_threads_that_may_wait() {
    let mut wrong = Vec::new();
    for source in sources() {
        let is_meant = ROOMS_WITHOUT_FILE_WORK.contains(&source.module[0].as_str());
        if !is_meant || is_test_file(&source) {
            continue;
        }
        let mut work = AsyncFileWork {
            is_async: false,
            found: Vec::new(),
        };
        work.visit_file(&syn::parse_file(&source.text).unwrap());
        let path = source.path.display();
        wrong.extend(work.found.iter().map(|found| format!("{path}: {found}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
