//! What a run's reports say beside its results: since when there are kernels, and which failures are known.

use std::sync::Arc;

use crate::event::{BuildReport, Finding};
use crate::history::KnownFailures;
use crate::plan::FirstSeen;
use crate::resolve::Planned;
use crate::run::Annotate;

/// What the matrices and their locks say about builds.
#[derive(Debug)]
pub struct Annotations {
    first_seen: FirstSeen,
    known: Arc<KnownFailures>,
}

impl Annotations {
    /// Collects them from a plan.
    pub fn new(planned: &Planned) -> Self {
        Self {
            first_seen: planned.plan.first_seen.clone(),
            known: Arc::clone(&planned.known_failures),
        }
    }

    /// What is wrong with the rules, once every build was reported; of a run of the whole plan also which are unused.
    pub fn findings(&self, is_whole: bool) -> Vec<Finding> {
        self.known.findings(is_whole)
    }
}

impl Annotate for Annotations {
    fn annotate(&self, report: &mut BuildReport) {
        report.first_seen = self.first_seen.of(report.kernel_identity());
        self.known.apply(report);
    }
}
