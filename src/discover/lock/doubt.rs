//! A loss of kernels that is not believed.

use crate::discover::lists::{current_id, in_current_names};
use crate::kernel::{Architecture, TargetId};
use crate::matrix::Pattern;
use crate::target::Series;

/// A series that lost more kernels than the rules accept. An empty series stands for the whole target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The target.
    pub target: TargetId,
    /// The series, or the release that several series have in common.
    pub series: Series,
    /// The architecture.
    pub architecture: Architecture,
    /// The name of the source (see [`crate::matrix::KernelSources::names`]) if one of several sources lost the kernels;
    /// `None` for all sources together.
    pub source: Option<String>,
    /// The URL or path of that source, if it has one.
    pub place: Option<String>,
    /// The number of kernels before the loss, with those that left in the last nights and were not replaced.
    pub before: usize,
    /// The number of kernels that the source lists now.
    pub now: usize,
}

impl Doubt {
    /// Whether a pattern of `--accept-shrink` matches this doubt: by target, by release (`el8`, `oracle8`), by series
    /// (`jammy 5.15`), or by target and series, each also with the source (`rocky from csv 2`). The case of letters
    /// does not matter, and targets may have the names that lists use (`PhotonOS`).
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
            names.any(|name| {
                let source = self.source.as_ref();
                pattern.matches_name(name)
                    || source.is_some_and(|source| {
                        pattern.matches_name(&format!("{} from {source}", name.trim_end()))
                    })
            })
        })
    }

    /// Returns the shortest name that matches only this doubt. For a release of Oracle Linux this is its name in kernel
    /// lists, such as `oracle8`.
    pub fn name(&self) -> String {
        let release = &self.series.release;
        let is_of_lists = current_id(release) == self.target.as_str();
        let name = match (release.as_str(), self.series.line.as_str()) {
            ("", "") => self.target.to_string(),
            (release, "") if is_of_lists => release.to_owned(),
            _ => format!("{} {}", self.target, self.series),
        };
        match &self.source {
            Some(source) => format!("{name} from {source}"),
            None => name,
        }
    }
}

/// Removes a doubt if a doubt about the whole target or the whole release reports the same numbers or the loss
/// of everything, unless a part of that loss is in `accepted`.
pub(super) fn without_repetition(doubts: &[Doubt], accepted: &[Doubt]) -> Vec<Doubt> {
    let is_implied_by = |doubt: &Doubt, other: &Doubt| {
        let is_wider =
            other.series == Series::default() || other.series == doubt.series.without_line();
        let is_whole = || {
            let is_same = |one: &Doubt| {
                (&one.target, one.architecture) == (&other.target, other.architecture)
            };
            other.now == 0 && !accepted.iter().any(is_same)
        };
        doubt != other
            && is_wider
            && doubt.series != Series::default()
            && (&doubt.target, doubt.architecture, &doubt.source)
                == (&other.target, other.architecture, &other.source)
            && (is_whole() || (doubt.before, doubt.now) == (other.before, other.now))
    };
    let kept = doubts
        .iter()
        .filter(|doubt| !doubts.iter().any(|other| is_implied_by(doubt, other)))
        .cloned();
    kept.collect()
}
