//! Rules of the code base that the compiler does not check, such as allowed imports and the size of a file.
//!
//! The sources are parsed, so groups, nested groups, `super::super` and paths in expressions count; code under
//! `#[cfg(test)]` does not count.

mod errors;
mod facts;
mod file_work;
mod names;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use facts::FACTS;
use names::Named;
use sources::{ModulePath, is_test_file, sources};

/// Top-level modules whose files must not import each other at all, not even in pairs.
const ROOMS_WITHOUT_CIRCLES: &[&str] = &["engine", "recipe", "resolve", "run", "session"];

/// The table of docs/architecture.md: for each module, the modules that it may import, and whether the row lists them
/// by name.
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

/// Returns the paths that each source file names, without tests.
fn names() -> BTreeMap<&'static [String], &'static [Named]> {
    let files = FACTS.iter().filter(|facts| !facts.is_of_tests);
    files.map(|facts| (&*facts.module, &*facts.names)).collect()
}

/// Returns the modules that each top-level module imports, with the files that import them.
fn imports() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut imports: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (path, names) in names() {
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
fn every_import_that_the_architecture_allows_is_used() {
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
fn the_table_of_the_architecture_has_no_cycle() {
    let graph = table()
        .into_iter()
        .map(|(module, (allowed, _))| (module, allowed))
        .collect();
    assert_eq!(circles(&graph), Vec::<BTreeSet<String>>::new());
}

#[test]
fn files_of_a_module_do_not_import_each_other_in_a_cycle() {
    let all = names();
    // A name that a `mod.rs` re-exports belongs to the child module.
    let mut passed_on: BTreeMap<(ModulePath, String), ModulePath> = BTreeMap::new();
    for (module, names) in &all {
        for named in names.iter().filter(|named| named.is_reexport) {
            passed_on.insert((module.to_vec(), named.name.clone()), named.path.clone());
        }
    }
    let file_of = |path: &ModulePath| -> Option<ModulePath> {
        let mut path = path.clone();
        for _ in 0..8 {
            let inside = (1..=path.len())
                .rev()
                .find(|&length| all.contains_key(&path[..length]))?;
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
    for (module, names) in &all {
        let others = names
            .iter()
            .filter(|named| !named.is_reexport)
            .filter_map(|named| file_of(&named.path))
            .filter(|other| other != *module && other[0] == module[0]);
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
        if circles.iter().any(|circle| circle.len() > most) {
            wrong.push(format!("{room}: {circles:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the sets of two or more nodes that can all be reached from each other.
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
    assert!(
        large.is_empty(),
        "these files are longer than 500 lines; split them: {large:#?}"
    );
}
