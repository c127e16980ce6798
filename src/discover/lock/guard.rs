//! Decides whether to believe a source that lists fewer kernels than before.
//!
//! A loss is judged at three levels: for a target, for each of its releases, and for each series of a release. Each
//! architecture is judged separately. The number of kernels before a loss is the number in the lock, plus those that
//! left in the last nights and were not replaced. The lock keeps gone kernels with the day on which they left. So small
//! losses add up, and no other record is needed.
//!
//! If a `[[target]]` has several sources, each of them is judged too: its kernels are those that record it. Otherwise a
//! source that grows would hide the loss of another one. Only kernels that no source lists are lost.
//!
//! Distributions delete kernels all the time. Three cases do not count as a loss: a few old kernels of a group that has
//! newer ones, whole interim lines (Ubuntu's 5.13, a backport of Debian) once a newer line exists, and kernels for which
//! newer ones have left no room within `latest`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::doubt::{Doubt, without_repetition};
use super::latest::{Latest, order};
use super::refresh::RefreshRules;
use super::{Asked, LockedKernel, State, counts};
use crate::kernel::{Architecture, Kernel, KernelId, TargetId};
use crate::target::{self, Series};

/// How many old kernels a group that has newer ones may lose, independent of the percentage.
const FEW: usize = 2;

/// Kernels that are judged together: the target, the series, the architecture, and the position of the source. A
/// position of `None` stands for all sources.
type Group = (TargetId, Series, Architecture, Option<usize>);

/// The kernels before and after a source was read.
pub(super) struct Night<'a> {
    pub(super) rules: &'a RefreshRules<'a>,
    pub(super) asked: &'a Asked<'a>,
    /// The kernels of the `[[target]]` in the lock before.
    pub(super) old: &'a [LockedKernel],
    /// Whether each kernel of `old` is done: it was found again, renamed or dropped.
    pub(super) is_found: &'a [bool],
    pub(super) present: &'a [LockedKernel],
    pub(super) came: &'a [Arc<Kernel>],
    /// Whether the matrix limits the source in another way than before, which may explain a loss. If so, only the loss
    /// of a whole target is in doubt.
    pub(super) is_limited_anew: bool,
}

impl Night<'_> {
    fn counts(&self, kernel: &Kernel) -> bool {
        counts(kernel, self.asked.is_literal)
    }

    /// Returns the groups that a kernel belongs to: its target, its release and its series, for all sources and for
    /// each source that lists it.
    fn groups_of(&self, kernel: &Kernel) -> BTreeSet<Group> {
        let series = target::series_of(kernel);
        let sources = self.asked.sources_to_judge(kernel);
        let sources: Vec<Option<usize>> = sources.map(Some).chain([None]).collect();
        let of_series = |series: Series| {
            let one = (kernel.target.clone(), series, kernel.architecture);
            let sources = sources.iter();
            sources.map(move |source| (one.0.clone(), one.1.clone(), one.2, *source))
        };
        [Series::default(), series.without_line(), series]
            .into_iter()
            .flat_map(of_series)
            .collect()
    }

    fn doubt(&self, group: &Group, count: &Count<'_>) -> Doubt {
        let (target, series, architecture, source) = group;
        let source = source.map(|position| &self.asked.sources[position]);
        Doubt {
            target: target.clone(),
            series: series.clone(),
            architecture: *architecture,
            source: source.map(|source| source.name.to_string()),
            place: source
                .and_then(|source| Some(source.source.kind.place(*architecture)?.to_owned())),
            before: count.before,
            now: count.now,
        }
    }

    /// Whether a doubt is about a group of the kernel.
    fn covers(&self, doubt: &Doubt, kernel: &Kernel) -> bool {
        let groups = self.groups_of(kernel);
        groups.iter().any(|(target, series, architecture, source)| {
            let source = source.map(|position| &*self.asked.sources[position].name);
            (&doubt.target, &doubt.series, doubt.architecture) == (target, series, *architecture)
                && doubt.source.as_deref() == source
        })
    }
}

/// The decision about a kernel of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The kernel is still listed, or was gone before.
    None,
    /// The kernel is missing, and the source is not believed.
    Doubted,
    /// The kernel is missing, and the source is believed.
    Believed,
    /// The kernel is missing, and a newer line has replaced its interim line.
    Replaced,
    /// The kernel is missing, and `latest` excludes it, because of newer kernels.
    Displaced,
    /// The kernel is missing, and the user accepted the loss.
    Accepted,
}

/// The decisions about a night.
pub(super) struct Judged {
    /// The losses that are not believed.
    pub(super) doubts: Vec<Doubt>,
    /// The positions of the patterns that resolved a doubt.
    pub(super) accepted: BTreeSet<usize>,
    /// One verdict for each kernel of the lock.
    pub(super) verdicts: Vec<Verdict>,
    /// New kernels that are listed only because newer ones are missing that are not believed to be gone: `latest`
    /// excludes them.
    pub(super) slid: BTreeSet<KernelId>,
}

