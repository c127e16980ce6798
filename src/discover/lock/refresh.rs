//! What a lock makes of a source's answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;
use rayon::prelude::*;

use super::{Lock, LockedKernel, State};
use crate::digest::Sha256;
use crate::kernel::{Architecture, Kernel, Package, TargetId};
use crate::matrix::Pattern;

/// How far a source is believed.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRules<'a> {
    /// The day of the refresh, in UTC.
    pub today: Date,
    /// A source that lost more than this part of a target's kernels of one architecture is not believed.
    pub max_shrink_percent: u32,
    /// How many days kernels that left stay in the lock.
    pub keep_gone_days: u32,
    /// Targets of which every loss is believed.
    pub accepted: &'a [Pattern],
}

/// How the kernels of one source changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Kernels that were not there before, or gone.
    pub came: Vec<Arc<Kernel>>,
    /// Kernels that are not there any more.
    pub went: Vec<Arc<Kernel>>,
    /// Kernels with the same packages at other addresses: before and after.
    pub moved: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels with the same packages under another name: before and after.
    pub renamed: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels with other packages or another configuration: before and after.
    pub changed: Vec<(Arc<Kernel>, Arc<Kernel>)>,
    /// Kernels that the source does not name, while it is not believed.
    pub unconfirmed: Vec<Arc<Kernel>>,
    /// Where the source is not believed.
    pub doubts: Vec<Doubt>,
    /// How many kernels there are now, without those that are gone.
    pub total: usize,
}

/// A target of which a source lost more than is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The target.
    pub target: TargetId,
    /// The architecture.
    pub architecture: Architecture,
    /// How many kernels there were.
    pub before: usize,
    /// How many the source names now.
    pub now: usize,
}

impl Lock {
    /// Replaces the kernels of the `[[target]]` with `label` by what its source gave.
    ///
    /// When the source is asked the same as before, a kernel that it does not name any more is noted as gone and
    /// stays in the lock for a while; where too many left at once, they are only noted as unconfirmed. When the
    /// matrix asks for something else than before, what it does not ask for any more is dropped.
    pub fn refresh(
        &mut self,
        label: &str,
        source: Sha256,
        mut discovered: Vec<Kernel>,
        rules: &RefreshRules<'_>,
    ) -> Changes {
        let is_same_source = self.sources.insert(label.to_owned(), source) == Some(source);
        let (mut old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kernels)
            .into_iter()
            .partition(|locked| *locked.label == *label);
        old.sort_by(|left, right| left.kernel.identity().cmp(&right.kernel.identity()));
        discovered.par_sort_by(|left, right| left.identity().cmp(&right.identity()));
        // Of entries that contradict each other, the source has taken one already.
        discovered.dedup_by(|next, first| {
            let is_same = first.identity() == next.identity();
            if is_same {
                first.absorb(next);
            }
            is_same
        });
        self.kernels = kept;
        let mut refresh = Refresh {
            label: label.into(),
            rules,
            is_found: vec![false; old.len()],
            old,
            came: Vec::new(),
            present: Vec::with_capacity(discovered.len()),
            changes: Changes::default(),
        };
        for kernel in discovered {
            refresh.take(kernel);
        }
        refresh.pair_renamed();
        if is_same_source {
            refresh.find_doubts();
            refresh.keep_missing();
        } else {
            let missing = refresh.missing().map(|locked| &locked.kernel);
            refresh.changes.went = missing.map(Arc::clone).collect();
            refresh.keep_gone();
        }
        let Refresh {
            present,
            mut changes,
            ..
        } = refresh;
        let is_there = |locked: &&LockedKernel| !matches!(locked.state, State::Gone(_));
        changes.total = present.iter().filter(is_there).count();
        self.kernels.extend(present);
        self.kernels
            .par_sort_by(|left, right| left.key().cmp(&right.key()));
        changes
    }
}

struct Refresh<'a> {
    label: Arc<str>,
    rules: &'a RefreshRules<'a>,
    /// What the lock held, sorted by identity.
    old: Vec<LockedKernel>,
    /// Which of these are accounted for.
    is_found: Vec<bool>,
    /// The positions in `present` of kernels that were not there.
    came: Vec<usize>,
    present: Vec<LockedKernel>,
    changes: Changes,
}

