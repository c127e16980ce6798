//! Shell completion of values: targets, driver versions and builds of the matrices in the current directory.
//!
//! Completion changes nothing and opens no connection; on any error the answer is empty.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::Context;
use crate::report::read_manifest;
use crate::resolve::{LockUse, PlanRequest, Sources};
use crate::target;

/// With more builds than this, only the next part of their names is offered.
const WHOLE_NAMES: usize = 100;

/// Completes the names of targets: those of the matrices and those that the program supports.
pub(super) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut names: BTreeSet<String> = target::known_ids()
            .into_iter()
            .map(ToString::to_string)
            .collect();
        for matrix in sources().iter().flat_map(|sources| &sources.matrices) {
            let literal = matrix.targets.iter().map(|entry| entry.name.get_ref());
            let literal = literal.filter(|name| name.is_literal());
            names.extend(literal.map(|name| name.as_str().to_owned()));
        }
        matching(names, current)
    })
}

/// Completes driver versions of the matrices.
pub(super) fn drivers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let sources = sources();
        let matrices = sources.iter().flat_map(|sources| &sources.matrices);
        let drivers = matrices.flat_map(|matrix| &matrix.drivers);
        matching(
            drivers.map(|driver| driver.get_ref().version.to_string()),
            current,
        )
    })
}

/// Completes builds of the plan, from the locks as they are.
pub(super) fn builds() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let files = files();
        let request = PlanRequest {
            files: &files,
            lock_use: LockUse::AsIs,
            ..PlanRequest::default()
        };
        let planned = request.plan(&Context::new(PathBuf::new()));
        let builds = planned.iter().flat_map(|planned| &planned.plan.builds);
        by_parts(builds.map(|build| build.id().to_string()), current)
    })
}

/// Completes builds of the last run in `out`.
pub(super) fn builds_of_run() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let manifest = read_manifest(Path::new("out"));
        let builds = manifest.iter().flat_map(|manifest| &manifest.builds);
        by_parts(builds.map(|build| build.build_id.to_string()), current)
    })
}

/// The matrices that the command line names, or those of the current directory.
fn sources() -> Option<Sources> {
    Sources::read(&files()).ok()
}

fn files() -> Vec<PathBuf> {
    let words = std::env::args_os().map(PathBuf::from);
    let is_matrix = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    };
    words
        .filter(|path| is_matrix(path) && path.is_file())
        .collect()
}

fn matching(names: impl IntoIterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let names: BTreeSet<String> = names
        .into_iter()
        .filter(|name| name.starts_with(&*current))
        .collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Returns the names that begin with `current`; if there are many, only their next part, as for paths.
fn by_parts(names: impl IntoIterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let candidates = matching(names, current);
    if candidates.len() <= WHOLE_NAMES {
        return candidates;
    }
    let typed = current.len();
    let parts = candidates.into_iter().map(|candidate| {
        let name = candidate.get_value().to_string_lossy().into_owned();
        let rest = name.get(typed..).unwrap_or_default();
        match rest.find('/') {
            Some(end) => name[..=typed + end].to_owned(),
            None => name,
        }
    });
    let parts: BTreeSet<String> = parts.collect();
    parts.into_iter().map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_builds_are_completed_part_by_part() {
        let names = || (0..=WHOLE_NAMES).map(|number| format!("1/x86_64/debian_{number}"));
        let offered = |current: &str| -> Vec<String> {
            let candidates = by_parts(names(), OsStr::new(current));
            let value = |one: &CompletionCandidate| one.get_value().to_string_lossy().into_owned();
            candidates.iter().map(value).collect()
        };
        assert_eq!(offered(""), ["1/"]);
        assert_eq!(offered("1/"), ["1/x86_64/"]);
        assert_eq!(offered("1/x86_64/").len(), WHOLE_NAMES + 1);
        assert_eq!(offered("1/x86_64/debian_99"), ["1/x86_64/debian_99"]);
        assert!(offered("2").is_empty());
    }
}
