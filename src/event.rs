//! What happened, when, to which build: the only thing that reporters read.
//!
//! Events are owned and serialisable, so that a recorded run can be shown again.

mod checked;
mod common;
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
use crate::failure::{Failure, Phase, Status};
use crate::kernel::{Architecture, Identity, KernelRelease, KernelVersion, TargetId};
use crate::plan::{Build, BuildId};

pub use checked::{DoubleReport, DoubleResult, ProofReport, ProofResult, SignatureReport};
pub use common::Common;
pub use run::{HostFacts, NO_EXECUTOR, RunFacts};
pub use tools::{HostPrograms, ToolchainReport, TreeOrigin, TreeReport};

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When, by the run's clock.
    pub at: Timestamp,
    /// How long after the start of the run.
    pub elapsed: Duration,
    /// What.
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
        /// Which.
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
        /// The plain file with the log of its job while the job runs; none where no job runs yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live_log: Option<PathBuf>,
    },
    /// A transient failure; the phase will be tried again.
    Retrying {
        /// Which build.
        #[serde(rename = "build_id", alias = "build")]
        build: BuildId,
        /// What went wrong.
        failure: Box<Failure>,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// How long until the next one.
        wait: Duration,
    },
    /// A build has ended; its artifacts are durable.
    BuildFinished(Arc<BuildReport>),
    /// A signal or `--fail-fast`, `--deadline` ends the run early.
    Stopping {
        /// Why.
        reason: String,
    },
    /// Something is wrong with a rule of a matrix, seen from the results.
    Found(Finding),
    /// Last event of a run.
    RunFinished {
        /// Wall time.
        duration: Duration,
        /// The exit code of the program.
        exit_code: u8,
    },
}

/// Everything that is known of a finished build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildReport {
    /// Its name.
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
    /// Who named the kernel.
    pub source: Arc<str>,
    /// The day on which the kernel was first seen, where a lock says it.
    #[serde(default)]
    pub first_seen: Option<Date>,
    /// One for each wanted artifact.
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
    /// Failed attempts that were tried again.
    pub retries: Vec<Failure>,
    /// Wall time spent in each phase, waiting for others not included.
    pub phases: Vec<(Phase, Duration)>,
    /// Processor time of its jobs.
    pub cpu: Option<Duration>,
    /// Highest memory use of a job in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// When it left the queue and when it ended.
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
    /// Why it is not there.
    pub failure: Option<Failure>,
    /// Whether a failure is an earlier run's, under an unchanged key.
    pub failure_is_cached: bool,
    /// Its key, once everything that it depends on was known.
    pub key: Option<Sha256>,
    /// Where it is, relative to `out/`.
    pub path: Option<PathBuf>,
    /// Further names of the same file, relative to `out/`.
    pub aliases: Vec<PathBuf>,
    /// The build whose artifact has the name by which the loader would ask for this one.
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
    /// The run that compiled it, or that found the failure; for cached artifacts an earlier one.
    #[serde(default)]
    pub made_by: Option<Arc<str>>,
    /// When that was.
    #[serde(default)]
    pub made_at: Option<Timestamp>,
    /// How long its last step took then: the compile, or the signature.
    #[serde(default)]
    pub made_seconds: Option<f64>,
    /// Since when it cannot be built: the start of the first run that says so without one in between that built it.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// On how many nights (dates in UTC) since then a run found it failing.
    #[serde(default)]
    pub failing_nights: Option<u32>,
    /// The rule of a person that expects the failure, for the status `known`.
    #[serde(default)]
    pub known: Option<Arc<KnownBy>>,
    /// Whether its kernel loaded it, where the run was to prove it.
    #[serde(default)]
    pub proof: Option<ProofReport>,
    /// Whose signature the module has.
    #[serde(default)]
    pub signature: Option<SignatureReport>,
    /// Whether a second build gave the same, where there was to be one.
    #[serde(default)]
    pub double: Option<DoubleReport>,
}

/// The `[[known_failure]]` that expects a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBy {
    /// Where the rule is: `matrices/debian.toml:12`.
    pub place: String,
    /// Why the failure is expected.
    pub reason: String,
    /// The address of an issue.
    pub link: Option<String>,
    /// Who takes care of it.
    pub owner: Option<String>,
    /// The last day on which it is expected.
    pub expires: Option<Date>,
}

/// What is wrong with a rule of a matrix, seen from the results of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind.
    pub kind: FindingKind,
    /// Where the rule is: `matrices/debian.toml:12`.
    pub place: String,
    /// One line for a person.
    pub message: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Its day is over, and it is no longer applied.
    Expired,
    /// It applies to nothing.
    Unused,
    /// What it expects to fail was built.
    UnexpectedPass,
}

/// A header package of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputReport {
    /// Its address.
    pub url: Arc<str>,
    /// Its digest, once known.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, once known.
    pub size_bytes: Option<u64>,
}

impl BuildReport {
    /// What identifies its kernel.
    pub fn kernel_identity(&self) -> Identity<'_> {
        (
            &self.target,
            &self.kernel_release,
            &self.kernel_version,
            self.architecture,
        )
    }

    /// The report of a build that was not begun.
    pub fn not_run(build: &Build) -> Self {
        let now = Timestamp::now();
        let artifacts = build.artifacts.iter().copied().map(ArtifactReport::not_run);
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
            artifacts: artifacts.collect(),
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
    /// The report of an artifact that was not begun.
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
