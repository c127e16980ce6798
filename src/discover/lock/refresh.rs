//! Updates a lock with the kernels that a source lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use rayon::prelude::*;

use super::doubt::Doubt;
use super::guard::{self, Night, Verdict};
use super::{Asked, Lock, LockedKernel, State};
use crate::kernel::{Kernel, KernelId, Package};
use crate::matrix::Pattern;

/// The rules that decide whether a loss of kernels is accepted.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRules<'a> {
    /// The day of the refresh, in UTC.
    pub today: Date,
    /// A source that lost more than this percentage of a target's kernels of one architecture is not believed.
    pub max_shrink_percent: u32,
    /// How many days a kernel stays in the lock after it left its source.
    pub keep_gone_days: u32,
    /// How many nights a kernel that left, and was not replaced, still counts as present before the loss. It stays in
    /// the lock for at least that long.
    pub shrink_nights: u32,
    /// Targets and series whose losses are all accepted.
    pub accepted: &'a [Pattern],
}

/// How the kernels of one source changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Kernels that were not in the lock before, or were in the state gone.
    pub came: Vec<Arc<Kernel>>,
    /// Kernels that the source does not list any more, or that the lock drops.
    pub went: Vec<Arc<Kernel>>,
    /// Kernels with the same packages at other URLs: before and after.
    pub moved: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels with the same packages under another name: before and after.
    pub renamed: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels with other packages or another configuration: before and after.
    pub changed: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels that the source does not list, while it is not believed.
    pub unconfirmed: Vec<Arc<Kernel>>,
    /// The losses that are not believed.
    pub doubts: Vec<Doubt>,
    /// The positions of the patterns in [`RefreshRules::accepted`] that accepted a loss.
    pub accepted: BTreeSet<usize>,
    /// How many kernels of `went` were dropped because the matrix limits the source in another way than before.
    pub narrowed: usize,
    /// How many kernels the source has now, without those in the state gone.
    pub total: usize,
}

impl Lock {
    /// Replaces the kernels of a `[[target]]` with the kernels that its source lists.
    ///
    /// A kernel that the source does not list any more is marked as gone and stays in the lock for a while. If too many
    /// kernels left at once, they are only marked as unconfirmed, even if the URL or name of the source has changed.
    /// Kernels that the matrix does not ask for any more are dropped. If the matrix limits the source in another way
    /// than before, only the loss of all kernels of a target is in doubt.
    pub fn refresh(
        &mut self,
        asked: &Asked<'_>,
        mut discovered: Vec<Arc<Kernel>>,
        rules: &RefreshRules<'_>,
    ) -> Changes {
        let label = asked.label;
        let before = self.sources.insert(label.to_owned(), asked.source);
        let limits = self.limits.insert(label.to_owned(), asked.limits);
        let is_limited_anew = before != Some(asked.source) && limits != Some(asked.limits);
        // If many `[[target]]`s read one list, most of them find nothing. Without this check each would move and sort
        // the whole lock.
        let is_known = self.kernels.iter().any(|locked| *locked.label == *label);
        if discovered.is_empty() && !is_known {
            return Changes::default();
        }
        // Both parts stay sorted.
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kernels)
            .into_iter()
            .partition(|locked| *locked.label == *label);
        let is_sorted = discovered
            .par_windows(2)
            .all(|pair| pair[0].identity() < pair[1].identity());
        if !is_sorted {
            discovered.par_sort_by(|left, right| left.identity().cmp(&right.identity()));
        }
        // The source has already selected one of contradictory entries.
        discovered.dedup_by(|next, first| {
            let is_same = first.identity() == next.identity();
            if is_same {
                Arc::make_mut(first).absorb(next);
            }
            is_same
        });
        let mut refresh = Refresh {
            label: label.into(),
            asked,
            rules,
            others: kept,
            reached: 0,
            reached_others: 0,
            is_found: vec![false; old.len()],
            old,
            came: Vec::new(),
            returned: HashMap::new(),
            present: Vec::with_capacity(discovered.len()),
            changes: Changes::default(),
        };
        for kernel in discovered {
            refresh.take(kernel);
        }
        refresh.pair_renamed();
        refresh.keep_missing(is_limited_anew);
        let Refresh {
            present,
            mut changes,
            others,
            ..
        } = refresh;
        self.kernels = others;
        let is_there = |locked: &&LockedKernel| !matches!(locked.state, State::Gone(_));
        changes.total = present.iter().filter(is_there).count();
        self.kernels.extend(present);
        self.sort();
        changes
    }
}

