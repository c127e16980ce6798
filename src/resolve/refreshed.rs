//! What part of the answers of a matrix's sources goes into its lock, and the lines that report it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::civil::Date;
use rayon::prelude::*;

use super::Context;
use super::availability::Unavailable;
use super::sources::{discovered_entries, source_digest};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::discover::lock::{self, Asked, Changes, Lock, RefreshRules, State};
use crate::discover::{DiscoverError, Discovered};
use crate::kernel::Kernel;
use crate::matrix::{Matrix, Pattern, TargetEntry};
use crate::text::count;

/// How locks are refreshed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RefreshOptions<'a> {
    /// Targets of which every loss is believed.
    pub(crate) accepted: &'a [Pattern],
    /// Whether nothing is written.
    pub(crate) is_check: bool,
    /// Whether a lock that is there is replaced, whatever it holds.
    pub(crate) is_fresh: bool,
    /// Whether nothing is written unless everything could be asked.
    pub(crate) is_strict: bool,
}

/// How the refresh of a lock ended.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// The lock.
    pub(crate) path: PathBuf,
    /// The matrix.
    pub(crate) matrix: PathBuf,
    /// How the kernels of each `[[target]]` changed, by label.
    pub(crate) changes: Vec<(String, Changes)>,
    /// What the sources were doubtful about.
    pub(crate) notices: Vec<String>,
    /// The entries of lists that were skipped, each with its list and why.
    pub(crate) skipped: Vec<String>,
    /// A warning for each `[[target]]` that finds nothing.
    pub(crate) empty: Vec<Diagnostic>,
    /// Each `[[target]]` of which a source gave nothing.
    pub(crate) unavailable: Vec<Unavailable>,
    /// Whether the file is another one than before, or would be.
    pub(crate) is_changed: bool,
}

impl Refreshed {
    /// What changed, in a line.
    pub(crate) fn line(&self) -> String {
        let changes = || self.changes.iter().map(|(_, changes)| changes);
        let total: usize = changes().map(|one| one.total).sum();
        let came: usize = changes().map(|one| one.came.len()).sum();
        let went: usize = changes().map(|one| one.went.len()).sum();
        let (path, total) = (self.path.display(), count(total, "kernel"));
        format!("{path}: {total}, {came} came, {went} went")
    }
}

/// A lock that is being refreshed.
pub(crate) struct Refresh<'a> {
    pub(crate) context: &'a Context,
    pub(crate) matrix: &'a Matrix,
    pub(crate) path: PathBuf,
    pub(crate) options: RefreshOptions<'a>,
}

/// A lock with what its sources gave, and how its refresh ended.
pub(crate) struct Found {
    pub(crate) lock: Lock,
    pub(crate) refreshed: Refreshed,
    pub(crate) configs: BTreeMap<Sha256, Vec<u8>>,
}

/// What a `[[target]]` asks for.
fn asked_by<'a>(entry: &'a TargetEntry, takes: &'a dyn Fn(&Kernel, Date) -> bool) -> Asked<'a> {
    Asked {
        label: &entry.label,
        source: source_digest(entry),
        limits: entry.kernels.get_ref().limits(),
        takes,
        is_literal: entry.name.get_ref().is_literal(),
    }
}

impl Refresh<'_> {
    /// Moves kernels to the `[[target]]`s that ask for them now.
    pub(crate) fn follow(&self, lock: &mut Lock) {
        let all: Vec<&TargetEntry> = discovered_entries(self.matrix).collect();
        let takes: Vec<_> = all
            .iter()
            .map(|entry| |kernel: &Kernel, first_seen| entry.asks_for(kernel, first_seen))
            .collect();
        let asked: Vec<Asked<'_>> = all
            .iter()
            .zip(&takes)
            .map(|(entry, takes)| asked_by(entry, takes))
            .collect();
        lock.follow(&asked);
    }

    /// Puts what the sources of `entries` answered into the lock.
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
            let own = &asked_by(entry, &takes);
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
        // Those that could not be queried have been named.
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

    /// Says that a person asks for less than before.
    fn say_narrowed(&self, label: &str, narrowed: usize) -> String {
        let (lock, kernels) = (self.path.display(), count(narrowed, "kernel"));
        let notice = format!(
            "{lock}: `{label}` has other suites, flavours, limits or kinds of sources than before: {kernels} that they do not \
             give dropped"
        );
        self.context.notice(&notice);
        notice
    }
}

/// A message for each `[[target]]` with sources of which the lock has no kernel that is built, with its label.
pub(crate) fn empty_entries(matrix: &Matrix, lock: &Lock) -> Vec<(String, Diagnostic)> {
    let there = lock
        .kernels
        .par_iter()
        .filter(|locked| !matches!(locked.state, State::Gone(_)))
        .map(|locked| &*locked.label)
        .fold(BTreeSet::new, |mut labels: BTreeSet<&str>, label| {
            labels.insert(label);
            labels
        })
        .reduce(BTreeSet::new, |left, right| &left | &right);
    discovered_entries(matrix)
        .filter(|entry| !there.contains(entry.label.as_str()))
        .map(|entry| {
            let message = format!("this [[target]] finds no kernel: `{}`", entry.label);
            let warning = Diagnostic::warning(message)
                .at(matrix.place(entry.kernels.span()), "")
                .help("compare its name, architectures, `match` and `exclude` with what its source has, or remove it");
            (entry.label.clone(), warning)
        })
        .collect()
}