/// The numbers of kernels in a group.
#[derive(Default)]
struct Count<'a> {
    /// Kernels in the lock, and those that left in the last nights and were not replaced.
    before: usize,
    /// Kernels that are missing, and those that left in the last nights and were not replaced.
    lost: usize,
    now: usize,
    came: usize,
    /// The newest kernel that is present.
    newest: Option<&'a Kernel>,
    /// The newest kernel that is missing.
    newest_missing: Option<&'a Kernel>,
}

fn newer<'a>(one: Option<&'a Kernel>, other: &'a Kernel) -> Option<&'a Kernel> {
    one.filter(|one| order(one, other).is_gt()).or(Some(other))
}

/// Judges a night.
pub(super) fn judge(night: &Night<'_>) -> Judged {
    let mut judged = Judged {
        doubts: Vec::new(),
        accepted: BTreeSet::new(),
        verdicts: vec![Verdict::None; night.old.len()],
        slid: BTreeSet::new(),
    };
    let mut missing: Vec<usize> = (0..night.old.len())
        .filter(|&position| {
            let state = night.old[position].state;
            !night.is_found[position] && !matches!(state, State::Gone(_))
        })
        .collect();
    if missing.is_empty() {
        return judged;
    }
    let replaced = replaced(night, &missing);
    let present = || night.present.iter().map(|locked| &*locked.kernel);
    let listed = Latest::of(night.asked.sources, present());
    missing.retain(|&position| {
        let kernel = &night.old[position].kernel;
        let verdict = if listed.excludes(kernel) {
            Verdict::Displaced
        } else if replaced.contains(&position) {
            Verdict::Replaced
        } else {
            return true;
        };
        judged.verdicts[position] = verdict;
        false
    });
    let slid_below = |missing: &[usize]| -> BTreeSet<KernelId> {
        let missing = missing.iter().map(|&position| &*night.old[position].kernel);
        let all = Latest::of(night.asked.sources, present().chain(missing));
        let came = night.came.iter();
        came.filter(|kernel| all.excludes(kernel) && !listed.excludes(kernel))
            .map(|kernel| kernel.id())
            .collect()
    };
    let slid = slid_below(&missing);
    let mut groups: BTreeMap<Group, Count<'_>> = BTreeMap::new();
    for &position in &missing {
        let kernel = &night.old[position].kernel;
        for group in night.groups_of(kernel) {
            let count = groups.entry(group).or_default();
            count.newest_missing = newer(count.newest_missing, kernel);
        }
    }
    count(night, &judged.verdicts, &slid, &mut groups);
    let all = groups
        .iter()
        .filter(|(group, count)| is_doubtful(night, &groups, group, count))
        .map(|(group, count)| night.doubt(group, count));
    let (mut doubts, mut dispelled): (Vec<Doubt>, Vec<Doubt>) = (Vec::new(), Vec::new());
    for doubt in all {
        let patterns = night.rules.accepted.iter().enumerate();
        let meant = patterns.filter(|(_, pattern)| doubt.is_meant_by(pattern));
        let meant: Vec<usize> = meant.map(|(position, _)| position).collect();
        judged.accepted.extend(&meant);
        if meant.is_empty() {
            doubts.push(doubt);
        } else {
            dispelled.push(doubt);
        }
    }
    // A user who accepts the loss of a series accepts the loss of its kernels, also in the count for the whole target.
    for &position in &missing {
        let kernel = &night.old[position].kernel;
        let is_of = |doubts: &[Doubt]| doubts.iter().any(|doubt| night.covers(doubt, kernel));
        judged.verdicts[position] = if is_of(&dispelled) {
            Verdict::Accepted
        } else if is_of(&doubts) {
            Verdict::Doubted
        } else {
            Verdict::Believed
        };
    }
    let is_open = |doubt: &Doubt| {
        missing.iter().any(|&position| {
            judged.verdicts[position] == Verdict::Doubted
                && night.covers(doubt, &night.old[position].kernel)
        })
    };
    doubts.retain(is_open);
    missing.retain(|&position| judged.verdicts[position] == Verdict::Doubted);
    if !slid.is_empty() && !missing.is_empty() {
        judged.slid = slid_below(&missing);
    }
    judged.doubts = without_repetition(&doubts, &dispelled);
    judged
}

/// A line of a target and architecture.
type Line<'a> = (&'a TargetId, Architecture, [u32; 2]);

fn line_of(kernel: &Kernel) -> Line<'_> {
    let [major, minor, _] = kernel.release.numbers();
    (&kernel.target, kernel.architecture, [major, minor])
}

