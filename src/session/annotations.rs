//! What a run's reports say beside its results: since when there are kernels, and which failures are known.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::event::{BuildReport, Finding};
use crate::history::KnownFailures;
use crate::resolve::Planned;
use crate::run::Annotate;

/// What the matrices and their locks say about builds.
#[derive(Debug)]
pub struct Annotations {
    /// The days on which kernels were first seen, by [`identity_text`](crate::kernel::identity_text).
    first_seen: HashMap<String, Date>,
    known: Arc<KnownFailures>,
}

impl Annotations {
    /// Collects them from a plan.
    pub fn new(planned: &Planned) -> Self {
        let first_seen = planned.plan.first_seen.iter();
        let first_seen = first_seen.map(|(kernel, day)| (kernel.0.identity_text(), *day));
        Self {
            first_seen: first_seen.collect(),
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
        let kernel = report.kernel_identity_text();
        report.first_seen = self.first_seen.get(&kernel).copied();
        self.known.apply(report);
    }
}
