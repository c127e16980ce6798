//! The result of a step's work, and access to the cached outcome.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::{Outcome, StepResult, TreeRole};
use crate::digest::Sha256;
use crate::engine::halt::{Failed, Halt};
use crate::executor::Resources;
use crate::failure::{Failure, FailureClass, Phase};

/// The result of a step's work: everything of an [`Outcome`] except the key's fields.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The result.
    pub(crate) result: StepResult,
    /// The digest of the compressed log.
    pub(crate) log: Option<Sha256>,
    /// The resources that the job used.
    pub(crate) used: Resources,
}

impl Work {
    /// Returns the result of work without a job.
    pub(crate) fn plain(result: StepResult) -> Self {
        Self {
            result,
            log: None,
            used: Resources::default(),
        }
    }

    /// Returns a tree that was put into the store without a job.
    pub(crate) fn of_tree(sha256: Sha256, role: TreeRole) -> Self {
        Self::plain(StepResult::Tree { sha256, role })
    }

    /// Returns facts that were found without a job.
    pub(crate) fn of_facts(facts: &impl Serialize, phase: Phase) -> Result<Self, Halt> {
        let value = serde_json::to_value(facts).map_err(|error| {
            Failure::new(FailureClass::Infrastructure, phase, error.to_string())
        })?;
        Ok(Self::plain(StepResult::Facts(value)))
    }
}

/// The outcome of a step, and whether it existed already.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// The result.
    pub(crate) outcome: Arc<Outcome>,
    /// The key of the step.
    pub(crate) key: Sha256,
    /// Whether the outcome comes from an earlier run.
    pub(crate) is_cached: bool,
    /// True if this caller ran the step itself: the outcome is neither cached nor another caller's.
    pub(crate) is_own: bool,
}

impl Done {
    /// Returns the result of the step, or its failure as an error.
    pub(crate) fn result(&self) -> Result<&StepResult, Halt> {
        match &self.outcome.result {
            StepResult::Failure(failure) => Err(Halt::Failed(Box::new(Failed {
                failure: failure.clone(),
                log: self.outcome.log,
                is_cached: self.is_cached,
                own: None,
            }))),
            result => Ok(result),
        }
    }

    /// Returns the tree that the step made.
    pub(crate) fn tree(&self, phase: Phase) -> Result<Sha256, Halt> {
        tree_of(self.result()?, phase)
    }

    /// Returns the facts that the step found.
    pub(crate) fn facts<T: DeserializeOwned>(&self, phase: Phase) -> Result<T, Halt> {
        match self.result()? {
            StepResult::Facts(value) => T::deserialize(value).map_err(|error| {
                let message = format!(
                    "the cached outcome of phase `{phase}` cannot be read: {error}; run `driverkit-matrix cache verify --remove`"
                );
                Failure::new(FailureClass::Infrastructure, phase, message).into()
            }),
            other => Err(unexpected(other, phase)),
        }
    }
}

fn tree_of(result: &StepResult, phase: Phase) -> Result<Sha256, Halt> {
    match result {
        StepResult::Tree { sha256, .. } => Ok(*sha256),
        other => Err(unexpected(other, phase)),
    }
}

/// Returns the failure for an outcome whose kind does not match its step.
pub(crate) fn unexpected(result: &StepResult, phase: Phase) -> Halt {
    let message = format!(
        "the cache has an outcome of another kind under this key: {result:?}; run `driverkit-matrix cache verify --remove`"
    );
    Failure::new(FailureClass::Infrastructure, phase, message).into()
}
