//! Decides whether to believe a source that lists fewer kernels than before.
//!
//! A loss is judged at three levels: for a target, for each of its releases, and for each series of a release. Each
//! architecture is judged separately. The number of kernels before a loss is the number in the lock, plus those that
//! left in the last nights and were not replaced. The lock keeps gone kernels with the day on which they left. So small
//! losses add up, and no other record is needed.
//!
//! Distributions delete kernels all the time. Two cases do not count as a loss: a few old kernels of a group that has
//! newer ones, and whole interim lines (Ubuntu's 5.13, a backport of Debian) once a newer line exists.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::refresh::RefreshRules;
use super::{Asked, LockedKernel, State};
use crate::discover::lists::{current_id, in_current_names};
use crate::discover::select;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::matrix::Pattern;
use crate::target::{self, Series};

/// How many old kernels a group that has newer ones may lose, independent of the percentage.
const FEW: usize = 2;

/// A series that lost more kernels than the rules accept. An empty series stands for the whole target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The target.
    pub target: TargetId,
    /// The series, or the release that several series have in common.
    pub series: Series,
    /// The architecture.
    pub architecture: Architecture,
    /// The number of kernels before the loss, with those that left in the last nights and were not replaced.
    pub before: usize,
    /// The number of kernels that the source lists now.
    pub now: usize,
}

impl Doubt {
    /// Whether a pattern of `--accept-shrink` matches this doubt: by target, by release (`el8`, `oracle8`), by series
    /// (`jammy 5.15`), or by target and series. The case of letters does not matter, and targets may have the names
    /// that lists use (`PhotonOS`).
    pub fn is_meant_by(&self, pattern: &Pattern) -> bool {
        let (target, series) = (self.target.as_str(), self.series.to_string());
        let names = [
            target,
            &self.series.release,
            &series,
            &format!("{target} {series}"),
        ]
        .map(str::to_ascii_lowercase);
        let lower = in_current_names(pattern.as_str()).parse::<Pattern>();
        let patterns = [Some(pattern), lower.as_ref().ok()];
        let mut patterns = patterns.into_iter().flatten();
        patterns.any(|pattern| {
            let mut names = names.iter().filter(|name| !name.is_empty());
            names.any(|name| pattern.matches_name(name))
        })
    }

    /// Returns the shortest name that matches only this doubt. For a release of Oracle Linux this is its name in kernel
    /// lists, such as `oracle8`.
    pub fn name(&self) -> String {
        let release = &self.series.release;
        let is_of_lists = current_id(release) == self.target.as_str();
        match (release.as_str(), self.series.line.as_str()) {
            ("", "") => self.target.to_string(),
            (release, "") if is_of_lists => release.to_owned(),
            _ => format!("{} {}", self.target, self.series),
        }
    }

    fn covers(&self, group: &Group) -> bool {
        (&self.target, &self.series, self.architecture) == (&group.0, &group.1, group.2)
    }
}

type Group = (TargetId, Series, Architecture);

/// Whether a kernel counts. An entry that never enters a plan does not count as a loss.
pub(super) fn counts(kernel: &Kernel, is_literal: bool) -> bool {
    (is_literal || target::unknown_target(kernel).is_none())
        && target::no_kernel_package(kernel).is_none()
}

/// Returns the groups that a kernel belongs to: its target, its release and its series.
fn groups_of(kernel: &Kernel) -> BTreeSet<Group> {
    let series = target::series_of(kernel);
    [Series::default(), series.without_line(), series]
        .into_iter()
        .map(|series| (kernel.target.clone(), series, kernel.architecture))
        .collect()
}

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
    /// Whether the matrix limits the source in another way than before. If so, only the loss of a whole target is in
    /// doubt.
    pub(super) is_limited_anew: bool,
}

impl Night<'_> {
    fn counts(&self, kernel: &Kernel) -> bool {
        counts(kernel, self.asked.is_literal)
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
}

/// The numbers of kernels in a group.
#[derive(Default)]
struct Count<'a> {
    /// Kernels in the lock, and those that left in the last nights and were not replaced.
    before: usize,
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

/// Compares two kernels of a target by the rules of their distribution.
fn order(left: &Kernel, right: &Kernel) -> Ordering {
    select::compare(&left.target, &left.release, &right.release)
        .then_with(|| left.version.cmp(&right.version))
}

/// Judges a night.
pub(super) fn judge(night: &Night<'_>) -> Judged {
    let mut judged = Judged {
        doubts: Vec::new(),
        accepted: BTreeSet::new(),
        verdicts: vec![Verdict::None; night.old.len()],
    };
    let missing: Vec<usize> = (0..night.old.len())
        .filter(|&position| {
            let state = night.old[position].state;
            !night.is_found[position] && !matches!(state, State::Gone(_))
        })
        .collect();
    if missing.is_empty() {
        return judged;
    }
    let newest = newest_lines(night);
    let (replaced, missing): (Vec<usize>, Vec<usize>) = missing
        .into_iter()
        .partition(|&position| is_replaced(&night.old[position].kernel, &newest));
    for &position in &replaced {
        judged.verdicts[position] = Verdict::Replaced;
    }
    let mut groups: BTreeMap<Group, Count<'_>> = BTreeMap::new();
    for &position in &missing {
        let kernel = &night.old[position].kernel;
        for group in groups_of(kernel) {
            let count = groups.entry(group).or_default();
            count.newest_missing = newer(count.newest_missing, kernel);
        }
    }
    count(night, &judged.verdicts, &mut groups);
    let all = groups
        .iter()
        .filter(|(group, count)| is_doubtful(night, &groups, group, count))
        .map(|((target, series, architecture), count)| Doubt {
            target: target.clone(),
            series: series.clone(),
            architecture: *architecture,
            before: count.before,
            now: count.now,
        });
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
        let groups = groups_of(&night.old[position].kernel);
        let is_of = |doubts: &[Doubt]| {
            groups
                .iter()
                .any(|group| doubts.iter().any(|doubt| doubt.covers(group)))
        };
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
                && groups_of(&night.old[position].kernel)
                    .iter()
                    .any(|group| doubt.covers(group))
        })
    };
    doubts.retain(is_open);
    judged.doubts = without_repetition(&doubts);
    judged
}

