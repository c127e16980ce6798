//! The events of a run, which are the only input of reporters.
//!
//! Events are owned and serialisable, so that a recorded run can be shown again.

mod checked;
mod common;
mod reproduce;
mod run;
mod tools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::failure::{Failure, FailureClass, Phase, Status};
use crate::kernel::{Architecture, Identity, KernelRelease, KernelVersion, TargetId};
use crate::plan::{Build, BuildId};

pub use checked::{DoubleReport, DoubleResult, ProofReport, ProofResult, SignatureReport};
pub use common::Common;
pub use reproduce::Reproduce;
pub use run::{HostFacts, NO_EXECUTOR, RunFacts};
pub use tools::{HostPrograms, ToolchainReport, TreeOrigin, TreeReport};

/// An event of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The time of the event, by the run's clock.
    pub at: Timestamp,
    /// The time since the start of the run.
    pub elapsed: Duration,
    /// The kind of event, with its details.
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// First event of a run.
    RunStarted(Box<RunFacts>),
    /// A notice for the user: a fallback, leftovers removed.
    Note {
        /// The text, one line.
        message: String,
    },
    /// A build has left the queue; it is fetching, waiting or compiling from now on.
    BuildStarted {
        /// The build.
        #[serde(rename = "build_id", alias = "build")]
        build: BuildId,
    },
    /// A build has entered a phase.
    PhaseStarted {
        /// Which build.
        #[serde(rename = "build_id", alias = "build")]
        build: BuildId,
        /// The phase.
        phase: Phase,
        /// The uncompressed log of the job while it runs; `None` if no job runs yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live_log: Option<PathBuf>,
    },
    /// A transient failure; the phase will be retried.
    Retrying {
        /// Which build.
        #[serde(rename = "build_id", alias = "build")]
        build: BuildId,
        /// The failure of the attempt.
        failure: Box<Failure>,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// The delay before the next attempt.
        wait: Duration,
    },
    /// A build has ended; its artifacts are durable.
    BuildFinished(Arc<BuildReport>),
    /// A signal or `--fail-fast`, `--deadline` ends the run early.
    Stopping {
        /// The reason for stopping.
        reason: String,
    },
    /// The results contradict a rule of a matrix.
    Found(Finding),
    /// The same for the part of the plan that the run is about; the rest of the plan may refute it.
    FoundInPart(Finding),
    /// Last event of a run.
    RunFinished {
        /// Wall time.
        duration: Duration,
        /// The exit code of the program.
        exit_code: u8,
    },
}

/// The report of a finished build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildReport {
    /// The name of the build.
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
    /// The module's name.
    pub module_name: String,
    /// The device prefix.
    pub device_name: String,
    /// The source of kernels that listed the kernel.
    pub source: Arc<str>,
    /// The day on which the kernel was first seen, if a lock records it.
    #[serde(default)]
    pub first_seen: Option<Date>,
    /// The report of each planned artifact.
    pub artifacts: Common<Vec<ArtifactReport>>,
    /// The header packages.
    pub inputs: Common<Vec<InputReport>>,
    /// The digest of the driver's sources.
    pub driver_sha256: Option<Sha256>,
    /// Compiler and image.
    pub toolchain: Option<Common<ToolchainReport>>,
    /// The tree that it was compiled against.
    #[serde(default)]
    pub tree: Option<TreeReport>,
    /// The configure checks and whether each succeeded.
    #[serde(with = "common::pairs")]
    pub checks: Common<BTreeMap<String, bool>>,
    /// The failures of attempts that were retried.
    pub retries: Vec<Failure>,
    /// Wall time spent in each phase, without waiting for other builds.
    pub phases: Vec<(Phase, Duration)>,
    /// Processor time of its jobs.
    pub cpu: Option<Duration>,
    /// Highest memory use of a job in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// When it left the queue.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// The result for one artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArtifactReport {
    /// Module or probe.
    pub artifact: Artifact,
    /// The status word.
    pub status: Status,
    /// The failure, if the artifact could not be built.
    pub failure: Option<Failure>,
    /// True if the failure was cached by an earlier run under the same key.
    pub failure_is_cached: bool,
    /// The key of its step; `None` if the build ended before all inputs were known.
    pub key: Option<Sha256>,
    /// The path of the artifact, relative to `out/`.
    pub path: Option<PathBuf>,
    /// Further names of the same file, relative to `out/`.
    pub aliases: Vec<PathBuf>,
    /// The build whose artifact has the file name that the loader would request for this one.
    #[serde(default)]
    pub name_taken_by: Option<BuildId>,
    /// Its digest.
    pub sha256: Option<Sha256>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// The module's vermagic.
    pub vermagic: Option<String>,
    /// The module's srcversion.
    pub srcversion: Option<String>,
    /// The compressed log, relative to `out/`.
    pub log: Option<PathBuf>,
    /// The run that compiled it or found the failure: an earlier run if the result was cached.
    #[serde(default)]
    pub made_by: Option<Arc<str>>,
    /// When that run produced the result.
    #[serde(default)]
    pub made_at: Option<Timestamp>,
    /// Duration in seconds of its last step in that run: the compilation or the signature.
    #[serde(default)]
    pub made_seconds: Option<f64>,
    /// When it began to fail: the start of the first run in which it failed without succeeding since.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// The number of nights (dates in UTC) since then on which a run found it failing.
    #[serde(default)]
    pub failing_nights: Option<u32>,
    /// The rule that expects the failure, for the status `known`.
    #[serde(default)]
    pub known: Option<Arc<KnownBy>>,
    /// The result of loading it into its kernel, if the run proves artifacts.
    #[serde(default)]
    pub proof: Option<ProofReport>,
    /// The signature of the module, if it is signed. Boxed, because tens of thousands of reports are in memory, few of
    /// which have one.
    #[serde(default)]
    pub signature: Option<Box<SignatureReport>>,
    /// The result of a second build, if one was requested.
    #[serde(default)]
    pub double: Option<DoubleReport>,
}

