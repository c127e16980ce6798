//! What a run's reports contain besides its results: when kernels were first seen, and which failures are known.

use std::sync::Arc;

use crate::event::{BuildReport, Finding};
use crate::history::KnownFailures;
use crate::plan::FirstSeen;
use crate::resolve::Planned;
use crate::run::Annotate;

/// Information about builds from the matrices and their locks.
#[derive(Debug)]
pub struct Annotations {
    first_seen: FirstSeen,
    known: Arc<KnownFailures>,
}

impl Annotations {
    /// Collects the annotations from a plan.
    pub fn new(planned: &Planned) -> Self {
        Self {
            first_seen: planned.plan.first_seen.clone(),
            known: Arc::clone(&planned.known_failures),
        }
    }

    /// Returns problems with the `[[known_failure]]` rules, after every build was reported, as if these were all builds
    /// of the plan.
    pub fn findings(&self) -> Vec<Finding> {
        self.known.findings()
    }
}

impl Annotate for Annotations {
    fn annotate(&self, report: &mut BuildReport) {
        report.first_seen = self.first_seen.of(report.kernel_identity());
        self.known.apply(report);
    }
}