/// Returns which missing kernels belong to an interim line that is gone as a whole, while a newer line exists.
fn replaced(night: &Night<'_>, missing: &[usize]) -> BTreeSet<usize> {
    let present = || night.present.iter().map(|locked| &*locked.kernel);
    let mut newest: BTreeMap<(&TargetId, Architecture), [u32; 2]> = BTreeMap::new();
    for kernel in present() {
        let (target, architecture, line) = line_of(kernel);
        let newest = newest.entry((target, architecture)).or_default();
        *newest = line.max(*newest);
    }
    let series_of = |position: usize| target::series_of(&night.old[position].kernel);
    let is_outdated = |position: &&usize| {
        let (target, architecture, line) = line_of(&night.old[**position].kernel);
        let newest = newest.get(&(target, architecture));
        newest.is_some_and(|newest| *newest > line) && series_of(**position).is_interim
    };
    let outdated: Vec<usize> = missing.iter().filter(is_outdated).copied().collect();
    let lines: BTreeSet<Line<'_>> = outdated
        .iter()
        .map(|position| line_of(&night.old[*position].kernel))
        .collect();
    // Only few kernels are of these lines, and telling the series of all would take long.
    let of_lines = present().filter(|kernel| lines.contains(&line_of(kernel)));
    let still_there: BTreeSet<_> = of_lines
        .map(|kernel| (line_of(kernel), target::series_of(kernel)))
        .collect();
    outdated
        .into_iter()
        .filter(|position| {
            let line = line_of(&night.old[*position].kernel);
            !still_there.contains(&(line, series_of(*position)))
        })
        .collect()
}

/// Counts the kernels of groups that lost at least one.
fn count<'a>(
    night: &Night<'a>,
    verdicts: &[Verdict],
    slid: &BTreeSet<KernelId>,
    groups: &mut BTreeMap<Group, Count<'a>>,
) {
    let targets: BTreeSet<TargetId> = groups.keys().map(|(target, ..)| target.clone()).collect();
    let is_judged = |kernel: &Kernel| targets.contains(&kernel.target) && night.counts(kernel);
    let mut add = |kernel: &'a Kernel, change: &dyn Fn(&mut Count<'a>)| {
        if is_judged(kernel) {
            for group in night.groups_of(kernel) {
                if let Some(count) = groups.get_mut(&group) {
                    change(count);
                }
            }
        }
    };
    let is_slid = |kernel: &Kernel| !slid.is_empty() && slid.contains(&kernel.id());
    let present = night.present.iter().map(|locked| &*locked.kernel);
    for kernel in present.filter(|kernel| !is_slid(kernel)) {
        add(kernel, &|count| {
            count.now += 1;
            count.newest = newer(count.newest, kernel);
        });
    }
    for kernel in night.came.iter().filter(|kernel| !is_slid(kernel)) {
        add(kernel, &|count| count.came += 1);
    }
    let old = night.old.iter().zip(verdicts).zip(night.is_found);
    for ((locked, verdict), is_found) in old {
        let is_before = match locked.state {
            State::Gone(day) => !locked.is_settled && is_recent(night.rules, day),
            State::Confirmed | State::Unconfirmed(_) => {
                !matches!(verdict, Verdict::Replaced | Verdict::Displaced)
            }
        };
        if is_before {
            add(&locked.kernel, &|count| {
                count.before += 1;
                count.lost += usize::from(!is_found);
            });
        }
    }
}

/// Whether a day is one of the last nights, including today.
fn is_recent(rules: &RefreshRules<'_>, day: Date) -> bool {
    let nights = i64::from(rules.shrink_nights);
    day > rules.today.saturating_sub(nights.days())
}

fn is_doubtful(
    night: &Night<'_>,
    groups: &BTreeMap<Group, Count<'_>>,
    (target, series, architecture, source): &Group,
    count: &Count<'_>,
) -> bool {
    if night.is_limited_anew {
        return count.now == 0 && *series == Series::default() && source.is_none();
    }
    let is_line = !series.line.is_empty() && !series.release.is_empty();
    // New kernels in other lines of the release offset the loss: suites replace their kernels all the time.
    let release = (
        target.clone(),
        series.without_line(),
        *architecture,
        *source,
    );
    let came = match groups.get(&release) {
        Some(release) if is_line => release.came.saturating_sub(count.came),
        _ => 0,
    };
    let before = count.before;
    // A kernel that the source does not list any more is not lost if another source lists it.
    let lost = before.saturating_sub(count.now + came).min(count.lost);
    // The loss of a single kernel matters only for a whole target, not for a release or series.
    if lost == 0 || lost == 1 && *series != Series::default() {
        return false;
    }
    let are_old = match (count.newest, count.newest_missing) {
        (Some(newest), Some(missing)) => order(newest, missing).is_gt(),
        _ => false,
    };
    if are_old && lost <= FEW {
        return false;
    }
    count.now == 0 || lost as u64 * 100 > before as u64 * u64::from(night.rules.max_shrink_percent)
}
