//! Stores the report of a run of one build.

use std::sync::{Arc, OnceLock};

use crate::event::{BuildReport, Event, EventKind};
use crate::report::{ReportError, Reporter};

/// A reporter that stores the report of a run of one build.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<OnceLock<Arc<BuildReport>>>);

impl Recorder {
    /// Returns the report, or `None` if the build has not ended or was not started.
    pub fn report(&self) -> Option<&Arc<BuildReport>> {
        self.0.get()
    }
}

impl Reporter for Recorder {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        if let EventKind::BuildFinished(report) = &event.kind {
            // The plan has only one build.
            drop(self.0.set(report.clone()));
        }
        Ok(())
    }
}
