//! The difference of two manifests, artifact by artifact.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::event::ArtifactReport;
use crate::failure::{Failure, FailureClass, Status};
use crate::kernel::{Architecture, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;
use crate::report::{BuildNames, BuildRecord, Manifest, signature};

/// How many builds of a group are named.
const SAMPLES: usize = 3;

/// What became of an artifact since the baseline. The order is that of reports: what needs a look comes first.
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
    /// The distribution.
    pub target: TargetId,
    /// The kernel's release.
    pub kernel_release: KernelRelease,
    /// The kernel's version.
    pub kernel_version: KernelVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// Module or probe.
    pub artifact: Artifact,
}

impl ArtifactId {
    fn of(build: &BuildRecord, artifact: Artifact) -> Self {
        Self {
            target: build.target.clone(),
            kernel_release: build.kernel_release.clone(),
            kernel_version: build.kernel_version.clone(),
            architecture: build.architecture,
            driver_version: build.driver_version.clone(),
            artifact,
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
    /// What became of it.
    pub change: Change,
    /// Its status in the baseline.
    pub before: Option<Status>,
    /// Its status now.
    pub now: Option<Status>,
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
    /// What became of these artifacts.
    pub change: Change,
    /// The class of the failures.
    pub class: FailureClass,
    /// What they have in common.
    pub signature: String,
    /// How many artifacts.
    pub artifacts: usize,
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
}

/// What a manifest says of an artifact.
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
        Status::Failed | Status::Error | Status::Unresolvable => State::Failing,
        Status::Cancelled | Status::NotRun => State::Unknown,
        Status::Excluded => State::Absent,
    }
}

/// What became of an artifact in one state that is in another now.
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

/// The flags that make a run about a part of its plan.
const SELECTING: [&str; 8] = [
    "--arch",
    "--architecture",
    "--artifact",
    "--driver",
    "--kernel",
    "--only",
    "--shard",
    "--target",
];

/// Whether a manifest says nothing about artifacts that it does not name: its run was interrupted, or about a part of its
/// plan.
fn is_partial(manifest: &Manifest) -> bool {
    let run = &manifest.run;
    let selects = |word: &String| {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        SELECTING.contains(&flag)
    };
    run.finished.is_none()
        || run.stopped.is_some()
        || run.shard.is_some()
        || run.command.iter().any(selects)
}

/// An artifact of a manifest.
#[derive(Clone, Copy)]
struct Row<'a> {
    build: &'a BuildRecord,
    report: &'a ArtifactReport,
}

type Rows<'a> = HashMap<ArtifactId, Row<'a>>;

fn rows(manifest: &Manifest) -> Rows<'_> {
    fn of_build(build: &BuildRecord) -> impl Iterator<Item = (ArtifactId, Row<'_>)> {
        let row = move |report| Row { build, report };
        let reports = build.artifacts.iter();
        reports.map(move |report| (ArtifactId::of(build, report.artifact), row(report)))
    }
    manifest.builds.iter().flat_map(of_build).collect()
}

/// Compares two manifests. A baseline that was interrupted, or that was about a part of its plan, says nothing about what it
/// does not name: such artifacts are [`Change::Unknown`].
pub fn diff(old: &Manifest, new: &Manifest) -> Diff {
    let (before, now) = (rows(old), rows(new));
    let missing = |is_partial| {
        if is_partial {
            State::Unknown
        } else {
            State::Absent
        }
    };
    let (missing_before, missing_now) = (missing(is_partial(old)), missing(is_partial(new)));
    let renames = renames(&before, &now);
    let mut changes = Vec::new();
    let mut counts = BTreeMap::new();
    for (id, row) in &now {
        let old = before.get(id);
        let old_state = old.map_or(missing_before, |row| state(row.report.status));
        let renamed_from = renames.get(id).copied();
        let change = match renamed_from {
            Some(_) => Some(Change::Renamed),
            None => change(old_state, state(row.report.status)),
        };
        if let Some(change) = change {
            changes.push(Changed {
                build_id: row.build.build_id.clone(),
                id: id.clone(),
                change,
                before: old.or(renamed_from.as_ref()).map(|row| row.report.status),
                now: Some(row.report.status),
                failure: row.report.failure.clone(),
                renamed_from: renamed_from.map(|row| row.build.build_id.clone()),
            });
        }
    }
    let renamed: HashSet<ArtifactId> = renames
        .values()
        .map(|row| ArtifactId::of(row.build, row.report.artifact))
        .collect();
    for (id, row) in &before {
        if now.contains_key(id) || renamed.contains(id) {
            continue;
        }
        if let Some(change) = change(state(row.report.status), missing_now) {
            changes.push(Changed {
                build_id: row.build.build_id.clone(),
                id: id.clone(),
                change,
                before: Some(row.report.status),
                now: None,
                failure: None,
                renamed_from: None,
            });
        }
    }
    for changed in &changes {
        *counts.entry(changed.change).or_default() += 1;
    }
    changes.retain(|changed| changed.change != Change::Unchanged);
    changes.sort_by(|left, right| (left.change, &left.id).cmp(&(right.change, &right.id)));
    Diff {
        old_run: old.run.id.clone(),
        new_run: new.run.id.clone(),
        counts,
        groups: groups(&changes),
        changes,
    }
}

/// What an artifact is made from, whatever its kernel is called.
type Inputs = (DriverVersion, Architecture, Artifact, Vec<Sha256>);

fn inputs(row: &Row<'_>) -> Option<Inputs> {
    let digests: Option<Vec<Sha256>> = row.build.inputs.iter().map(|input| input.sha256).collect();
    let mut digests = digests.filter(|digests| !digests.is_empty())?;
    digests.sort_unstable();
    Some((
        row.build.driver_version.clone(),
        row.build.architecture,
        row.report.artifact,
        digests,
    ))
}

/// The artifacts that are there now under a name that they did not have, each with the row that it had: equal packages, one
/// that went for one that came.
fn renames<'a>(before: &Rows<'a>, now: &Rows<'a>) -> HashMap<ArtifactId, Row<'a>> {
    fn only_in<'a>(
        rows: &Rows<'a>,
        others: &Rows<'_>,
    ) -> HashMap<Inputs, Vec<(ArtifactId, Row<'a>)>> {
        let mut found: HashMap<Inputs, Vec<_>> = HashMap::new();
        for (id, row) in rows {
            if state(row.report.status) == State::There
                && !others.contains_key(id)
                && let Some(inputs) = inputs(row)
            {
                found.entry(inputs).or_default().push((id.clone(), *row));
            }
        }
        found
    }
    let went = only_in(before, now);
    only_in(now, before)
        .into_iter()
        .filter_map(
            |(inputs, came)| match (came.as_slice(), went.get(&inputs)?.as_slice()) {
                ([(id, _)], [(_, row)]) => Some((id.clone(), *row)),
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
        let names = BuildNames {
            build_id: &changed.build_id,
            target: &id.target,
            kernel_release: &id.kernel_release,
            driver_version: &id.driver_version,
            architecture: id.architecture,
        };
        let signature = signature(failure, names);
        let key = (changed.change, failure.class, signature.clone());
        let group = groups.entry(key).or_insert_with(|| Group {
            change: changed.change,
            class: failure.class,
            signature,
            artifacts: 0,
            builds: Vec::new(),
        });
        group.artifacts += 1;
        if group.builds.len() < SAMPLES {
            group.builds.push(changed.build_id.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| (group.change, Reverse(group.artifacts)));
    groups
}
