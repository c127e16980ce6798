//! The difference between two manifests, artifact by artifact.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use super::night::{Night, NightArtifact};
use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::failure::{Failure, FailureClass, Status};
use crate::kernel::{Architecture, KernelId};
use crate::plan::BuildId;
use crate::report::{BuildNames, Manifest, signature};

/// The number of sample builds of a group.
const SAMPLES: usize = 3;

/// The change of an artifact since the baseline, in the order of reports: the most important changes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Built before, fails now.
    Regressed,
    /// Wanted for the first time, and fails.
    NewFailure,
    /// Built before, no longer wanted.
    Lost,
    /// Failed before, and fails now.
    StillFailing,
    /// Fails now, as a rule expects, whatever it was before.
    KnownFailure,
    /// Failed before, built now.
    Fixed,
    /// Wanted for the first time, and built.
    New,
    /// Built under another name, from the same packages.
    Renamed,
    /// Failed before, no longer wanted.
    Gone,
    /// One of the two runs did not reach it.
    Unknown,
    /// Built before, and built now.
    Unchanged,
}

impl Change {
    /// Every change, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Regressed,
        Self::NewFailure,
        Self::Lost,
        Self::StillFailing,
        Self::KnownFailure,
        Self::Fixed,
        Self::New,
        Self::Renamed,
        Self::Gone,
        Self::Unknown,
        Self::Unchanged,
    ];

    /// Returns the name of the change: `new-failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regressed => "regressed",
            Self::NewFailure => "new-failure",
            Self::Lost => "lost",
            Self::StillFailing => "still-failing",
            Self::KnownFailure => "known-failure",
            Self::Fixed => "fixed",
            Self::New => "new",
            Self::Renamed => "renamed",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
            Self::Unchanged => "unchanged",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|change| change.as_str() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown change `{text}`: expected one of {names}")
        })
    }
}

/// The identity of an artifact across manifests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ArtifactId {
    /// The kernel.
    #[serde(flatten)]
    pub kernel: KernelId,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// Module or probe.
    pub artifact: Artifact,
}

impl ArtifactId {
    /// Returns the names of the build `build_id`, which has the artifact.
    pub(super) fn names<'a>(&'a self, build_id: &'a BuildId) -> BuildNames<'a> {
        BuildNames {
            build_id,
            target: &self.kernel.target,
            kernel_release: &self.kernel.release,
            driver_version: &self.driver_version,
            architecture: self.kernel.architecture,
        }
    }
}

/// An artifact that is in one of the manifests or in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// The build that has the artifact, by its ID in the newer manifest that has it.
    pub build_id: BuildId,
    /// The identity of the artifact.
    #[serde(flatten)]
    pub id: ArtifactId,
    /// The change.
    pub change: Change,
    /// The status in the baseline.
    pub before: Option<Status>,
    /// The status now.
    pub now: Option<Status>,
    /// Since when the artifact has been failing, according to the newer manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The failure, if the artifact fails now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The build that had the artifact in the baseline under another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<BuildId>,
}

/// Failures with one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The change of these artifacts.
    pub change: Change,
    /// The class of the failures.
    pub class: FailureClass,
    /// The common part of the failures.
    pub signature: String,
    /// The number of artifacts.
    pub artifacts: usize,
    /// Since when the longest failing artifact has been failing, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The first builds.
    pub builds: Vec<BuildId>,
}

/// The changes from one manifest to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// The run of the baseline.
    pub old_run: String,
    /// The run that is compared with the baseline.
    pub new_run: String,
    /// The number of artifacts with each change.
    pub counts: BTreeMap<Change, usize>,
    /// The current failures by signature, sorted by change, then by size.
    pub groups: Vec<Group>,
    /// Every artifact except the unchanged ones, by change, then by identity.
    pub changes: Vec<Changed>,
}

impl Diff {
    /// Returns the number of artifacts with this change.
    pub fn count(&self, change: Change) -> usize {
        self.counts.get(&change).copied().unwrap_or_default()
    }

    /// Returns true if both runs have artifacts, but none in common: they are of different plans.
    pub fn is_of_different_grids(&self) -> bool {
        let is_new = |one: &&Changed| one.change == Change::KnownFailure && one.before.is_none();
        let known = self.changes.iter().filter(is_new).count();
        let came = self.count(Change::New) + self.count(Change::NewFailure) + known;
        let went = self.count(Change::Lost) + self.count(Change::Gone);
        came > 0 && went > 0 && came + went == self.counts.values().sum::<usize>()
    }
}

/// The state of an artifact in a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Failing,
    /// The artifact fails as a rule expects.
    Known,
    /// The run did not reach the artifact.
    Unknown,
    /// The artifact was not wanted.
    Absent,
}

fn state(status: Status) -> State {
    match status {
        Status::Built | Status::Cached => State::There,
        Status::Failed | Status::Error | Status::Unresolvable => State::Failing,
        Status::Known => State::Known,
        Status::Cancelled | Status::NotRun => State::Unknown,
        Status::Excluded => State::Absent,
    }
}

/// Returns the change of an artifact from one state to another.
fn change(before: State, now: State) -> Option<Change> {
    use State::{Absent, Failing, Known, There, Unknown};
    Some(match (before, now) {
        (Absent, Absent) => return None,
        (Unknown, _) | (_, Unknown) => Change::Unknown,
        // Not a regression, a new failure or a continuing one: these changes are for unexpected failures.
        (_, Known) => Change::KnownFailure,
        (Absent, There) => Change::New,
        (Absent, Failing) => Change::NewFailure,
        (There, There) => Change::Unchanged,
        (There, Failing) => Change::Regressed,
        (There, Absent) => Change::Lost,
        (Failing | Known, There) => Change::Fixed,
        (Failing | Known, Failing) => Change::StillFailing,
        (Failing | Known, Absent) => Change::Gone,
    })
}

