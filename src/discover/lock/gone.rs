//! What remains of missing kernels: those that are gone, and new kernels that only took the place of missing ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::refresh::Refresh;
use super::{Asked, LockedKernel, State};
use crate::kernel::{Architecture, Kernel, KernelId, TargetId};
use crate::matrix::SourceKind;
use crate::target::{self, Series};

/// The release of a target, the architecture, and the position of the source.
type Group = (TargetId, Series, Architecture, Option<usize>);

impl Refresh<'_> {
    /// Whether the `[[target]]` has the same kinds of sources as before, and all of them are lists. Then its limits can
    /// only differ in `latest` and `since`, and both tell which kernels they exclude.
    pub(super) fn has_same_lists(&self) -> bool {
        let sources = self.asked.sources;
        let is_mirror = |kind: &SourceKind| matches!(kind, SourceKind::Mirror(_));
        if sources.iter().any(|one| is_mirror(&one.source.kind)) {
            return false;
        }
        let present = self.old.iter();
        let present = present.filter(|locked| !matches!(locked.state, State::Gone(_)));
        let before: BTreeSet<&str> = present
            .flat_map(|locked| locked.kernel.source.split(", "))
            .collect();
        let now: BTreeSet<&str> = sources.iter().map(|one| &*one.name).collect();
        before == now
    }

    /// Drops new kernels that `latest` excludes, because missing kernels are kept.
    pub(super) fn drop_slid(&mut self, slid: &BTreeSet<KernelId>) {
        if slid.is_empty() {
            return;
        }
        let is_kept = |kernel: &Kernel| !slid.contains(&kernel.id());
        self.present.retain(|locked| is_kept(&locked.kernel));
        self.changes.came.retain(|kernel| is_kept(kernel));
        // If the kernel was gone before, it stays gone.
        for (locked, is_found) in self.old.iter().zip(&mut self.is_found) {
            *is_found &= is_kept(&locked.kernel);
        }
        for (_, position) in self.returned.iter().filter(|(id, _)| slid.contains(id)) {
            self.is_found[*position] = false;
        }
    }

    /// Keeps kernels that left recently, and settles those that new kernels replace.
    pub(super) fn keep_gone(&mut self) {
        // A kernel that still counts as present before a loss has to stay in the lock.
        let days = self.rules.keep_gone_days.max(self.rules.shrink_nights);
        let first_day = self.rules.today.saturating_sub(i64::from(days).days());
        let gone = self.old.iter().zip(&self.is_found).filter(
            |(locked, is_found)| matches!(locked.state, State::Gone(day) if !**is_found && day >= first_day),
        );
        let gone: Vec<LockedKernel> = gone.map(|(locked, _)| locked.clone()).collect();
        let is_gone = |locked: &LockedKernel| matches!(locked.state, State::Gone(_));
        let (mut all, present): (Vec<_>, Vec<_>) = std::mem::take(&mut self.present)
            .into_iter()
            .partition(is_gone);
        self.present = present;
        all.extend(gone);
        all.sort_by(|left, right| left.key().cmp(&right.key()));
        settle(self.asked, &mut all, self.new_kernels(), self.rules.today);
        self.present.extend(all);
    }

    /// Returns the kernels that each source lists for the first time. A kernel that comes back is not new.
    fn new_kernels(&self) -> impl Iterator<Item = (&Kernel, Option<usize>)> {
        let known = |kernel: &Kernel| {
            let same = |locked: &LockedKernel| locked.kernel.identity().cmp(&kernel.identity());
            let position = self.old.binary_search_by(same).ok()?;
            Some(&*self.old[position].kernel)
        };
        let came = self.changes.came.iter().map(|kernel| &**kernel);
        let new = came.filter(move |kernel| {
            known(kernel).is_none() && !self.returned.contains_key(&kernel.id())
        });
        let of_sources = |kernel| {
            let sources = self.asked.sources_to_judge(kernel).map(Some);
            sources.chain([None]).map(move |source| (kernel, source))
        };
        let has_sources = self.asked.sources.len() > 1;
        let present = self.present.iter().filter(move |_| has_sources);
        let also_listed = present.flat_map(move |locked| {
            let kernel = &*locked.kernel;
            let before = known(kernel).filter(|before| before.source != kernel.source);
            let sources = before.into_iter().flat_map(move |before| {
                let sources = self.asked.sources_to_judge(kernel);
                sources.filter(|position| !self.asked.sources[*position].lists(before))
            });
            sources.map(move |position| (kernel, Some(position)))
        });
        new.flat_map(of_sources).chain(also_listed)
    }
}

/// Settles one gone kernel for each new kernel of the same release and source: a suite that replaces its kernels loses
/// none. New kernels settle the losses of this night first. `gone` contains kernels in the state gone, `came` the new
/// kernels of each source.
fn settle<'a>(
    asked: &Asked<'_>,
    gone: &mut [LockedKernel],
    came: impl Iterator<Item = (&'a Kernel, Option<usize>)>,
    today: Date,
) {
    let release_of = |kernel: &Kernel, source: Option<usize>| -> Group {
        let series = target::series_of(kernel).without_line();
        (kernel.target.clone(), series, kernel.architecture, source)
    };
    let mut news: BTreeMap<Group, usize> = BTreeMap::new();
    if gone.iter().all(|locked| locked.is_settled) {
        return;
    }
    for (kernel, source) in came {
        *news.entry(release_of(kernel, source)).or_default() += 1;
    }
    for is_tonight in [true, false] {
        for locked in gone.iter_mut() {
            let left_tonight = matches!(locked.state, State::Gone(day) if day == today);
            if locked.is_settled || left_tonight != is_tonight {
                continue;
            }
            for source in asked.sources_to_settle(&locked.kernel) {
                if let Some(count @ 1..) = news.get_mut(&release_of(&locked.kernel, source)) {
                    *count -= 1;
                    locked.is_settled = true;
                    break;
                }
            }
        }
    }
}
