//! The difference of two manifests, artifact by artifact.

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

/// How many builds of a group are named.
const SAMPLES: usize = 3;

/// The change of an artifact since the baseline. The order is that of reports: what needs a look comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was there, and cannot be built now.
    Regressed,
    /// It is wanted for the first time, and cannot be built.
    NewFailure,
    /// It was there, and is wanted no more.
    Lost,
    /// It could not be built, and cannot be built now.
    StillFailing,
    /// It could not be built, and is there now.
    Fixed,
    /// It is wanted for the first time, and is there.
    New,
    /// It is there under another name, from the same packages.
    Renamed,
    /// It could not be built, and is wanted no more.
    Gone,
    /// One of the two runs did not get to it.
    Unknown,
    /// It was there, and is there.
    Unchanged,
}

impl Change {
    /// Every change, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::Regressed,
        Self::NewFailure,
        Self::Lost,
        Self::StillFailing,
        Self::Fixed,
        Self::New,
        Self::Renamed,
        Self::Gone,
        Self::Unknown,
        Self::Unchanged,
    ];

    /// The word for it: `new-failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regressed => "regressed",
            Self::NewFailure => "new-failure",
            Self::Lost => "lost",
            Self::StillFailing => "still-failing",
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

/// What makes an artifact the same one in two manifests.
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
    /// What names the build `build_id`, which has the artifact.
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

/// An artifact of one manifest or of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// The build that has it, by its name in the newer manifest that knows it.
    pub build_id: BuildId,
    /// Which it is.
    #[serde(flatten)]
    pub id: ArtifactId,
    /// The change.
    pub change: Change,
    /// Its status in the baseline.
    pub before: Option<Status>,
    /// Its status now.
    pub now: Option<Status>,
    /// Since when it has been failing, as the newer manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why it is not there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The build that had it in the baseline, where it has another name.
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
    /// What they have in common.
    pub signature: String,
    /// How many artifacts.
    pub artifacts: usize,
    /// Since when the longest failing of them fails, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// The first of their builds.
    pub builds: Vec<BuildId>,
}

/// What changed from one manifest to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// The run that is the baseline.
    pub old_run: String,
    /// The run that is compared with it.
    pub new_run: String,
    /// How many artifacts have each change.
    pub counts: BTreeMap<Change, usize>,
    /// The failures of now, by signature: by change, then the largest first.
    pub groups: Vec<Group>,
    /// Every artifact but the unchanged ones, by change, then by identity.
    pub changes: Vec<Changed>,
}

impl Diff {
    /// How many artifacts have this change.
    pub fn count(&self, change: Change) -> usize {
        self.counts.get(&change).copied().unwrap_or_default()
    }

    /// Whether both runs have artifacts, and not one in common: they are of different plans.
    pub fn is_of_different_grids(&self) -> bool {
        let came = self.count(Change::New) + self.count(Change::NewFailure);
        let went = self.count(Change::Lost) + self.count(Change::Gone);
        came > 0 && went > 0 && came + went == self.counts.values().sum::<usize>()
    }
}

/// What a manifest says about an artifact.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Failing,
    /// The run did not get to it.
    Unknown,
    /// It was not wanted.
    Absent,
}

fn state(status: Status) -> State {
    match status {
        Status::Built | Status::Cached => State::There,
        Status::Failed | Status::Error | Status::Unresolvable | Status::Known => State::Failing,
        Status::Cancelled | Status::NotRun => State::Unknown,
        Status::Excluded => State::Absent,
    }
}

/// The change of an artifact from one state to another.
fn change(before: State, now: State) -> Option<Change> {
    use State::{Absent, Failing, There, Unknown};
    Some(match (before, now) {
        (Absent, Absent) => return None,
        (Unknown, _) | (_, Unknown) => Change::Unknown,
        (Absent, There) => Change::New,
        (Absent, Failing) => Change::NewFailure,
        (There, There) => Change::Unchanged,
        (There, Failing) => Change::Regressed,
        (There, Absent) => Change::Lost,
        (Failing, There) => Change::Fixed,
        (Failing, Failing) => Change::StillFailing,
        (Failing, Absent) => Change::Gone,
    })
}

/// Compares two manifests: [`diff_nights`].
pub fn diff(old: &Manifest, new: &Manifest) -> Diff {
    diff_nights(&Night::of(old), &Night::of(new))
}

/// Compares two nights. A baseline that was interrupted, or that was about a part of its plan, says nothing about what
/// it does not name: such artifacts are [`Change::Unknown`].
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

/// An artifact of one night or of both.
struct Pair<'a> {
    old: Option<&'a NightArtifact>,
    new: Option<&'a NightArtifact>,
}

/// Puts the artifacts of two nights side by side; both are sorted.
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

/// The artifacts that are there now under a name that they did not have, each with the row that it had: equal packages,
/// one that went for one that came.
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

/// The failures among the changes, by signature.
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