/// Compares two manifests; see [`diff_nights`].
pub fn diff(old: &Manifest, new: &Manifest) -> Diff {
    diff_nights(&Night::of(old), &Night::of(new))
}

/// Compares two nights. An interrupted or partial run says nothing about artifacts that it does not have: such
/// artifacts are [`Change::Unknown`].
pub fn diff_nights(old: &Night, new: &Night) -> Diff {
    let missing = |night: &Night| {
        if night.is_partial {
            State::Unknown
        } else {
            State::Absent
        }
    };
    let (missing_before, missing_now) = (missing(old), missing(new));
    let pairs = pairs(&old.artifacts, &new.artifacts);
    let renames = renames(&pairs);
    let renamed: HashSet<&ArtifactId> = renames.values().map(|row| &row.id).collect();
    let mut counts = BTreeMap::new();
    let mut changes = Vec::new();
    for pair in &pairs {
        let (before, now) = (pair.old, pair.new);
        if now.is_none() && before.is_some_and(|row| renamed.contains(&row.id)) {
            continue;
        }
        let renamed_from = now.and_then(|row| renames.get(&row.id).copied());
        let change = match renamed_from {
            Some(_) => Some(Change::Renamed),
            None => change(
                before.map_or(missing_before, |row| state(row.status)),
                now.map_or(missing_now, |row| state(row.status)),
            ),
        };
        let (Some(change), Some(row)) = (change, now.or(before)) else {
            continue;
        };
        *counts.entry(change).or_default() += 1;
        if change == Change::Unchanged {
            continue;
        }
        changes.push(Changed {
            build_id: row.build_id.clone(),
            id: row.id.clone(),
            change,
            before: before.or(renamed_from).map(|row| row.status),
            now: now.map(|row| row.status),
            failing_since: now.and_then(|row| row.failing_since),
            failure: now.and_then(|row| row.failure.as_deref().cloned()),
            renamed_from: renamed_from.map(|row| row.build_id.clone()),
        });
    }
    changes.sort_by(|left, right| (left.change, &left.id).cmp(&(right.change, &right.id)));
    Diff {
        old_run: old.run_id.clone(),
        new_run: new.run_id.clone(),
        counts,
        groups: groups(&changes),
        changes,
    }
}

/// An artifact that is in one night or in both.
struct Pair<'a> {
    old: Option<&'a NightArtifact>,
    new: Option<&'a NightArtifact>,
}

/// Pairs the artifacts of two nights, which are both sorted.
fn pairs<'a>(old: &'a [NightArtifact], new: &'a [NightArtifact]) -> Vec<Pair<'a>> {
    let mut pairs = Vec::with_capacity(old.len().max(new.len()));
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(left), Some(right)) => left.id.cmp(&right.id),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return pairs,
        };
        pairs.push(Pair {
            old: if order.is_le() { old.next() } else { None },
            new: if order.is_ge() { new.next() } else { None },
        });
    }
}

/// Returns the renamed artifacts, each with its row under the old name. An artifact is renamed if exactly one that
/// went and one that came have equal packages.
fn renames<'a>(pairs: &[Pair<'a>]) -> HashMap<&'a ArtifactId, &'a NightArtifact> {
    type Inputs<'a> = (&'a DriverVersion, Architecture, Artifact, Sha256);
    fn by_inputs<'a>(
        rows: impl Iterator<Item = &'a NightArtifact>,
    ) -> HashMap<Inputs<'a>, Vec<&'a NightArtifact>> {
        let mut found: HashMap<Inputs<'a>, Vec<_>> = HashMap::new();
        for row in rows.filter(|row| state(row.status) == State::There) {
            if let Some(inputs) = row.inputs {
                let id = &row.id;
                let inputs = (
                    &id.driver_version,
                    id.kernel.architecture,
                    id.artifact,
                    inputs,
                );
                found.entry(inputs).or_default().push(row);
            }
        }
        found
    }
    let of_one = |pair: &&Pair<'a>| pair.old.is_none() || pair.new.is_none();
    let went = by_inputs(pairs.iter().filter(of_one).filter_map(|pair| pair.old));
    let came = by_inputs(pairs.iter().filter(of_one).filter_map(|pair| pair.new));
    came.into_iter()
        .filter_map(
            |(inputs, came)| match (came.as_slice(), went.get(&inputs)?.as_slice()) {
                ([came], [went]) => Some((&came.id, *went)),
                _ => None,
            },
        )
        .collect()
}

/// Groups the failures among the changes by signature.
fn groups(changes: &[Changed]) -> Vec<Group> {
    let mut groups: BTreeMap<(Change, FailureClass, String), Group> = BTreeMap::new();
    for changed in changes {
        let Some(failure) = &changed.failure else {
            continue;
        };
        if changed.change == Change::Unknown {
            continue;
        }
        let id = &changed.id;
        let signature = signature(failure, id.names(&changed.build_id));
        let key = (changed.change, failure.class, signature.clone());
        let group = groups.entry(key).or_insert_with(|| Group {
            change: changed.change,
            class: failure.class,
            signature,
            artifacts: 0,
            failing_since: None,
            builds: Vec::new(),
        });
        group.artifacts += 1;
        let known = [group.failing_since, changed.failing_since];
        group.failing_since = known.into_iter().flatten().min();
        if group.builds.len() < SAMPLES {
            group.builds.push(changed.build_id.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| (group.change, Reverse(group.artifacts)));
    groups
}