/// Returns the newest line of each target and architecture that is present.
fn newest_lines<'a>(night: &Night<'a>) -> BTreeMap<(&'a TargetId, Architecture), [u32; 2]> {
    let mut newest = BTreeMap::new();
    for locked in night.present {
        let kernel = &locked.kernel;
        let [major, minor, _] = kernel.release.numbers();
        let line = newest
            .entry((&kernel.target, kernel.architecture))
            .or_default();
        *line = [major, minor].max(*line);
    }
    newest
}

/// Whether a missing kernel belongs to an interim line, and a newer line exists.
fn is_replaced(kernel: &Kernel, newest: &BTreeMap<(&TargetId, Architecture), [u32; 2]>) -> bool {
    let [major, minor, _] = kernel.release.numbers();
    let newest = newest.get(&(&kernel.target, kernel.architecture));
    newest.is_some_and(|newest| *newest > [major, minor]) && target::series_of(kernel).is_interim
}

/// Counts the kernels of groups that lost at least one.
fn count<'a>(night: &Night<'a>, verdicts: &[Verdict], groups: &mut BTreeMap<Group, Count<'a>>) {
    let targets: BTreeSet<TargetId> = groups.keys().map(|(target, _, _)| target.clone()).collect();
    let is_judged = |kernel: &Kernel| targets.contains(&kernel.target) && night.counts(kernel);
    let mut add = |kernel: &'a Kernel, change: &dyn Fn(&mut Count<'a>)| {
        if is_judged(kernel) {
            for group in groups_of(kernel) {
                if let Some(count) = groups.get_mut(&group) {
                    change(count);
                }
            }
        }
    };
    for locked in night.present {
        let kernel = &*locked.kernel;
        add(kernel, &|count| {
            count.now += 1;
            count.newest = newer(count.newest, kernel);
        });
    }
    for kernel in night.came {
        add(kernel, &|count| count.came += 1);
    }
    for (locked, verdict) in night.old.iter().zip(verdicts) {
        let is_before = match locked.state {
            State::Gone(day) => !locked.is_settled && is_recent(night.rules, day),
            State::Confirmed | State::Unconfirmed(_) => *verdict != Verdict::Replaced,
        };
        if is_before {
            add(&locked.kernel, &|count| count.before += 1);
        }
    }
}

/// Whether a day is one of the last nights, including today.
fn is_recent(rules: &RefreshRules<'_>, day: Date) -> bool {
    let nights = i64::from(rules.shrink_nights);
    day > rules.today.saturating_sub(nights.days())
}

/// Settles one gone kernel for each new kernel of the same release: a suite that replaces its kernels loses none. New
/// kernels settle the losses of this night first. `gone` contains kernels in the state gone, `came` contains new
/// kernels.
pub(super) fn settle<'a>(
    gone: &mut [LockedKernel],
    came: impl Iterator<Item = &'a Kernel>,
    today: Date,
) {
    let release_of = |kernel: &Kernel| -> Group {
        let series = target::series_of(kernel).without_line();
        (kernel.target.clone(), series, kernel.architecture)
    };
    let mut news: BTreeMap<Group, usize> = BTreeMap::new();
    if gone.iter().all(|locked| locked.is_settled) {
        return;
    }
    for kernel in came {
        *news.entry(release_of(kernel)).or_default() += 1;
    }
    for is_tonight in [true, false] {
        for locked in gone.iter_mut() {
            let left_tonight = matches!(locked.state, State::Gone(day) if day == today);
            if locked.is_settled || left_tonight != is_tonight {
                continue;
            }
            if let Some(count @ 1..) = news.get_mut(&release_of(&locked.kernel)) {
                *count -= 1;
                locked.is_settled = true;
            }
        }
    }
}

fn is_doubtful(
    night: &Night<'_>,
    groups: &BTreeMap<Group, Count<'_>>,
    (target, series, architecture): &Group,
    count: &Count<'_>,
) -> bool {
    if night.is_limited_anew {
        return count.now == 0 && *series == Series::default();
    }
    let is_line = !series.line.is_empty();
    // New kernels in other lines of the release offset the loss: suites replace their kernels all the time.
    let came = match groups.get(&(target.clone(), series.without_line(), *architecture)) {
        Some(release) if is_line => release.came.saturating_sub(count.came),
        _ => 0,
    };
    let before = count.before;
    let lost = before.saturating_sub(count.now + came);
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

/// Removes a doubt if a doubt about the whole target or the whole release reports the same numbers.
fn without_repetition(doubts: &[Doubt]) -> Vec<Doubt> {
    let says_the_same = |doubt: &Doubt, other: &Doubt| {
        let is_wider =
            other.series == Series::default() || other.series == doubt.series.without_line();
        doubt != other
            && is_wider
            && doubt.series != Series::default()
            && (&doubt.target, doubt.architecture) == (&other.target, other.architecture)
            && (doubt.before, doubt.now) == (other.before, other.now)
    };
    let kept = doubts
        .iter()
        .filter(|doubt| !doubts.iter().any(|other| says_the_same(doubt, other)))
        .cloned();
    kept.collect()
}
