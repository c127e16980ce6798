//! The request and the result of a job.

use crate::cache::{StepResult, TreeRole};
use crate::digest::Sha256;
use crate::engine::halt::{Failed, Halt, Own};
use crate::engine::work::Work;
use crate::executor::{Mount, Network, Resources, Toolchain};
use crate::failure::{Failure, Phase};

/// The job to run for a build, before executor-specific details are added.
pub(crate) struct JobRequest {
    pub(crate) phase: Phase,
    pub(crate) toolchain: Toolchain,
    pub(crate) script: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network: Network,
    /// Whether the job gets `/dev/kvm`, if that may be used.
    pub(crate) kvm: bool,
}

/// The result of a job that succeeded.
pub(crate) struct JobResult {
    /// The content of `/out`; removed when dropped.
    pub(crate) output: tempfile::TempDir,
    /// The compressed log in the store.
    pub(super) log: Sha256,
    pub(super) used: Resources,
    /// The trees that the job saw.
    pub(super) trees: Vec<Sha256>,
}

impl JobResult {
    /// Returns the work of a step whose result the job produced.
    pub(crate) fn work(&self, result: StepResult) -> Work {
        Work {
            result,
            log: Some(self.log),
            used: self.used,
        }
    }

    /// Returns the failure of a step because of the job's output.
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
    /// The directory of the output that contains the tree.
    pub(crate) folder: &'static str,
    /// The name of the tree in the message if it is missing.
    pub(crate) what: &'static str,
    pub(crate) role: TreeRole,
}
