//! The source files of the program.

use std::path::{Path, PathBuf};

/// A module's path without `crate`: `["fetch", "fetcher"]`.
pub(super) type ModulePath = Vec<String>;

/// A source file.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) module: ModulePath,
    pub(super) text: String,
}

pub(super) fn sources() -> Vec<Source> {
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
    assert!(files.len() > 20, "too few source files were found");
    files
}

pub(super) fn module_of(path: &Path) -> ModulePath {
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

pub(super) fn is_test_file(source: &Source) -> bool {
    source.module.last().is_some_and(|last| last == "tests")
}