pub(super) struct Refresh<'a> {
    pub(super) label: Arc<str>,
    pub(super) asked: &'a Asked<'a>,
    /// The kernels of other `[[target]]`s, sorted by identity.
    pub(super) others: Vec<LockedKernel>,
    /// How many kernels of `old` and of `others` sort before the current kernel.
    pub(super) reached: usize,
    pub(super) reached_others: usize,
    pub(super) rules: &'a RefreshRules<'a>,
    /// The kernels of this `[[target]]` in the lock before the refresh, sorted by identity.
    pub(super) old: Vec<LockedKernel>,
    /// Whether each kernel of `old` is done: it was found again, renamed or dropped.
    pub(super) is_found: Vec<bool>,
    /// The positions in `present` of kernels that were not in the lock.
    pub(super) came: Vec<usize>,
    /// New kernels that are gone kernels under another name, each with the position of the gone kernel in `old`.
    pub(super) returned: HashMap<KernelId, usize>,
    pub(super) present: Vec<LockedKernel>,
    pub(super) changes: Changes,
}

impl Refresh<'_> {
    /// Adds a kernel that the source lists. The kernels must arrive sorted.
    fn take(&mut self, mut kernel: Arc<Kernel>) {
        let identity = kernel.identity();
        let skip = |reached: &mut usize, kernels: &[LockedKernel]| {
            let rest = kernels[*reached..].iter();
            *reached += rest
                .take_while(|locked| locked.kernel.identity() < identity)
                .count();
        };
        skip(&mut self.reached, &self.old);
        skip(&mut self.reached_others, &self.others);
        let start = self.reached;
        let count = self.old[start..]
            .iter()
            .take_while(|locked| locked.kernel.identity() == identity)
            .count();
        self.is_found[start..start + count].fill(true);
        let before = (count > 0).then(|| &self.old[start]);
        // Another `[[target]]`, or one that no longer exists, may know the kernel.
        let known = before.or_else(|| {
            let found = self.others.get(self.reached_others);
            found.filter(|locked| locked.kernel.identity() == identity)
        });
        if let Some(known) = known.filter(|known| !Arc::ptr_eq(&known.kernel, &kernel)) {
            keep_digests(&known.kernel, &mut kernel);
        }
        let first_seen = known.map_or(self.rules.today, |locked| locked.first_seen);
        let same = before.filter(|before| before.kernel == kernel);
        let kernel = same.map_or(kernel, |same| Arc::clone(&same.kernel));
        match before {
            Some(before) if !matches!(before.state, State::Gone(_)) => {
                let pair = || (Arc::clone(&before.kernel), Arc::clone(&kernel));
                match difference(&before.kernel, &kernel) {
                    Difference::None => {}
                    Difference::Place => self.changes.moved.push(pair()),
                    Difference::Content => self.changes.changed.push(pair()),
                }
            }
            Some(_) => self.changes.came.push(Arc::clone(&kernel)),
            None => self.came.push(self.present.len()),
        }
        self.present.push(LockedKernel {
            label: Arc::clone(&self.label),
            first_seen,
            kernel,
            state: State::Confirmed,
            is_settled: false,
        });
    }

    /// Finds new kernels that have the packages of a missing or gone kernel, but another release or target. A kernel
    /// that was gone came back: like one that comes back under its own name, it is not renamed.
    fn pair_renamed(&mut self) {
        let mut pairs: BTreeMap<usize, usize> = BTreeMap::new();
        // Missing kernels have precedence. Then the first pass pairs within one target: packages can be listed under
        // several targets, and each target keeps its own kernel.
        for (is_gone, within_target) in [(false, true), (false, false), (true, true), (true, false)]
        {
            let mut groups: HashMap<_, (Vec<usize>, Vec<usize>)> = HashMap::new();
            let key = |kernel: &Kernel| {
                let target = within_target.then(|| kernel.target.clone());
                let names = versioned_names(kernel)?;
                Some((target, kernel.architecture, kernel.version.clone(), names))
            };
            if pairs.len() == self.came.len() {
                break;
            }
            for (position, locked) in self.old.iter().enumerate() {
                let is_wanted =
                    !self.is_found[position] && matches!(locked.state, State::Gone(_)) == is_gone;
                if let Some(key) = key(&locked.kernel).filter(|_| is_wanted) {
                    groups.entry(key).or_default().0.push(position);
                }
            }
            if groups.is_empty() {
                continue;
            }
            for &position in &self.came {
                let is_open = !pairs.contains_key(&position);
                if let Some(key) = key(&self.present[position].kernel).filter(|_| is_open)
                    && let Some(group) = groups.get_mut(&key)
                {
                    group.1.push(position);
                }
            }
            for group in groups.into_values() {
                if let ([old], [new]) = (&*group.0, &*group.1) {
                    let (before, after) = (&self.old[*old].kernel, &self.present[*new].kernel);
                    if before.packages.is_same_content(&after.packages) {
                        self.is_found[*old] = true;
                        pairs.insert(*new, *old);
                    }
                }
            }
        }
        for &position in &self.came {
            let new = &mut self.present[position];
            let Some(&old) = pairs.get(&position) else {
                self.changes.came.push(Arc::clone(&new.kernel));
                continue;
            };
            let before = &self.old[old];
            keep_digests(&before.kernel, &mut new.kernel);
            new.first_seen = before.first_seen;
            if matches!(before.state, State::Gone(_)) {
                self.changes.came.push(Arc::clone(&new.kernel));
                self.returned.insert(new.kernel.id(), old);
                continue;
            }
            let pair = (Arc::clone(&before.kernel), Arc::clone(&new.kernel));
            self.changes.renamed.push(pair);
        }
    }

    /// Keeps missing kernels: as unconfirmed if the source is not believed, else as gone. Drops kernels that are not
    /// asked for any more, entries that never were a kernel, and kernels that the new limits of the source exclude.
    fn keep_missing(&mut self, is_limited_anew: bool) {
        for (locked, is_found) in self.old.iter().zip(&mut self.is_found) {
            if *is_found || matches!(locked.state, State::Gone(_)) {
                continue;
            }
            let is_asked = (self.asked.takes)(&locked.kernel, locked.first_seen);
            let is_kernel = super::counts(&locked.kernel, self.asked.is_literal);
            if !is_asked || !is_kernel {
                *is_found = true;
                self.changes.went.push(Arc::clone(&locked.kernel));
            }
        }
        let is_limited_otherwise = is_limited_anew && !self.has_same_lists();
        let judged = guard::judge(&Night {
            rules: self.rules,
            asked: self.asked,
            old: &self.old,
            is_found: &self.is_found,
            present: &self.present,
            came: &self.changes.came,
            is_limited_anew: is_limited_otherwise,
        });
        self.changes.doubts = judged.doubts;
        self.changes.accepted = judged.accepted;
        self.drop_slid(&judged.slid);
        for (locked, verdict) in self.old.iter().zip(judged.verdicts) {
            if verdict == Verdict::None {
                continue;
            }
            let mut locked = locked.clone();
            let kernel = Arc::clone(&locked.kernel);
            match verdict {
                Verdict::None => {}
                Verdict::Doubted => {
                    if !matches!(locked.state, State::Unconfirmed(_)) {
                        locked.state = State::Unconfirmed(self.rules.today);
                    }
                    self.changes.unconfirmed.push(kernel);
                }
                Verdict::Believed | Verdict::Replaced | Verdict::Displaced
                    if is_limited_otherwise || is_limited_anew && verdict == Verdict::Displaced =>
                {
                    self.changes.narrowed += 1;
                    self.changes.went.push(kernel);
                    continue;
                }
                Verdict::Believed | Verdict::Replaced | Verdict::Displaced | Verdict::Accepted => {
                    locked.state = State::Gone(self.rules.today);
                    locked.is_settled = verdict != Verdict::Believed;
                    self.changes.went.push(kernel);
                }
            }
            self.present.push(locked);
        }
        self.keep_gone();
    }
}

