//! Merges equal builds and finds contradictions between matrices.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::candidate::{Candidate, order_of};
use super::{Build, Expansion, FoundAt};
use crate::diagnostic::{Diagnostic, Place};
use crate::driver::{Driver, DriverVersion};

/// The maximum number of contradictions shown: one wrong file can cause thousands of the same kind.
const SHOWN_CONFLICTS: usize = 10;

/// Returns an error for each driver version that has different sources or names in two matrices.
pub(super) fn conflicting_drivers(expansions: &[Expansion<'_>]) -> Vec<Diagnostic> {
    let mut seen: HashMap<&DriverVersion, (&Driver, Place)> = HashMap::new();
    let mut conflicts = Vec::new();
    for expansion in expansions {
        for driver in &expansion.matrix.drivers {
            let place = expansion.matrix.place(driver.span());
            let driver = &**driver.get_ref();
            match seen.get(&driver.version) {
                Some((first, first_place)) if *first != driver => conflicts.push(
                    Diagnostic::error(format!(
                        "driver `{}` has different sources or names in another matrix",
                        driver.version
                    ))
                    .at(place, "here")
                    .at(first_place.clone(), "and here")
                    .help("use the same [driver] table in both, or another version name in one of them"),
                ),
                Some(_) => {}
                None => {
                    seen.insert(&driver.version, (driver, place));
                }
            }
        }
    }
    conflicts
}

/// Sorts the candidates, unless they are already in order, and merges equal ones. Returns the builds and the number of
/// duplicates.
pub(super) fn merge(
    expansions: &[Expansion<'_>],
    mut candidates: Vec<Candidate>,
    are_ordered: bool,
) -> Result<(Vec<Build>, usize), Vec<Diagnostic>> {
    if !are_ordered {
        candidates.par_sort_by(|left, right| order_of(&left.build, &right.build));
    }
    let follows = |pair: &[Candidate]| pair[1].follows(Some(&pair[0]));
    if are_ordered || candidates.par_windows(2).all(follows) {
        let builds = candidates.into_iter().map(|one| one.build);
        return Ok((builds.collect(), 0));
    }
    let mut duplicates = 0;
    let mut conflicts = Vec::new();
    let mut origins = HashSet::new();
    candidates.dedup_by(|candidate, last| {
        if !is_same_build(&last.build, &candidate.build) {
            return false;
        }
        duplicates += 1;
        if let Some(difference) = difference(&last.build, &candidate.build) {
            if origins.insert((last.origin.clone(), candidate.origin.clone(), difference)) {
                conflicts.push(conflict(expansions, last, candidate, difference));
            }
        } else if last.build.artifacts != candidate.build.artifacts {
            let mut artifacts = last.build.artifacts.to_vec();
            artifacts.extend(candidate.build.artifacts.iter());
            artifacts.sort();
            artifacts.dedup();
            last.build.artifacts = artifacts.into();
        }
        true
    });
    if conflicts.is_empty() {
        return Ok((
            candidates.into_iter().map(|one| one.build).collect(),
            duplicates,
        ));
    }
    let hidden = conflicts.len().saturating_sub(SHOWN_CONFLICTS);
    conflicts.truncate(SHOWN_CONFLICTS);
    if hidden > 0 {
        conflicts.push(Diagnostic::error(format!(
            "{hidden} more conflicts of the same kinds"
        )));
    }
    Err(conflicts)
}

fn is_same_build(left: &Build, right: &Build) -> bool {
    left.is_of_same_kernel(right) && left.driver.version == right.driver.version
}

/// Returns what differs between two builds with the same id, or `None` if they are compatible.
fn difference(left: &Build, right: &Build) -> Option<&'static str> {
    if left.kernel.config_sha256 != right.kernel.config_sha256 {
        Some("kernel configurations")
    } else if !left.kernel.has_same_inputs(&right.kernel) {
        Some("header packages")
    } else if left.settings != right.settings {
        Some("settings")
    } else {
        None
    }
}

fn conflict(
    expansions: &[Expansion<'_>],
    first: &Candidate,
    second: &Candidate,
    difference: &str,
) -> Diagnostic {
    let place = |one: &Candidate| {
        let (matrix, span) = &*one.origin;
        let Expansion {
            matrix, found_at, ..
        } = &expansions[*matrix];
        // Settings come from the matrix, not from a lock.
        let FoundAt(found_at) = found_at.filter(|_| difference != "settings")?;
        let mut entries = matrix.targets.iter();
        let entry = entries.find(|entry| entry.kernels.span() == *span)?;
        let place = found_at(entry, &one.build.kernel)?;
        Some((place, format!("found for `{}`", entry.label)))
    };
    let place_or = |one: &Candidate, label: &str| {
        let (matrix, span) = &*one.origin;
        let named = || {
            (
                expansions[*matrix].matrix.place(span.clone()),
                label.to_owned(),
            )
        };
        place(one).unwrap_or_else(named)
    };
    let (here, label) = place_or(second, "here");
    let (there, other_label) = place_or(first, "and here");
    let kernel = &second.build.kernel;
    let help = match difference {
        "settings" => "put settings for some of the builds into an [[override]]",
        _ => "remove one of the two, or exclude the kernel from one source",
    };
    Diagnostic::error(format!(
        "kernel {kernel} is listed twice with different {difference}"
    ))
    .at(here, label)
    .at(there, other_label)
    .help(help)
}
