//! The types of the manifest, and how events are added to it.

mod of_report;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, Unit};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::totals::exit_reason;
use super::{Excluded, JSON_SCHEMA, LeftOutGroup, SCHEMA, Totals};
use crate::digest::Sha256;
use crate::driver::DriverVersion;
use crate::event::{
    ArtifactReport, Common, Event, EventKind, Finding, HostFacts, InputReport, Reproduce, RunFacts,
    ToolchainReport, TreeReport,
};
use crate::failure::{Failure, Phase, Status};
use crate::kernel::{Architecture, Identity, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;

/// The number of rows of `manifest.json` that are encoded together, and by one thread.
const TOGETHER: usize = 1024;
const PART: usize = 128;

/// The machine-readable result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub schema: u32,
    /// The program's version.
    pub tool_version: String,
    /// The facts of this run.
    pub run: Run,
    /// How the run ended; absent while it is in progress, or if it was killed.
    pub exit: Option<Exit>,
    /// The machine.
    pub host: HostFacts,
    /// The executor's name and version.
    pub executor: Executor,
    /// The builder images that may be used.
    pub images: Vec<Named>,
    /// The matrix files.
    pub matrices: Vec<Named>,
    /// The digest of the plan.
    pub plan_sha256: Sha256,
    /// The numbers of builds and artifacts.
    pub totals: Totals,
    /// What was left out of the plan, by rule and reason.
    pub left_out: Vec<LeftOutGroup>,
    /// The number of kernels that each source named, by target and source: `debian (mirror)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, usize>,
    /// The toolchains, which rows refer to by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub toolchains: Vec<Common<ToolchainReport>>,
    /// Outdated rules of the matrices.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Rules that are outdated according to the part of the plan that the run was about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings_of_part: Vec<Finding>,
    /// The builds that have ended, sorted by target, release in version order, version, architecture, driver version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildRecord>,
    /// The exclusions from the plan, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
}

/// The facts of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// A unique name.
    pub id: String,
    /// The command line.
    pub command: Vec<String>,
    /// The command line that repeats a build; absent in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<Reproduce>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent while it is in progress, or if it was killed.
    pub finished: Option<Timestamp>,
    /// Wall time.
    pub duration_seconds: Option<f64>,
    /// The maximum number of concurrent jobs.
    pub jobs: usize,
    /// `I/N` if only a shard of the plan was built.
    pub shard: Option<String>,
    /// True if filters selected only a part of the plan; the manifest says nothing about the rest.
    #[serde(default)]
    pub is_partial: bool,
    /// Why the run ended early.
    pub stopped: Option<String>,
    /// The notes that were printed on the terminal.
    pub notes: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code of the program.
    pub code: u8,
    /// The meaning of the code.
    pub reason: String,
}

/// The executor that ran the jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    /// The name: `docker`.
    pub name: String,
    /// The version.
    pub version: String,
}

/// Something with a name and a digest: an image, a matrix file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The image's name or the file's path.
    pub name: String,
    /// The digest of the content.
    pub sha256: Sha256,
}

/// The record of a build that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The ID of the build.
    pub build_id: BuildId,
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
    /// The most severe status of its artifacts.
    pub status: Status,
    /// Its artifacts: module, probe.
    pub artifacts: Common<Vec<ArtifactReport>>,
    /// The module's name.
    pub module_name: String,
    /// The device prefix.
    pub device_name: String,
    /// The source of the kernel.
    pub source: Arc<str>,
    /// The day on which the kernel was first seen, if a lock has it.
    #[serde(default)]
    pub first_seen: Option<Date>,
    /// The header packages.
    pub inputs: Common<Vec<InputReport>>,
    /// The digest of the driver's sources.
    pub driver_sha256: Option<Sha256>,
    /// Compiler and image.
    pub toolchain: Option<Common<ToolchainReport>>,
    /// The kernel tree that it was compiled against.
    #[serde(default)]
    pub tree: Option<TreeReport>,
    /// The driver's configure checks and whether each succeeded.
    pub checks: Common<BTreeMap<String, bool>>,
    /// The number of attempts: one more than the length of `retries`; 0 if the build was not started.
    pub attempts: usize,
    /// Failures that were retried.
    pub retries: Vec<Failure>,
    /// When it left the queue.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Wall time from `started` to `finished`, including waiting.
    pub duration_seconds: f64,
    /// Time since the start of the run in which no phase of the build ran, in seconds: waiting for its turn, a slot,
    /// or other builds.
    #[serde(default)]
    pub queued_seconds: Option<f64>,
    /// Wall time of each phase.
    pub phase_seconds: BTreeMap<Phase, f64>,
    /// CPU time of the jobs.
    pub cpu_seconds: Option<f64>,
    /// The highest memory use of a job.
    pub peak_memory_bytes: Option<u64>,
}