/// The `[[known_failure]]` that expects a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBy {
    /// The location of the rule: `matrices/debian.toml:12`.
    pub place: String,
    /// Why the failure is expected.
    pub reason: String,
    /// The URL of an issue.
    pub link: Option<String>,
    /// The person or team responsible.
    pub owner: Option<String>,
    /// The last day on which it is expected.
    pub expires: Option<Date>,
}

/// A rule of a matrix that is out of date according to the results of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind.
    pub kind: FindingKind,
    /// Where the rule is: `matrices/debian.toml:12`.
    pub place: String,
    /// A description on one line.
    pub message: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The rule has expired and no longer applies.
    Expired,
    /// The rule matches nothing.
    Unused,
    /// The rule expects failures of artifacts that were built.
    UnexpectedPass,
}

/// A header package of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputReport {
    /// The URL of the package.
    pub url: Arc<str>,
    /// The digest of the package, if known.
    pub sha256: Option<Sha256>,
    /// The size of the package in bytes, if known.
    pub size_bytes: Option<u64>,
}

impl BuildReport {
    /// Returns the identity of its kernel.
    pub fn kernel_identity(&self) -> Identity<'_> {
        (
            &self.target,
            &self.kernel_release,
            &self.kernel_version,
            self.architecture,
        )
    }

    /// Returns the report of a build that was not started.
    pub fn not_run(build: &Build) -> Self {
        let artifacts = build.artifacts.iter().copied().map(ArtifactReport::not_run);
        Self::with_artifacts(build, artifacts.collect())
    }

    /// Returns the report of a build of which only the artifacts are known.
    pub fn with_artifacts(build: &Build, artifacts: Common<Vec<ArtifactReport>>) -> Self {
        let now = Timestamp::now();
        Self {
            build_id: build.id(),
            target: build.kernel.target.clone(),
            kernel_release: build.kernel.release.clone(),
            kernel_version: build.kernel.version.clone(),
            architecture: build.kernel.architecture,
            driver_version: build.driver.version.clone(),
            module_name: build.driver.module_name.clone(),
            device_name: build.driver.device_name.clone(),
            source: build.kernel.source.clone(),
            first_seen: None,
            artifacts,
            inputs: Common::default(),
            driver_sha256: None,
            toolchain: None,
            tree: None,
            checks: Common::default(),
            retries: Vec::new(),
            phases: Vec::new(),
            cpu: None,
            peak_memory_bytes: None,
            started: now,
            finished: now,
        }
    }
}

impl ArtifactReport {
    /// Returns the failure of an artifact that cannot be built. An interruption says nothing about the artifact.
    pub fn failing(&self) -> Option<&Failure> {
        let failure = self.failure.as_ref();
        failure.filter(|failure| failure.class != FailureClass::Cancelled)
    }

    /// Returns the report of an artifact that was not started.
    pub fn not_run(artifact: Artifact) -> Self {
        Self {
            artifact,
            status: Status::NotRun,
            failure: None,
            failure_is_cached: false,
            key: None,
            path: None,
            aliases: Vec::new(),
            name_taken_by: None,
            sha256: None,
            size_bytes: None,
            vermagic: None,
            srcversion: None,
            log: None,
            made_by: None,
            made_at: None,
            made_seconds: None,
            failing_since: None,
            failing_nights: None,
            known: None,
            proof: None,
            signature: None,
            double: None,
        }
    }
}
