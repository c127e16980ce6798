//! Facts about each source file, which is parsed once for all tests.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use super::errors::repeated_causes;
use super::file_work::asynchronous_file_work;
use super::names::{Named, names_of};
use super::sources::{ModulePath, Source, is_test_file, sources};

/// The facts about a source file.
pub(super) struct Facts {
    pub(super) path: PathBuf,
    pub(super) module: ModulePath,
    pub(super) is_of_tests: bool,
    pub(super) names: Vec<Named>,
    pub(super) errors: Vec<String>,
    pub(super) file_work: Vec<String>,
}

/// All source files, parsed on all processors.
pub(super) static FACTS: LazyLock<Vec<Facts>> = LazyLock::new(|| {
    let sources = Mutex::new(sources().into_iter());
    let facts = Mutex::new(Vec::new());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let Some(source) = sources.lock().unwrap().next() else {
                        return;
                    };
                    let found = Facts::of(source);
                    facts.lock().unwrap().push(found);
                }
            });
        }
    });
    facts.into_inner().unwrap()
});

impl Facts {
    fn of(source: Source) -> Self {
        let file = syn::parse_file(&source.text).unwrap();
        Self {
            names: names_of(&source, &file),
            errors: repeated_causes(&file),
            file_work: asynchronous_file_work(&file),
            is_of_tests: is_test_file(&source),
            path: source.path,
            module: source.module,
        }
    }
}
