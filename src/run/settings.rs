//! How a run is done, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::reproduce::Reproduce;
use crate::engine::second::SecondExecutor;
use crate::engine::step::RetryClasses;
use crate::engine::stop::StopReason;
use crate::event::BuildReport;
use crate::failure::{FailureClass, Status};
use crate::matrix::Prove;
use crate::plan::BuildId;
use crate::run::brings::Brings;
use crate::run::order::History;
use crate::run::sample::Sample;
use crate::sign::Signer;

/// How a run is done.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// How many jobs run at once.
    pub jobs: usize,
    /// Whether the first failure ends the run.
    pub fail_fast: bool,
    /// After this long nothing new begins.
    pub deadline: Option<Duration>,
    /// Kept failures that are done again.
    pub retry: RetryClasses,
    /// How long builds took in earlier runs.
    pub history: History,
    /// The command that does one build again.
    pub reproduce: Reproduce,
    /// Which artifacts that machines share are brought here and placed.
    pub brings: Brings,
    /// What is known of builds beside their results.
    pub annotations: Option<Arc<dyn Annotate>>,
    /// Which kernels load their modules, whatever the matrices say.
    pub prove: Option<Prove>,
    /// What signs modules, if they are signed.
    pub signer: Option<Arc<Signer>>,
    /// How many builds are done a second time, if any.
    pub double: Option<Sample>,
    /// What does them, if that is another executor.
    pub second: SecondExecutor,
}

/// Adds to the report of a finished build what the run itself does not know: since when there is its kernel, whether
/// its failure is a known one.
pub trait Annotate: std::fmt::Debug + Send + Sync {
    /// Adds it.
    fn annotate(&self, report: &mut BuildReport);
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunResult {
    /// How many artifacts have each status.
    pub statuses: BTreeMap<Status, usize>,
    /// How many artifacts are missing because of downloads.
    pub missing_downloads: usize,
    /// Whether an artifact is missing because of the infrastructure.
    pub has_infrastructure_failure: bool,
    /// Whether servers were asked for packages or sources, and none of them answered; or, offline, whether everything
    /// that was wanted is missing for want of them.
    pub has_no_network: bool,
    /// Why the run ended early, if it did.
    pub stopped: Option<StopReason>,
    /// Whether the store that machines share lacks something that was made.
    pub is_not_shared: bool,
    /// The builds whose packages turned out to be no headers of their kernel.
    pub wrong_headers: BTreeSet<BuildId>,
}

impl RunResult {
    /// The program's exit code: 0 all artifacts are there, 1 some are not, 3 infrastructure, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self.stopped {
            Some(StopReason::Signal) => 130,
            Some(StopReason::Infrastructure) => 3,
            _ if self.has_infrastructure_failure || self.is_not_shared => 3,
            _ if self.statuses.keys().all(|status| status.is_expected()) => 0,
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
