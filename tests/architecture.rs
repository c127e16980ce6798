//! Rules of the code base that the compiler does not check.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files
}

/// The module that a file belongs to: the first part of its path.
fn module_of(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../docs/architecture.md");
    let table = text
        .split("## Modules and what they may import")
        .nth(1)
        .unwrap();
    let table = table.split("## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let words = |cell: &str| -> BTreeSet<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        rows.insert(
            cells[0].trim_matches('`').to_owned(),
            (words(cells[2]), cells[2].starts_with("everything")),
        );
    }
    let all: BTreeSet<String> = rows.keys().cloned().collect();
    rows.into_iter()
        .map(|(module, (named, everything))| {
            let allowed = if everything {
                all.difference(&named).cloned().collect()
            } else {
                named
            };
            (module, allowed)
        })
        .collect()
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let allowed = allowed();
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let row = allowed
            .get(&module)
            .unwrap_or_else(|| panic!("docs/architecture.md has no row for `{module}`"));
        let is_test = path
            .components()
            .any(|part| part.as_os_str() == "tests.rs" || part.as_os_str() == "tests");
        if is_test {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for rest in line.split("crate::").skip(1) {
                let other: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if other != module && !other.is_empty() && !row.contains(&other) {
                    wrong.insert(format!("{} imports {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_small() {
    let large: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .filter_map(|(path, text)| {
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap()
                .lines()
                .count();
            (code > 500).then(|| format!("{}: {code} lines", path.display()))
        })
        .collect();
    assert!(large.is_empty(), "these files want splitting: {large:#?}");
}
