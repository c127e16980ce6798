//! The paths of the crate that source files name.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::sources::{ModulePath, Source};

/// A path that a file names, made absolute.
pub(super) struct Named {
    pub(super) path: ModulePath,
    /// The name that a `use` gives it.
    pub(super) name: String,
    /// Whether the path is in a `pub use`, so that the module re-exports it.
    pub(super) is_reexport: bool,
}

/// Collects the paths of this crate that a file names.
struct Names {
    module: ModulePath,
    found: Vec<Named>,
    children: BTreeSet<String>,
    is_reexport: bool,
}

/// Returns the paths that a file names, without its tests.
pub(super) fn names_of(source: &Source, file: &syn::File) -> Vec<Named> {
    let children = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    let mut names = Names {
        module: source.module.clone(),
        found: Vec::new(),
        children: children.collect(),
        is_reexport: false,
    };
    names.visit_file(file);
    names.found
}

impl Names {
    /// Records a path; its first word tells where the path starts.
    fn take(&mut self, words: &[String], name: &str) {
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
            name: name.to_owned(),
            is_reexport: self.is_reexport,
        });
    }

    fn take_name(&mut self, before: &mut Vec<String>, ident: &syn::Ident, name: &syn::Ident) {
        before.push(ident.to_string());
        self.take(before, &name.to_string());
        before.pop();
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
            syn::UseTree::Glob(_) => self.take(before, "*"),
            syn::UseTree::Name(syn::UseName { ident }) => self.take_name(before, ident, ident),
            syn::UseTree::Rename(syn::UseRename { ident, rename, .. }) => {
                self.take_name(before, ident, rename);
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

    /// `pub(in crate::room)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if words.len() > 1 && path.leading_colon.is_none() {
            self.take(&words, "");
        }
        visit::visit_path(self, path);
    }

    /// Arguments of macros are not parsed: their text is searched for paths.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string().replace(' ', "");
        for rest in text.split("crate::").skip(1) {
            let path = rest
                .split(|found: char| !(found.is_alphanumeric() || found == '_' || found == ':'))
                .next()
                .unwrap_or_default();
            let words = path.split("::").map(str::to_owned);
            let words: Vec<String> = std::iter::once("crate".to_owned()).chain(words).collect();
            self.take(&words, "");
        }
        visit::visit_macro(self, called);
    }
}
