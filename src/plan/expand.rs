//! Expands matrices and their kernels into a [`Plan`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::candidate::Candidate;
use super::doubts::Doubts;
use super::grid::{Grid, LOOKED_AT_ONCE};
use super::merge::{conflicting_drivers, merge};
use super::names::Claim;
use super::used::UsedRules;
use super::{Build, LeftOut, Names, Plan};
use crate::diagnostic::{Diagnostic, Place};
use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Identity, Kernel, TargetId};
use crate::matrix::{Matrix, TargetEntry};
use crate::target::{AskedNames, Rules};

/// Returns the place of a kernel that was discovered for a `[[target]]`: a line of a lock.
#[derive(Clone, Copy)]
pub struct FoundAt<'a>(pub &'a dyn Fn(&TargetEntry, &Kernel) -> Option<Place>);

impl std::fmt::Debug for FoundAt<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FoundAt")
    }
}

/// A matrix with the kernels of each of its `[[target]]` tables.
#[derive(Clone, Debug)]
pub struct Expansion<'a> {
    /// The matrix.
    pub matrix: &'a Matrix,
    /// The kernels of each target, in the order of the file, each with its byte range in the matrix.
    pub kernels: Vec<Vec<(Arc<Kernel>, Range<usize>)>>,
    /// Entries left out before the expansion: kernels that are no longer in their source.
    pub left_out: Vec<LeftOut>,
    /// Finds the place that a message about a discovered kernel points to; `None` points to the `[[target]]`.
    pub found_at: Option<FoundAt<'a>>,
}

/// A plan and the warnings of its expansion.
#[derive(Clone, Debug, Default)]
pub struct Expanded {
    /// The plan.
    pub plan: Plan,
    /// Rules that match nothing, and kernels for which nothing can be built.
    pub warnings: Vec<Diagnostic>,
}

/// Multiplies out the matrices: drivers x kernels x architectures x artifacts, minus everything that rules leave out,
/// without duplicates. The kernels are moved into the plan: freeing a second reference to each kernel of a large lock
/// takes long. `image` is the builder image from the command line, which overrides the matrices. The errors are
/// contradictions between matrices, each with both places.
pub fn expand(
    mut expansions: Vec<Expansion<'_>>,
    image: Option<&str>,
) -> Result<Expanded, Vec<Diagnostic>> {
    let conflicts = conflicting_drivers(&expansions);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut are_ordered = true;
    let mut expanded = Expanded::default();
    for (index, expansion) in expansions.iter_mut().enumerate() {
        expanded.plan.left_out.append(&mut expansion.left_out);
        let grid = Grid::new(index, expansion.matrix, image);
        let mut used = UsedRules::none_of(expansion.matrix);
        let kernels = std::mem::take(&mut expansion.kernels);
        for (entry, kernels) in expansion.matrix.targets.iter().zip(kernels) {
            candidates.reserve(kernels.len());
            grid.each_part(entry, kernels, |mut part| {
                if let Some(first) = part.candidates.first() {
                    are_ordered &= part.is_ordered && first.follows(candidates.last());
                }
                candidates.append(&mut part.candidates);
                expanded.plan.left_out.append(&mut part.left_out);
                expanded.plan.unbuilt.append(&mut part.unbuilt);
                used.add(&part.used);
            });
        }
        expanded
            .warnings
            .append(&mut used.warnings(expansion.matrix));
    }
    let (builds, duplicates) = merge(&expansions, candidates, are_ordered)?;
    let (names, doubts) = look_at_kernels(&builds);
    expanded.warnings.extend(doubts);
    expanded.plan.names = names;
    expanded.plan.builds = builds;
    expanded.plan.duplicates = duplicates;
    let left_out = &mut expanded.plan.left_out;
    left_out.par_sort_by(|left, right| order_of(left).cmp(&order_of(right)));
    left_out.dedup_by(|right, left| order_of(left) == order_of(right));
    Ok(expanded)
}

/// Assigns the loader's names to all kernels of a plan, and returns warnings about suspect kernels. One pass does both,
/// because reading the kernels of a large lock from memory takes longer than processing them.
fn look_at_kernels(builds: &[Build]) -> (Names, Vec<Diagnostic>) {
    // Builds of one kernel are neighbours. If they come from several matrices, they may not share the `Kernel`.
    let kernels: Vec<&Arc<Kernel>> = builds
        .par_chunk_by(Build::shares_kernel)
        .map(|builds| &builds[0].kernel)
        .collect();
    let parts: Vec<(Vec<_>, Doubts<'_>, BTreeSet<&TargetId>)> = (0..kernels.len())
        .into_par_iter()
        .step_by(LOOKED_AT_ONCE)
        .map(|start| {
            let (mut claims, mut doubts) = (Vec::new(), Doubts::default());
            let mut unasked = BTreeSet::new();
            let mut last = start.checked_sub(1).map(|before| kernels[before]);
            for &kernel in kernels[start..].iter().take(LOOKED_AT_ONCE) {
                let is_same = |last: &Arc<Kernel>| last.identity() == kernel.identity();
                if last.replace(kernel).is_some_and(is_same) {
                    // The same kernel from another matrix.
                    continue;
                }
                let rules = Rules::of(kernel);
                let asked = AskedNames::by(rules.own, kernel);
                doubts.add(kernel, rules, &asked);
                if !asked.own {
                    unasked.insert(&kernel.target);
                }
                claims.extend(asked.other.map(|name| Claim::new(kernel, name)));
            }
            (claims, doubts, unasked)
        })
        .collect();
    let count = parts.iter().map(|(claims, ..)| claims.len()).sum();
    let (mut claims, mut doubts) = (Vec::with_capacity(count), Doubts::default());
    let mut unasked = BTreeSet::new();
    for (part, doubts_of_part, unasked_of_part) in parts {
        unasked.extend(unasked_of_part.into_iter().cloned());
        claims.extend(part);
        doubts.append(doubts_of_part);
    }
    (
        Names::of(builds, &kernels, claims, unasked),
        doubts.warnings().collect(),
    )
}

type LeftOutOrder<'a> = (
    Identity<'a>,
    &'a Option<DriverVersion>,
    Option<Artifact>,
    &'a str,
    &'a str,
);

fn order_of(left_out: &LeftOut) -> LeftOutOrder<'_> {
    (
        left_out.kernel.identity(),
        &left_out.driver,
        left_out.artifact,
        &left_out.rule,
        &left_out.reason,
    )
}
