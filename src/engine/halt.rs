//! Whether a step may run, and why it has no outcome.

use crate::digest::Sha256;
use crate::executor::Resources;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::target::TargetError;

/// Whether steps that are not in the cache are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Missing steps are executed.
    Run,
    /// Only the cache is read: nothing is fetched, started or cached. Artifacts in the store are placed in the output
    /// directory.
    Lookup,
}

impl Mode {
    /// Runs file operations: on a blocking thread, or directly during a cache look-up.
    pub(crate) async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match self {
            Self::Run => blocking(work).await,
            Self::Lookup => work(),
        }
    }
}

/// The reason why a step has no outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    /// Only a cache look-up was allowed, and the outcome is not cached.
    Missing,
    /// The step failed.
    Failed(Box<Failed>),
    /// The run stops; the step did not start.
    NotRun,
    /// Another machine did the step in the meantime; its outcome is known now.
    Elsewhere,
}

/// A failed step.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// The failure of the step.
    pub failure: Failure,
    /// The digest of the compressed log of the job that failed.
    pub log: Option<Sha256>,
    /// Whether the step failed in an earlier run.
    pub is_cached: bool,
    /// The cause, if the step itself failed, which makes the failure the step's outcome. `None` if the inputs of the
    /// step could not be prepared, or if a retry may succeed.
    pub(crate) own: Option<Own>,
}

/// The cause of a step's own failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Own {
    /// The trees that the step saw.
    pub(crate) trees: Vec<Sha256>,
    /// The resources that the job used.
    pub(crate) used: Resources,
}

impl Halt {
    /// Marks the failure as one of the step itself, which saw these trees; a transient failure is never marked.
    pub(crate) fn of_step(mut self, trees: impl IntoIterator<Item = Sha256>) -> Self {
        if let Self::Failed(failed) = &mut self
            && failed.failure.class.is_deterministic()
        {
            failed.own = Some(Own {
                trees: trees.into_iter().collect(),
                used: Resources::default(),
            });
        }
        self
    }

    /// Returns the same failure for another step, whose inputs could not be prepared because of it.
    pub(crate) fn of_inputs(mut self) -> Self {
        if let Self::Failed(failed) = &mut self {
            failed.own = None;
        }
        self
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(Failed {
            failure,
            log: None,
            is_cached: false,
            own: None,
        }))
    }
}

impl From<TargetError> for Halt {
    /// Converts an error of the rules of a kernel's target into the failure of a build.
    fn from(error: TargetError) -> Self {
        let class = match error {
            TargetError::Release(_) | TargetError::Unknown(_) => FailureClass::HeadersNotFound,
            TargetError::Packages(_) => FailureClass::WrongHeaders,
        };
        Failure::new(class, Phase::Fetch, error.to_string()).into()
    }
}
