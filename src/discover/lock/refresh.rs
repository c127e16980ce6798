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
        discovered.dedup_by(|next, first| {
            first.identity() == next.identity() && first.has_same_inputs(next)
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
        self.kernels.par_sort_by(|left, right| {
            (left.kernel.identity(), &left.label).cmp(&(right.kernel.identity(), &right.label))
        });
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

    /// Finds kernels that came with the packages of one that is missing.
    fn pair_renamed(&mut self) {
        let mut by_content: HashMap<(Architecture, String), Vec<usize>> = HashMap::new();
        for (position, locked) in self.old.iter().enumerate() {
            let is_missing = !self.is_found[position] && !matches!(locked.state, State::Gone(_));
            if is_missing && !locked.kernel.packages.is_empty() {
                let names = file_names(&locked.kernel).join("\n");
                let key = (locked.kernel.architecture, names);
                by_content.entry(key).or_default().push(position);
            }
        }
        let mut find_old = |kernel: &Kernel| {
            let key = (kernel.architecture, file_names(kernel).join("\n"));
            by_content.get_mut(&key)?.pop()
        };
        let pairs: Vec<(usize, Option<usize>)> = self
            .came
            .iter()
            .map(|&position| (position, find_old(&self.present[position].kernel)))
            .collect();
        for (position, old) in pairs {
            let Some(old) = old else {
                let kernel = &self.present[position].kernel;
                self.changes.came.push(Arc::clone(kernel));
                continue;
            };
            self.is_found[old] = true;
            let old = &self.old[old];
            let new = &mut self.present[position];
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

/// Tells `after` what `before` knows of packages with the same address or, moved, the same file name.
fn keep_digests(before: &Kernel, after: &mut Kernel) {
    for package in &mut after.packages {
        if package.sha256.is_some() {
            continue;
        }
        let is_same_name = |known: &&Package| file_name(&known.url) == file_name(&package.url);
        if let Some(known) = before.packages.iter().find(is_same_name) {
            package.sha256 = known.sha256;
            // Whoever said it, this source does not.
            package.is_noted = known.sha256.is_some();
            package.size_bytes = package.size_bytes.or(known.size_bytes);
        }
    }
}

enum Difference {
    None,
    Place,
    Content,
}

fn difference(before: &Kernel, after: &Kernel) -> Difference {
    let contents = |kernel: &Kernel| -> Option<Vec<Sha256>> {
        let packages = kernel.packages.iter();
        packages.map(|package| package.sha256).collect()
    };
    if before.packages == after.packages && before.config_sha256 == after.config_sha256 {
        return Difference::None;
    }
    // Where the source knows no digests, a package's file name carries its version.
    let is_same = match (contents(before), contents(after)) {
        (Some(before), Some(after)) => before == after,
        _ => file_names(before) == file_names(after),
    };
    let is_place = before.packages.len() == after.packages.len()
        && before
            .packages
            .iter()
            .zip(&after.packages)
            .all(|(before, after)| before.url == after.url);
    match (
        is_same && before.config_sha256 == after.config_sha256,
        is_place,
    ) {
        // The source tells more of the same packages than before.
        (true, true) => Difference::None,
        (true, false) => Difference::Place,
        (false, _) => Difference::Content,
    }
}

fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn file_names(kernel: &Kernel) -> Vec<&str> {
    let packages = kernel.packages.iter();
    packages.map(|package| file_name(&package.url)).collect()
}
