//! How far a source is believed that names fewer kernels than before.
//!
//! Loss is judged three times: for a target, for each of its releases and for each of their series, each architecture
//! apart. What there was is the most that the last nights had: the lock remembers it by the kernels that are gone, each
//! with its day, so that small losses add up and nothing has to be kept beside the kernels.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::refresh::RefreshRules;
use super::{Asked, LockedKernel, State};
use crate::discover::lists::current_id;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::matrix::Pattern;
use crate::target::{self, Series};

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
    let series = Series::of(kernel);
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
    pub(super) came: &'a [std::sync::Arc<Kernel>],
}

impl Night<'_> {
    fn counts(&self, kernel: &Kernel) -> bool {
        counts(kernel, self.asked.is_literal)
    }
}

/// What became of a kernel of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is named still, or was gone before.
    None,
    /// It is missing, and the source is not believed.
    Doubted,
    /// It is missing, and the source is believed.
    Believed,
    /// It is missing, and a person said that the source is to be believed.
    Accepted,
}

/// What came of a night.
pub(super) struct Judged {
    /// Where the source is not believed.
    pub(super) doubts: Vec<Doubt>,
    /// The patterns that dispelled a doubt, by position.
    pub(super) accepted: BTreeSet<usize>,
    /// For each kernel of the lock.
    pub(super) verdicts: Vec<Verdict>,
}

#[derive(Default)]
struct Count {
    now: usize,
    came: usize,
    /// For each of the last nights, today last: how many kernels there were when it began.
    nights: Vec<usize>,
    /// How many there were today, those that came and went today among them.
    today: usize,
}

impl Count {
    fn before(&self) -> usize {
        self.nights
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
            .max(self.today)
    }
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
    let mut groups: BTreeMap<Group, Count> = BTreeMap::new();
    for &position in &missing {
        for group in groups_of(&night.old[position].kernel) {
            groups.entry(group).or_default();
        }
    }
    if missing.is_empty() {
        return judged;
    }
    count(night, &mut groups);
    let all = groups
        .iter()
        .filter(|(group, count)| is_doubtful(night.rules, &groups, group, count))
        .map(|((target, series, architecture), count)| Doubt {
            target: target.clone(),
            series: series.clone(),
            architecture: *architecture,
            before: count.before(),
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
    // A person who names a series means its kernels, also in what is said of the whole target.
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
    judged.doubts = without_repetition(doubts);
    judged
}

/// Counts the kernels of the groups that lost any.
fn count(night: &Night<'_>, groups: &mut BTreeMap<Group, Count>) {
    let targets: BTreeSet<TargetId> = groups.keys().map(|(target, _, _)| target.clone()).collect();
    let is_judged = |kernel: &Kernel| targets.contains(&kernel.target) && night.counts(kernel);
    let mut add = |kernel: &Kernel, change: &dyn Fn(&mut Count)| {
        if is_judged(kernel) {
            for group in groups_of(kernel) {
                if let Some(count) = groups.get_mut(&group) {
                    change(count);
                }
            }
        }
    };
    for locked in night.present {
        add(&locked.kernel, &|count| count.now += 1);
    }
    for kernel in night.came {
        add(kernel, &|count| count.came += 1);
    }
    let today = night.rules.today;
    let nights = i64::from(night.rules.shrink_nights.min(night.rules.keep_gone_days));
    let days: Vec<Date> = (0..nights)
        .rev()
        .map(|back| today.saturating_sub(back.days()))
        .collect();
    for locked in night.old.iter().filter(|locked| !locked.is_accepted) {
        let gone = match locked.state {
            State::Gone(day) => Some(day),
            State::Confirmed | State::Unconfirmed(_) => None,
        };
        let was_there = |day: Date| locked.first_seen < day && gone.is_none_or(|gone| gone >= day);
        let is_today = gone.is_none() || gone == Some(today) && locked.first_seen == today;
        add(&locked.kernel, &|count| {
            count.nights.resize(days.len(), 0);
            for (night, day) in count.nights.iter_mut().zip(&days) {
                *night += usize::from(was_there(*day));
            }
            count.today += usize::from(is_today);
        });
    }
}

fn is_doubtful(
    rules: &RefreshRules<'_>,
    groups: &BTreeMap<Group, Count>,
    (target, series, architecture): &Group,
    count: &Count,
) -> bool {
    let is_line = !series.line.is_empty();
    // What came in other lines of a release makes up for what went: suites replace their kernels all the time.
    let came = match groups.get(&(target.clone(), series.without_line(), *architecture)) {
        Some(release) if is_line => release.came.saturating_sub(count.came),
        _ => 0,
    };
    let before = count.before();
    let lost = before.saturating_sub(count.now + came);
    // One kernel that leaves is no series that vanishes, unless it is all that the target has.
    if lost == 0 || lost == 1 && *series != Series::default() {
        return false;
    }
    count.now == 0 || lost as u64 * 100 > before as u64 * u64::from(rules.max_shrink_percent)
}

/// Leaves out what a doubt about more says too: with the whole target, or all that a release has.
fn without_repetition(doubts: Vec<Doubt>) -> Vec<Doubt> {
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
