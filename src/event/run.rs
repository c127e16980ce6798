//! The facts of a run that are known before its first build.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reproduce;
use crate::digest::Sha256;
use crate::kernel::Architecture;
use crate::plan::LeftOut;

/// The executor's name for a run that needs no executor.
pub const NO_EXECUTOR: &str = "none";

/// The facts of a run that are known at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFacts {
    /// The unique identifier of the run.
    pub run_id: String,
    /// When it began.
    pub started: Timestamp,
    /// The program's version.
    pub tool_version: String,
    /// The command line.
    pub command: Vec<String>,
    /// The command line that repeats a build of the run; absent in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<Reproduce>,
    /// The machine.
    pub host: HostFacts,
    /// The executor's name; [`NO_EXECUTOR`] if no job is started: everything is cached, or nothing can be built.
    pub executor: String,
    /// The executor's version.
    pub executor_version: String,
    /// The largest number of concurrent compilations.
    pub jobs: usize,
    /// `I/N` when only a shard of the plan is built.
    pub shard: Option<String>,
    /// True if filters limit the run to a part of the plan.
    #[serde(default)]
    pub is_partial: bool,
    /// The matrix files and the digests of their contents.
    pub matrices: Vec<(PathBuf, Sha256)>,
    /// The digest of the plan.
    pub plan_sha256: Sha256,
    /// The number of planned builds.
    pub builds: usize,
    /// The number of planned artifacts.
    pub artifacts: usize,
    /// The builds and artifacts that were left out of the plan.
    pub left_out: Vec<LeftOut>,
    /// The names and digests of the builder images that may be used.
    pub images: Vec<(String, Sha256)>,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostFacts {
    /// The architecture of the machine.
    pub architecture: Architecture,
    /// Operating system and kernel release.
    pub system: String,
    /// The number of processors that may be used.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
}
