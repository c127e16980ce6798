//! Counts of artifacts, and the meaning of the exit code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BuildRecord;
use crate::driver::{Artifact, DriverVersion};
use crate::failure::{FailureClass, Status};
use crate::kernel::{Architecture, TargetId};
use crate::plan::LeftOut;
use crate::text::separated;

/// The number of sample entries of a group.
const SAMPLES: usize = 3;

/// The number of artifacts by status.
type ByStatus = BTreeMap<Status, usize>;

/// Counts of a run. Maps count artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Builds of the plan.
    pub builds_planned: usize,
    /// Builds that have ended.
    pub builds_finished: usize,
    /// Artifacts of the plan.
    pub artifacts_planned: usize,
    /// By status.
    pub by_status: ByStatus,
    /// By failure class.
    pub by_class: BTreeMap<FailureClass, usize>,
    /// By target.
    pub by_target: BTreeMap<TargetId, ByStatus>,
    /// By driver version.
    pub by_driver_version: BTreeMap<DriverVersion, ByStatus>,
    /// By architecture.
    pub by_architecture: BTreeMap<Architecture, ByStatus>,
    /// By kind of artifact.
    pub by_artifact: BTreeMap<Artifact, ByStatus>,
}

impl Totals {
    /// Creates the counts of a run that has just begun.
    pub(super) fn planned(builds: usize, artifacts: usize) -> Self {
        Self {
            builds_planned: builds,
            artifacts_planned: artifacts,
            ..Self::default()
        }
    }

    /// Counts a finished build.
    pub(super) fn add(&mut self, build: &BuildRecord) {
        self.builds_finished += 1;
        for artifact in &build.artifacts {
            let counters = [
                &mut self.by_status,
                self.by_target.entry(build.target.clone()).or_default(),
                self.by_driver_version
                    .entry(build.driver_version.clone())
                    .or_default(),
                self.by_architecture.entry(build.architecture).or_default(),
                self.by_artifact.entry(artifact.artifact).or_default(),
            ];
            for counter in counters {
                *counter.entry(artifact.status).or_default() += 1;
            }
            if let Some(failure) = &artifact.failure {
                *self.by_class.entry(failure.class).or_default() += 1;
            }
        }
    }

    /// Returns the number of wanted artifacts that were not built.
    pub fn artifacts_missing(&self) -> usize {
        let there = self
            .by_status
            .iter()
            .filter(|(status, _)| status.is_success());
        self.artifacts_planned
            .saturating_sub(there.map(|(_, number)| number).sum())
    }

    /// Returns how many artifacts the run has; `left_out` is what its plan leaves out.
    pub(super) fn available(&self, left_out: &[LeftOutGroup]) -> Available {
        let not_built = left_out.iter().filter(|one| one.rule == LeftOut::NOT_BUILT);
        Available {
            wanted: self.artifacts_planned,
            missing: self.artifacts_missing(),
            known: self.artifacts_known(),
            not_built: not_built.map(|group| group.count).sum(),
        }
    }

    /// Returns the number of artifacts that fail as expected.
    pub fn artifacts_known(&self) -> usize {
        self.by_status
            .get(&Status::Known)
            .copied()
            .unwrap_or_default()
    }
}

/// The exclusions from the plan with the same rule and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutGroup {
    /// The rule: `support floor`, `exclude`, `architecture`.
    pub rule: String,
    /// The reason, for a person.
    pub reason: String,
    /// The number of entries.
    pub count: usize,
    /// The first entries.
    pub sample: Vec<String>,
}

impl LeftOutGroup {
    /// Groups entries by rule and reason, the largest group first.
    pub fn of(left_out: &[LeftOut]) -> Vec<Self> {
        let mut groups: BTreeMap<(&str, &str), (usize, Vec<String>)> = BTreeMap::new();
        for entry in left_out {
            let (count, sample) = groups.entry((&entry.rule, &entry.reason)).or_default();
            *count += 1;
            if sample.len() < SAMPLES {
                sample.push(describe(entry));
            }
        }
        let mut groups: Vec<Self> = groups
            .into_iter()
            .map(|((rule, reason), (count, sample))| Self {
                rule: rule.to_owned(),
                reason: reason.to_owned(),
                count,
                sample,
            })
            .collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

/// Returns text such as `debian 6.1.0-56-amd64 #1 amd64, driver 8.1.0+driver, probe`.
fn describe(entry: &LeftOut) -> String {
    let driver = entry
        .driver
        .as_ref()
        .map(|driver| format!("driver {driver}"));
    let artifact = entry.artifact.map(|artifact| artifact.to_string());
    let parts = [Some(entry.subject()), driver, artifact];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many artifacts a run has, for the meaning of its exit code.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Available {
    /// The artifacts of the plan.
    pub(in crate::report) wanted: usize,
    /// Those that were not built.
    pub(in crate::report) missing: usize,
    /// Those that fail as expected.
    pub(in crate::report) known: usize,
    /// The artifacts that the plan leaves out because they are not built yet.
    pub(in crate::report) not_built: usize,
}

/// Returns the meaning of an exit code.
pub(in crate::report) fn exit_reason(
    code: u8,
    available: &Available,
    stopped: Option<&str>,
) -> String {
    let &Available {
        wanted,
        missing,
        known,
        not_built,
    } = available;
    let is_empty = wanted == 0;
    let is_all_known = known == missing;
    let has_known = known > 0;
    let is_whole = missing == 0;
    let [missing, known, wanted] = [missing, known, wanted].map(separated);
    let not_there = format!("{missing} of {wanted} wanted artifacts are missing");
    let gap = if is_whole {
        format!("all {wanted} wanted artifacts are available")
    } else if is_all_known {
        format!("{not_there}, all of them known failures")
    } else if has_known {
        format!("{not_there}, {known} of them known failures")
    } else {
        not_there
    };
    let gap = match not_built {
        0 => gap,
        _ if is_empty => "no artifact is built yet, so none was proven".to_owned(),
        1 => format!("{gap}; 1 more is not built yet"),
        more => format!("{gap}; {} more are not built yet", separated(more)),
    };
    let reason = match code {
        1 if is_whole && not_built == 0 => format!("{gap}, but a source lost too many kernels"),
        0 | 1 => gap,
        2 => "bad input: matrix, flags or configuration".to_owned(),
        3 => format!("infrastructure failed; {gap}"),
        130 => format!("interrupted; {gap}"),
        _ => format!("unexpected end; {gap}"),
    };
    match stopped {
        Some(stopped) => format!("{reason} (stopped early: {stopped})"),
        None => reason,
    }
}