impl Refresh<'_> {
    /// Takes a kernel that the source names.
    fn take(&mut self, mut kernel: Kernel) {
        let identity = kernel.identity();
        let start = self
            .old
            .partition_point(|locked| locked.kernel.identity() < identity);
        let count = self.old[start..]
            .iter()
            .take_while(|locked| locked.kernel.identity() == identity)
            .count();
        self.is_found[start..start + count].fill(true);
        let before = (count > 0).then(|| &self.old[start]);
        if let Some(before) = before {
            keep_digests(&before.kernel, &mut kernel);
        }
        let kernel = Arc::new(kernel);
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
            first_seen: before.map_or(self.rules.today, |locked| locked.first_seen),
            kernel,
            state: State::Confirmed,
        });
    }

    /// The kernels that were there and are not named any more.
    fn missing(&self) -> impl Iterator<Item = &LockedKernel> {
        let all = self.old.iter().zip(&self.is_found);
        all.filter(|(locked, is_found)| !**is_found && !matches!(locked.state, State::Gone(_)))
            .map(|(locked, _)| locked)
    }

    /// Finds kernels that came with the packages of one that is missing, under another release or target.
    fn pair_renamed(&mut self) {
        let mut pairs: BTreeMap<usize, usize> = BTreeMap::new();
        // Where packages were listed under several targets, each target keeps its own kernel.
        for within_target in [true, false] {
            let mut groups: HashMap<_, (Vec<usize>, Vec<usize>)> = HashMap::new();
            let key = |kernel: &Kernel| {
                let target = within_target.then(|| kernel.target.clone());
                let names = versioned_names(kernel)?;
                Some((target, kernel.architecture, kernel.version.clone(), names))
            };
            for (position, locked) in self.old.iter().enumerate() {
                let is_missing =
                    !self.is_found[position] && !matches!(locked.state, State::Gone(_));
                if let Some(key) = key(&locked.kernel).filter(|_| is_missing) {
                    groups.entry(key).or_default().0.push(position);
                }
            }
            for &position in &self.came {
                let is_open = !pairs.contains_key(&position);
                if let Some(key) = key(&self.present[position].kernel).filter(|_| is_open) {
                    groups.entry(key).or_default().1.push(position);
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
            let old = &self.old[old];
            keep_digests(&old.kernel, Arc::make_mut(&mut new.kernel));
            new.first_seen = old.first_seen;
            let pair = (Arc::clone(&old.kernel), Arc::clone(&new.kernel));
            self.changes.renamed.push(pair);
        }
    }

    fn find_doubts(&mut self) {
        let mut counts: BTreeMap<(TargetId, Architecture), (usize, usize)> = BTreeMap::new();
        for locked in self.missing() {
            let key = (locked.kernel.target.clone(), locked.kernel.architecture);
            counts.entry(key).or_default().0 += 1;
        }
        // What came makes up for what went: suites replace their kernels all the time.
        let came = self.changes.came.iter();
        let mut came: Vec<_> = came
            .map(|kernel| (kernel.target.clone(), kernel.architecture))
            .collect();
        came.sort();
        for locked in &self.present {
            let key = (locked.kernel.target.clone(), locked.kernel.architecture);
            if let Some((_, now)) = counts.get_mut(&key) {
                *now += 1;
            }
        }
        for ((target, architecture), (missing, now)) in counts {
            let key = (target, architecture);
            let start = came.partition_point(|one| one < &key);
            let came = came[start..].iter().take_while(|one| **one == key).count();
            let (target, architecture) = key;
            let before = now - came.min(now) + missing;
            let lost = before.saturating_sub(now);
            let is_much = now == 0
                || lost as u64 * 100 > before as u64 * u64::from(self.rules.max_shrink_percent);
            let accepted = &mut self.rules.accepted.iter();
            if is_much && !accepted.any(|pattern| pattern.matches_name(target.as_str())) {
                self.changes.doubts.push(Doubt {
                    target,
                    architecture,
                    before,
                    now,
                });
            }
        }
    }

    /// Keeps what is missing: unconfirmed where the source is not believed, gone where it is.
    fn keep_missing(&mut self) {
        let missing: Vec<LockedKernel> = self.missing().cloned().collect();
        for mut locked in missing {
            let kernel = &locked.kernel;
            let is_doubted = self.changes.doubts.iter().any(|doubt| {
                doubt.target == kernel.target && doubt.architecture == kernel.architecture
            });
            let list = if is_doubted {
                &mut self.changes.unconfirmed
            } else {
                &mut self.changes.went
            };
            list.push(Arc::clone(kernel));
            locked.state = match (is_doubted, locked.state) {
                (true, State::Unconfirmed(since)) => State::Unconfirmed(since),
                (true, _) => State::Unconfirmed(self.rules.today),
                (false, _) => State::Gone(self.rules.today),
            };
            self.present.push(locked);
        }
        self.keep_gone();
    }

    /// Keeps what left not too long ago.
    fn keep_gone(&mut self) {
        let days = i64::from(self.rules.keep_gone_days).days();
        let first_day = self.rules.today.saturating_sub(days);
        let gone = self.old.iter().zip(&self.is_found).filter(
            |(locked, is_found)| matches!(locked.state, State::Gone(day) if !**is_found && day >= first_day),
        );
        self.present.extend(gone.map(|(locked, _)| locked.clone()));
    }
}

/// Tells `after` what `before` knows of packages with the same file name, wherever they are now.
fn keep_digests(before: &Kernel, after: &mut Kernel) {
    after.packages.update(|package| {
        if package.sha256.is_some() {
            return false;
        }
        let name = package.file_name().into_owned();
        let is_same = |known: &&Package| known.sha256.is_some() && known.file_name() == name;
        let known = before.packages.iter().find(is_same);
        if let Some(known) = known {
            package.learn_from(known);
            // Whoever said it, this source does not.
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
    let is_same = before.config_sha256 == after.config_sha256
        && before.packages.is_same_content(&after.packages);
    if !is_same {
        Difference::Content
    } else if before.packages.is_same_urls(&after.packages) {
        // The source may say more of the same packages than before.
        Difference::None
    } else {
        Difference::Place
    }
}

/// The names of a kernel's files, where they tell a version: Flatcar's disk image has one name for all releases.
fn versioned_names(kernel: &Kernel) -> Option<String> {
    let names = kernel.packages.file_names();
    let tells_version = |name: &str| {
        let stem = name.split('.').next().unwrap_or(name);
        stem.contains(|character: char| character.is_ascii_digit())
    };
    let is_told = names.iter().any(|name| tells_version(name));
    is_told.then(|| names.join("\n"))
}
