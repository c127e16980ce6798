//! Merges the results of a matrix's sources into its lock, and reports the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::civil::Date;
use rayon::prelude::*;

use super::Context;
use super::availability::Unavailable;
use super::sources::{discovered_entries, source_digest};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::discover::lock::{
    self, Asked, AskedSource, Changes, Listing, Lock, LockedKernel, RefreshRules, State,
};
use crate::discover::{DiscoverError, Discovered};
use crate::kernel::Kernel;
use crate::matrix::{Matrix, Pattern, TargetEntry};
use crate::text::count;

/// How locks are refreshed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RefreshOptions<'a> {
    /// Targets whose losses are all accepted.
    pub(crate) accepted: &'a [Pattern],
    /// Whether locks are only checked, not written.
    pub(crate) is_check: bool,
    /// Whether an existing lock is replaced, regardless of its content.
    pub(crate) is_fresh: bool,
    /// Whether locks are written only if all sources could be queried.
    pub(crate) is_strict: bool,
}

/// The result of refreshing a lock.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// The path of the lock.
    pub(crate) path: PathBuf,
    /// The path of the matrix.
    pub(crate) matrix: PathBuf,
    /// How the kernels of each `[[target]]` changed, by label.
    pub(crate) changes: Vec<(String, Changes)>,
    /// Notices about doubtful results of sources.
    pub(crate) notices: Vec<String>,
    /// The skipped entries of lists, each with its list and the reason.
    pub(crate) skipped: Vec<String>,
    /// A warning for each `[[target]]` without kernels.
    pub(crate) empty: Vec<Diagnostic>,
    /// Each `[[target]]` with a source that returned nothing.
    pub(crate) unavailable: Vec<Unavailable>,
    /// Whether the content of the lock changed, or would change.
    pub(crate) is_changed: bool,
}

impl Refreshed {
    /// Returns a one-line summary of the changes.
    pub(crate) fn line(&self) -> String {
        let changes = || self.changes.iter().map(|(_, changes)| changes);
        let total: usize = changes().map(|one| one.total).sum();
        let came: usize = changes().map(|one| one.came.len()).sum();
        let went: usize = changes().map(|one| one.went.len()).sum();
        let (path, total) = (self.path.display(), count(total, "kernel"));
        format!("{path}: {total}, {came} came, {went} went")
    }
}

/// The refresh of a lock.
pub(crate) struct Refresh<'a> {
    pub(crate) context: &'a Context,
    pub(crate) matrix: &'a Matrix,
    pub(crate) path: PathBuf,
    pub(crate) options: RefreshOptions<'a>,
}

/// A refreshed lock with the kernel configurations from its sources, and the result of the refresh.
pub(crate) struct Found {
    pub(crate) lock: Lock,
    pub(crate) refreshed: Refreshed,
    pub(crate) configs: BTreeMap<Sha256, Vec<u8>>,
}

/// Returns the selection of a `[[target]]`.
fn asked_by<'a>(
    entry: &'a TargetEntry,
    takes: &'a dyn Fn(&Kernel, Date) -> bool,
    sources: &'a [AskedSource<'a>],
) -> Asked<'a> {
    Asked {
        label: &entry.label,
        source: source_digest(entry),
        limits: entry.kernels.get_ref().limits(),
        takes,
        is_literal: entry.name.get_ref().is_literal(),
        sources,
    }
}

/// Moves kernels to the `[[target]]`s that list them now.
fn follow_listed(
    lock: &mut Lock,
    entries: &[&TargetEntry],
    answers: &[(Discovered, Vec<DiscoverError>)],
) {
    let read = entries.iter().zip(answers);
    let read: Vec<_> = read
        .filter(|(_, (_, failures))| failures.is_empty())
        .map(|(entry, (discovered, _))| {
            let takes = |kernel: &Kernel, first_seen| entry.asks_for(kernel, first_seen);
            (
                entry,
                takes,
                AskedSource::all(entry.kernels.get_ref()),
                &*discovered.kernels,
            )
        })
        .collect();
    let listings: Vec<Listing<'_>> = read
        .iter()
        .map(|(entry, takes, sources, kernels)| Listing {
            asked: asked_by(entry, takes, sources),
            kernels,
        })
        .collect();
    lock.follow_listed(&listings);
}

