//! How far a source is believed that names fewer kernels than before.
//!
//! Loss is judged three times: for a target, for each of its releases and for each of their series, each architecture
//! apart. What there was is what the lock holds, and what left in the last nights with nothing in its place: the lock
//! remembers kernels that are gone, each with its day, so that small losses add up and nothing has to be kept beside
//! them.
//!
//! Distributions delete kernels all the time, and that is no loss: a few old ones of a group that has newer ones, and
//! whole interim lines (Ubuntu's 5.13, a backport of Debian) once there is a newer line.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::refresh::RefreshRules;
use super::{Asked, LockedKernel, State};
use crate::discover::lists::current_id;
use crate::discover::select;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::matrix::Pattern;
use crate::target::{self, Series};

/// How many old kernels a group may lose at most, whatever part of it they are, as long as it has newer ones.
const FEW: usize = 2;

/// A series of which a source lost more than is believed. An empty series stands for the whole target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The target.
    pub target: TargetId,
    /// The series, or what several have in common.
    pub series: Series,
    /// The architecture.
    pub architecture: Architecture,
    /// How many kernels there were at most in the last nights.
    pub before: usize,
    /// How many the source names now.
    pub now: usize,
}

impl Doubt {
    /// Whether a pattern of `--accept-shrink` means it: by target, by release (`el8`, `oracle8`), by series
    /// (`jammy 5.15`), or by target and series.
    pub fn is_meant_by(&self, pattern: &Pattern) -> bool {
        let (target, series) = (self.target.as_str(), self.series.to_string());
        [
            target,
            &self.series.release,
            &series,
            &format!("{target} {series}"),
        ]
        .into_iter()
        .any(|name| !name.is_empty() && pattern.matches_name(name))
    }

    /// The shortest name that means it alone: for a release of Oracle Linux that by which lists name it, `oracle8`.
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

/// Whether a kernel counts: an entry that no plan ever holds is no loss.
pub(super) fn counts(kernel: &Kernel, is_literal: bool) -> bool {
    (is_literal || target::unknown_target(kernel).is_none())
        && target::no_kernel_package(kernel).is_none()
}

/// What a kernel is judged by: target, release, series.
fn groups_of(kernel: &Kernel) -> BTreeSet<Group> {
    let series = target::series_of(kernel);
    [Series::default(), series.without_line(), series]
        .into_iter()
        .map(|series| (kernel.target.clone(), series, kernel.architecture))
        .collect()
}

/// The kernels before and after a source was asked.
pub(super) struct Night<'a> {
    pub(super) rules: &'a RefreshRules<'a>,
    pub(super) asked: &'a Asked<'a>,
    /// What the lock held of the `[[target]]`.
    pub(super) old: &'a [LockedKernel],
    /// Which of these are named still.
    pub(super) is_found: &'a [bool],
    pub(super) present: &'a [LockedKernel],
    pub(super) came: &'a [Arc<Kernel>],
    /// Whether the matrix limits the source otherwise than before: then only the loss of a whole target is in doubt.
    pub(super) is_limited_anew: bool,
}

impl Night<'_> {
    fn counts(&self, kernel: &Kernel) -> bool {
        counts(kernel, self.asked.is_literal)
    }
}

/// What happened to a kernel of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is named still, or was gone before.
    None,
    /// It is missing, and the source is not believed.
    Doubted,
    /// It is missing, and the source is believed.
    Believed,
    /// It is missing, and there is a newer line in the place of its own.
    Replaced,
    /// It is missing, and a person said that the source is to be believed.
    Accepted,
}

/// What a night changed.
pub(super) struct Judged {
    /// Where the source is not believed.
    pub(super) doubts: Vec<Doubt>,
    /// The patterns that dispelled a doubt, by position.
    pub(super) accepted: BTreeSet<usize>,
    /// For each kernel of the lock.
    pub(super) verdicts: Vec<Verdict>,
}

/// The kernels of a group.
#[derive(Default)]
struct Count<'a> {
    /// Those that the lock holds, and those that left in the last nights with nothing in their place.
    before: usize,
    now: usize,
    came: usize,
    /// The newest kernel that is there.
    newest: Option<&'a Kernel>,
    /// The newest kernel that is missing.
    newest_missing: Option<&'a Kernel>,
}

fn newer<'a>(one: Option<&'a Kernel>, other: &'a Kernel) -> Option<&'a Kernel> {
    one.filter(|one| order(one, other).is_gt()).or(Some(other))
}

/// The order of two kernels of a target, by the rules of their distribution.
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
    // A person who names a series means its kernels, also in what is said about the whole target.
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

/// The newest line of each target and architecture that is there.
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

/// Whether a missing kernel is of an interim line, and there is a newer line.
fn is_replaced(kernel: &Kernel, newest: &BTreeMap<(&TargetId, Architecture), [u32; 2]>) -> bool {
    let [major, minor, _] = kernel.release.numbers();
    let newest = newest.get(&(&kernel.target, kernel.architecture));
    newest.is_some_and(|newest| *newest > [major, minor]) && target::series_of(kernel).is_interim
}

/// Counts the kernels of the groups that lost any.
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

/// Whether a day is in the last nights, today among them.
fn is_recent(rules: &RefreshRules<'_>, day: Date) -> bool {
    let nights = i64::from(rules.shrink_nights);
    day > rules.today.saturating_sub(nights.days())
}

/// Settles what left as far as new kernels of the same release came: a suite that replaces its kernels loses none.
/// Those that came in this night make up for this night's losses first. `gone` are kernels with state gone, `came` are
/// new ones.
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
    // What came in other lines of a release makes up for what went: suites replace their kernels all the time.
    let came = match groups.get(&(target.clone(), series.without_line(), *architecture)) {
        Some(release) if is_line => release.came.saturating_sub(count.came),
        _ => 0,
    };
    let before = count.before;
    let lost = before.saturating_sub(count.now + came);
    // One kernel that leaves is no series that vanishes, unless it is all that the target has.
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

/// Leaves out what a doubt about more says too: with the whole target, or all that a release has.
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