impl Manifest {
    /// Creates the manifest of a run that has just begun.
    pub fn new(facts: &RunFacts) -> Self {
        let named = |name: String, sha256: &Sha256| Named {
            name,
            sha256: *sha256,
        };
        let matrices = facts.matrices.iter();
        let images = facts.images.iter();
        Self {
            schema: SCHEMA,
            tool_version: facts.tool_version.clone(),
            run: Run {
                id: facts.run_id.clone(),
                command: facts.command.clone(),
                reproduce: facts.reproduce.clone(),
                started: milliseconds(facts.started),
                finished: None,
                duration_seconds: None,
                jobs: facts.jobs,
                shard: facts.shard.clone(),
                is_partial: facts.is_partial || facts.shard.is_some(),
                stopped: None,
                notes: Vec::new(),
            },
            exit: None,
            host: facts.host.clone(),
            executor: Executor {
                name: facts.executor.clone(),
                version: facts.executor_version.clone(),
            },
            images: images
                .map(|(name, sha256)| named(name.clone(), sha256))
                .collect(),
            matrices: matrices
                .map(|(path, sha256)| named(path.to_string_lossy().into_owned(), sha256))
                .collect(),
            plan_sha256: facts.plan_sha256,
            totals: Totals::planned(facts.builds, facts.artifacts),
            left_out: LeftOutGroup::of(&facts.left_out),
            sources: BTreeMap::new(),
            toolchains: Vec::new(),
            findings: Vec::new(),
            findings_of_part: Vec::new(),
            builds: Vec::new(),
            excluded: facts.left_out.iter().map(Excluded::of).collect(),
        }
    }

    /// Adds an event to the manifest of its run; the first event creates it.
    pub(super) fn fold(manifest: &mut Option<Self>, event: &Event) {
        if let EventKind::RunStarted(facts) = &event.kind {
            *manifest = Some(Self::new(facts));
        }
        let Some(manifest) = manifest else { return };
        match &event.kind {
            EventKind::Note { message } => manifest.run.notes.push(message.clone()),
            EventKind::Stopping { reason } => manifest.run.stopped = Some(reason.clone()),
            EventKind::BuildFinished(report) => {
                let mut record = BuildRecord::from(&**report);
                record.queued_seconds = queued_seconds(&record, manifest.run.started);
                manifest.totals.add(&record);
                manifest.builds.push(record);
            }
            EventKind::Found(finding) => manifest.findings.push(finding.clone()),
            EventKind::FoundInPart(finding) => manifest.findings_of_part.push(finding.clone()),
            EventKind::RunFinished {
                duration,
                exit_code,
            } => {
                manifest.run.finished = Some(milliseconds(event.at));
                manifest.run.duration_seconds = Some(seconds(*duration));
                let available = manifest.totals.available(&manifest.left_out);
                let stopped = manifest.run.stopped.as_deref();
                let reason = exit_reason(*exit_code, &available, stopped);
                manifest.exit = Some(Exit {
                    code: *exit_code,
                    reason,
                });
            }
            _ => {}
        }
    }

