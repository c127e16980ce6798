//! The settings and the result of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::second::SecondExecutor;
use crate::engine::step::RetryClasses;
use crate::engine::stop::StopReason;
use crate::event::{BuildReport, Reproduce};
use crate::failure::{FailureClass, Status};
use crate::matrix::Prove;
use crate::plan::BuildId;
use crate::run::brings::Brings;
use crate::run::order::History;
use crate::run::sample::Sample;
use crate::sign::Signer;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The maximum number of concurrent jobs.
    pub jobs: usize,
    /// Whether the first failure ends the run.
    pub fail_fast: bool,
    /// The time after which no new work starts.
    pub deadline: Option<Duration>,
    /// The classes of cached failures that are retried.
    pub retry: RetryClasses,
    /// The durations of builds in earlier runs.
    pub history: History,
    /// The command that repeats one build.
    pub reproduce: Reproduce,
    /// Which artifacts of the shared store are downloaded and placed.
    pub brings: Brings,
    /// Information about builds besides their results.
    pub annotations: Option<Arc<dyn Annotate>>,
    /// Whether artifacts that are not built yet are left out instead of being built.
    pub only_built: bool,
    /// Which kernels load their modules; overrides the matrices.
    pub prove: Option<Prove>,
    /// The signer of modules, if they are signed.
    pub signer: Option<Arc<Signer>>,
    /// The number of builds that are repeated, if any.
    pub double: Option<Sample>,
    /// The executor of second builds, if it is a different one.
    pub second: SecondExecutor,
}

/// Adds information that the run itself does not have to the report of a finished build: when its kernel was first
/// seen, and whether its failure is known.
pub trait Annotate: std::fmt::Debug + Send + Sync {
    /// Adds the information to `report`.
    fn annotate(&self, report: &mut BuildReport);
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunResult {
    /// The number of artifacts with each status.
    pub statuses: BTreeMap<Status, usize>,
    /// The number of artifacts that are missing because of failed downloads.
    pub missing_downloads: usize,
    /// Whether an artifact is missing because of an infrastructure failure.
    pub has_infrastructure_failure: bool,
    /// Whether servers were queried for packages or sources and none answered; or, offline, whether everything
    /// requested is missing because its packages or sources are unavailable.
    pub has_no_network: bool,
    /// Why the run ended early, if it did.
    pub stopped: Option<StopReason>,
    /// Whether something that was built is missing in the shared store.
    pub is_not_shared: bool,
    /// The number of artifacts that were left out because they are not built yet.
    pub not_built: usize,
    /// The builds whose packages do not contain the headers of their kernel.
    pub wrong_headers: BTreeSet<BuildId>,
}

impl RunResult {
    /// Returns the program's exit code: 0 all artifacts exist, 1 some do not, 3 infrastructure failure, 130
    /// interrupted.
    pub fn exit_code(&self) -> u8 {
        match self.stopped {
            Some(StopReason::Signal) => 130,
            Some(StopReason::Infrastructure) => 3,
            _ if self.has_infrastructure_failure || self.is_not_shared => 3,
            _ if self.not_built == 0 && self.statuses.keys().all(|one| one.is_expected()) => 0,
            _ if self.has_no_network => 3,
            _ => 1,
        }
    }

    /// Whether downloads failed for every artifact.
    pub(super) fn lacks_all(&self) -> bool {
        self.missing_downloads > 0
            && self.missing_downloads == self.statuses.values().sum::<usize>()
    }

    pub(super) fn add(&mut self, report: &BuildReport) {
        for artifact in &report.artifacts {
            *self.statuses.entry(artifact.status).or_default() += 1;
            if artifact.status == Status::Known {
                continue;
            }
            match artifact.failure.as_ref().map(|failure| failure.class) {
                Some(FailureClass::Infrastructure) => self.has_infrastructure_failure = true,
                Some(FailureClass::Download) => self.missing_downloads += 1,
                Some(FailureClass::WrongHeaders) => {
                    self.wrong_headers.insert(report.build_id.clone());
                }
                _ => {}
            }
        }
    }
}
