//! What is asked of a job, and what it gives.

use crate::cache::{StepResult, TreeRole};
use crate::digest::Sha256;
use crate::engine::halt::{Failed, Halt, Own};
use crate::engine::work::Work;
use crate::executor::{Mount, Network, Resources, Toolchain};
use crate::failure::{Failure, Phase};

/// What to run for a build, before the executor's own words.
pub(crate) struct JobRequest {
    pub(crate) phase: Phase,
    pub(crate) toolchain: Toolchain,
    pub(crate) script: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network: Network,
    /// Whether it gets `/dev/kvm` where that may be used.
    pub(crate) kvm: bool,
}

/// The result of a job that succeeded.
pub(crate) struct JobResult {
    /// The content of `/out`; removed when dropped.
    pub(crate) output: tempfile::TempDir,
    /// The compressed log in the store.
    pub(super) log: Sha256,
    pub(super) used: Resources,
    /// The trees that it saw.
    pub(super) trees: Vec<Sha256>,
}

impl JobResult {
    /// The work of a step whose result the job produced.
    pub(crate) fn work(&self, result: StepResult) -> Work {
        Work {
            result,
            log: Some(self.log),
            used: self.used,
        }
    }

    /// The failure of a step because of the job's output.
    pub(crate) fn failed(&self, failure: Failure) -> Halt {
        Halt::Failed(Box::new(Failed {
            failure,
            log: Some(self.log),
            is_cached: false,
            own: Some(Own {
                trees: self.trees.clone(),
                used: self.used,
            }),
        }))
    }
}

/// A tree that a job leaves in its output.
pub(crate) struct LeftTree {
    /// The directory of the output that it is in.
    pub(crate) folder: &'static str,
    /// What it is called where it is missing.
    pub(crate) what: &'static str,
    pub(crate) role: TreeRole,
}