    /// Sorts the builds in their stable order.
    pub fn sort(&mut self) {
        self.builds
            .sort_by(|left, right| left.order().cmp(&right.order()));
    }

    /// Writes the manifest as JSON with one build per line, so that it can be searched and compared by lines.
    pub fn write_json(&mut self, writer: impl Write) -> io::Result<()> {
        let head = self.head_of_json()?;
        self.write_json_after(&head, writer)
    }

    /// Returns the part that [`Self::write_json`] writes before the rows.
    pub(super) fn head_of_json(&mut self) -> serde_json::Result<String> {
        let schema = std::mem::replace(&mut self.schema, JSON_SCHEMA);
        let head = self.head_json();
        self.schema = schema;
        head
    }

    /// Like [`Self::write_json`], with the given part before the rows.
    pub(super) fn write_json_after(&self, head: &str, mut writer: impl Write) -> io::Result<()> {
        let head = head.strip_suffix("\n}").unwrap_or(head);
        write!(writer, "{head},\n  \"builds\": [")?;
        write_lines(&mut writer, &self.builds)?;
        if !self.excluded.is_empty() {
            writer.write_all(b"\n  ],\n  \"excluded\": [")?;
        }
        write_lines(&mut writer, &self.excluded)?;
        writer.write_all(b"\n  ]\n}\n")
    }

    /// Returns the manifest as JSON without its rows.
    pub(super) fn head_json(&mut self) -> serde_json::Result<String> {
        let builds = std::mem::take(&mut self.builds);
        let excluded = std::mem::take(&mut self.excluded);
        let head = serde_json::to_string_pretty(self);
        self.builds = builds;
        self.excluded = excluded;
        head
    }
}

/// Writes the elements of an array, one per line. They are encoded on all cores in batches, to limit memory use.
fn write_lines<T: Serialize + Sync>(writer: &mut impl Write, all: &[T]) -> io::Result<()> {
    let encode = |part: &[T]| -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        for one in part {
            text.extend_from_slice(b",\n    ");
            serde_json::to_writer(&mut text, one)?;
        }
        Ok(text)
    };
    let mut separator_bytes = 1;
    for batch in all.chunks(TOGETHER) {
        let parts: serde_json::Result<Vec<Vec<u8>>> = batch.par_chunks(PART).map(encode).collect();
        for part in parts? {
            // There is no comma before the first element.
            writer.write_all(&part[separator_bytes..])?;
            separator_bytes = 0;
        }
    }
    Ok(())
}

impl BuildRecord {
    /// Returns the identity of the kernel.
    pub fn kernel_identity(&self) -> Identity<'_> {
        (
            &self.target,
            &self.kernel_release,
            &self.kernel_version,
            self.architecture,
        )
    }

    /// Returns the sort key of builds.
    fn order(&self) -> impl Ord + '_ {
        (self.kernel_identity(), &self.driver_version)
    }
}

/// Returns how long a build waited in total since the start of its run, in seconds; `None` if it was cached or not
/// started.
fn queued_seconds(build: &BuildRecord, run_started: Timestamp) -> Option<f64> {
    let is_work = build.attempts > 0 && build.status != Status::Cached;
    let since_start = build.finished.duration_since(run_started);
    let since_start = seconds(Duration::try_from(since_start).unwrap_or_default());
    let work: f64 = build.phase_seconds.values().sum();
    is_work.then(|| ((since_start - work).max(0.0) * 1000.0).round() / 1000.0)
}

/// Returns a duration in seconds, rounded down to the millisecond.
pub(in crate::report) fn seconds(duration: Duration) -> f64 {
    // A `u32` holds 49 days, enough for a run.
    f64::from(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)) / 1000.0
}

fn milliseconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_down_to_milliseconds() {
        assert_eq!(
            seconds(Duration::from_nanos(14_200_499_999)).to_string(),
            "14.2"
        );
        assert_eq!(seconds(Duration::from_micros(8_300_900)).to_string(), "8.3");
    }
}