impl Refresh<'_> {
    /// Moves kernels to the `[[target]]`s that select them now.
    pub(crate) fn follow(&self, lock: &mut Lock) {
        let all: Vec<&TargetEntry> = discovered_entries(self.matrix).collect();
        let takes: Vec<_> = all
            .iter()
            .map(|entry| |kernel: &Kernel, first_seen| entry.asks_for(kernel, first_seen))
            .collect();
        let sources: Vec<_> = all
            .iter()
            .map(|entry| AskedSource::all(entry.kernels.get_ref()))
            .collect();
        let asked: Vec<Asked<'_>> = all
            .iter()
            .zip(&takes)
            .zip(&sources)
            .map(|((entry, takes), sources)| asked_by(entry, takes, sources))
            .collect();
        lock.follow(&asked);
    }

    /// Merges the results of the sources of `entries` into the lock.
    pub(crate) fn take(
        self,
        mut lock: Lock,
        entries: &[&TargetEntry],
        answers: Vec<(Discovered, Vec<DiscoverError>)>,
    ) -> Found {
        let settings = self.matrix.lock;
        let rules = RefreshRules {
            today: lock::today(),
            max_shrink_percent: settings.max_shrink_percent,
            shrink_nights: settings.shrink_nights,
            keep_gone_days: settings.keep_gone_days,
            accepted: self.options.accepted,
        };
        follow_listed(&mut lock, entries, &answers);
        let mut changes = Vec::new();
        let mut configs = BTreeMap::new();
        let mut notices = Vec::new();
        let mut skipped = Vec::new();
        let mut unavailable = Vec::new();
        for (entry, (mut discovered, failures)) in entries.iter().zip(answers) {
            for notice in &discovered.notices {
                self.context.notice(notice);
            }
            notices.append(&mut discovered.notices);
            configs.append(&mut discovered.configs);
            skipped.append(&mut discovered.skipped);
            let takes = |kernel: &Kernel, first_seen| entry.asks_for(kernel, first_seen);
            let sources = AskedSource::all(entry.kernels.get_ref());
            let own = &asked_by(entry, &takes, &sources);
            let is_silent = failures.len() == entry.kernels.get_ref().sources.len();
            if failures.is_empty() {
                let change = lock.refresh(own, discovered.kernels, &rules);
                if change.narrowed > 0 {
                    notices.push(self.say_narrowed(&entry.label, change.narrowed));
                }
                changes.push((entry.label.clone(), change));
                continue;
            }
            let mut one = Unavailable::new(self.path.clone(), entry);
            for error in failures {
                one.is_bad_input &= error.is_bad_input();
                one.is_own_fault |= error.is_own_fault();
                one.failed_mirrors += usize::from(error.fetch_error().is_none());
                one.faults.extend(error.diagnostics(self.matrix, entry));
            }
            one.is_silent = is_silent;
            if is_silent {
                one.known = lock.known(own);
            } else {
                let change = lock.refresh_partly(own, discovered.kernels, &rules);
                one.known.clone_from(&change.unconfirmed);
                changes.push((entry.label.clone(), change));
            }
            unavailable.push(one);
        }
        let labels: Vec<&str> = discovered_entries(self.matrix)
            .map(|entry| entry.label.as_str())
            .collect();
        for (label, kernels) in lock.retain(&labels) {
            let (lock, kernels) = (self.path.display(), count(kernels, "kernel"));
            let notice = format!("{lock}: no [[target]] is `{label}` any more: {kernels} dropped");
            self.context.notice(&notice);
            notices.push(notice);
        }
        let mut empty = empty_entries(self.matrix, &lock);
        // Entries that could not be queried have already been reported.
        empty.retain(|(label, _)| unavailable.iter().all(|one| one.label != *label));
        let refreshed = Refreshed {
            path: self.path,
            matrix: self.matrix.file.path.clone(),
            changes,
            notices,
            skipped,
            empty: empty.into_iter().map(|(_, warning)| warning).collect(),
            unavailable,
            is_changed: false,
        };
        Found {
            lock,
            refreshed,
            configs,
        }
    }

    /// Reports that the matrix selects fewer kernels than before.
    fn say_narrowed(&self, label: &str, narrowed: usize) -> String {
        let (lock, kernels) = (self.path.display(), count(narrowed, "kernel"));
        let notice = format!(
            "{lock}: the suites, flavours, limits or kinds of sources of `{label}` changed: {kernels} dropped that they no \
             longer include"
        );
        self.context.notice(&notice);
        notice
    }
}

/// Returns a warning with the label of each `[[target]]` that has sources, but no kernel to build in the lock. Entries
/// that are no kernels, such as those of other packages, do not count.
pub(crate) fn empty_entries(matrix: &Matrix, lock: &Lock) -> Vec<(String, Diagnostic)> {
    let literal: BTreeSet<&str> = discovered_entries(matrix)
        .filter(|entry| entry.name.get_ref().is_literal())
        .map(|entry| entry.label.as_str())
        .collect();
    let there = lock
        .kernels
        .par_iter()
        .fold(BTreeSet::new, |mut labels: BTreeSet<&str>, locked| {
            let label = &*locked.label;
            if !labels.contains(label) && locked.is_buildable(literal.contains(label)) {
                labels.insert(label);
            }
            labels
        })
        .reduce(BTreeSet::new, |left, right| &left | &right);
    discovered_entries(matrix)
        .filter(|entry| !there.contains(entry.label.as_str()))
        .map(|entry| {
            let message = format!("this [[target]] finds no kernel: `{}`", entry.label);
            let is_left_out = |locked: &&LockedKernel| {
                *locked.label == *entry.label && !matches!(locked.state, State::Gone(_))
            };
            let left_out = lock.kernels.iter().filter(is_left_out).count();
            let help = if left_out > 0 {
                format!(
                    "its source has only entries that `plan` leaves out ({left_out}): `plan` says why. Correct the source or the \
                     selection, or remove the [[target]]"
                )
            } else {
                "compare its name, architectures, `match` and `exclude` with its source, or remove it".to_owned()
            };
            let warning = Diagnostic::warning(message)
                .at(matrix.place(entry.kernels.span()), "")
                .help(help);
            (entry.label.clone(), warning)
        })
        .collect()
}
