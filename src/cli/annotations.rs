//! What a run's reports say beside its results: since when there are kernels, and which failures are known.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;

use super::Planned;
use crate::event::{BuildReport, Finding};
use crate::history::KnownFailures;
use crate::run::Annotate;

/// What the matrices and their locks say about builds.
#[derive(Debug)]
pub(super) struct Annotations {
    /// By build: the day on which its kernel was first seen.
    first_seen: HashMap<String, Date>,
    known: Arc<KnownFailures>,
}

impl Annotations {
    pub(super) fn new(planned: &Planned) -> Self {
        Self {
            first_seen: planned.plan.first_seen.clone(),
            known: Arc::clone(&planned.known_failures),
        }
    }

    /// What is wrong with the rules, once every build was reported; of a run of the whole plan also which are unused.
    pub(super) fn findings(&self, is_whole: bool) -> Vec<Finding> {
        self.known.findings(is_whole)
    }
}

impl Annotate for Annotations {
    fn annotate(&self, report: &mut BuildReport) {
        let BuildReport {
            target,
            kernel_release: release,
            kernel_version: version,
            architecture,
            ..
        } = report;
        let kernel = format!("{target}_{release}_{version}_{architecture}");
        report.first_seen = self.first_seen.get(&kernel).copied();
        self.known.apply(report);
    }
}
