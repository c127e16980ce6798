//! What is known of a run before its first build.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::kernel::Architecture;
use crate::plan::LeftOut;

/// Stands for the executor of a run that needs none.
pub const NO_EXECUTOR: &str = "none";

/// What is known of a run from its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFacts {
    /// A name that no other run has.
    pub run_id: String,
    /// When it began.
    pub started: Timestamp,
    /// The program's version.
    pub tool_version: String,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: HostFacts,
    /// The executor's word; [`NO_EXECUTOR`] when everything is in the cache.
    pub executor: String,
    /// Its version.
    pub executor_version: String,
    /// How many compiles at once.
    pub jobs: usize,
    /// `I/N` when only a shard of the plan is built.
    pub shard: Option<String>,
    /// Whether filters leave only a part of the plan, so that the run says nothing about the rest.
    #[serde(default)]
    pub is_partial: bool,
    /// The matrix files and the digests of their contents.
    pub matrices: Vec<(PathBuf, Sha256)>,
    /// The digest of the plan.
    pub plan_sha256: Sha256,
    /// How many builds and artifacts are wanted.
    pub builds: usize,
    /// How many artifacts are wanted.
    pub artifacts: usize,
    /// What was left out of the plan.
    pub left_out: Vec<LeftOut>,
    /// The builder images that may be used, by name and identity.
    pub images: Vec<(String, Sha256)>,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its architecture.
    pub architecture: Architecture,
    /// Operating system and kernel release.
    pub system: String,
    /// Processors that may be used.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
}