/// Copies known digests from `before` to the packages of `after` with the same file name, even if the URL has changed.
fn keep_digests(before: &Kernel, after: &mut Arc<Kernel>) {
    if before.packages.iter().all(|known| known.sha256.is_none()) {
        return;
    }
    Arc::make_mut(after).packages.update(|package| {
        if package.sha256.is_some() {
            return false;
        }
        let name = package.file_name().into_owned();
        let is_same = |known: &&Package| known.sha256.is_some() && known.file_name() == name;
        let known = before.packages.iter().find(is_same);
        if let Some(known) = known {
            package.learn_from(known);
            // This source did not publish the digest.
            package.is_noted = true;
        }
        known.is_some()
    });
}

enum Difference {
    None,
    Place,
    Content,
}

fn difference(before: &Kernel, after: &Kernel) -> Difference {
    if std::ptr::eq(before, after) {
        return Difference::None;
    }
    let is_same = before.config_sha256 == after.config_sha256
        && before.packages.is_same_content(&after.packages);
    if !is_same {
        Difference::Content
    } else if before.packages.is_same_urls(&after.packages) {
        // The source may publish more about the same packages than before, such as sizes.
        Difference::None
    } else {
        Difference::Place
    }
}

/// Returns the names of a kernel's files if one of them contains a version. Flatcar's disk image has the same name in
/// all releases.
pub(super) fn versioned_names(kernel: &Kernel) -> Option<String> {
    let names = kernel.packages.file_names();
    let tells_version = |name: &str| {
        let stem = name.split('.').next().unwrap_or(name);
        stem.contains(|character: char| character.is_ascii_digit())
    };
    let is_told = names.iter().any(|name| tells_version(name));
    is_told.then(|| names.join("\n"))
}
