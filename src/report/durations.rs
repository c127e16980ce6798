//! The durations of builds when they were last executed, used to start the longest builds first.
//!
//! The manifest of a run in which everything was cached has no durations, and the manifest of a filtered run has only
//! some. So they are stored in a separate file, which every run updates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ReportError, STATE_FOLDER};
use crate::event::BuildReport;
use crate::failure::{FailureClass, Phase, Status};
use crate::fs;
use crate::plan::{Build, BuildId};

/// The version of the file's format; other versions are ignored.
const SCHEMA: u32 = 1;

/// Durations of builds, from earlier runs with the same output directory.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    schema: u32,
    seconds: BTreeMap<BuildId, f64>,
}

impl Durations {
    /// Reads the durations that earlier runs left under `out`. They only affect the order of builds, so a missing or
    /// damaged file counts as empty.
    pub fn read(out: &Path) -> Self {
        let empty = Self {
            schema: SCHEMA,
            seconds: BTreeMap::new(),
        };
        let Ok(bytes) = fs::read(&path(out)) else {
            return empty;
        };
        match serde_json::from_slice(&bytes) {
            Ok(Self {
                schema: SCHEMA,
                seconds,
            }) => Self {
                schema: SCHEMA,
                seconds,
            },
            _ => empty,
        }
    }

    /// Returns how long the jobs of a build ran when it was last executed, including configure checks.
    pub fn get(&self, build: &BuildId) -> Option<Duration> {
        self.known(build).map(|(_, took)| took)
    }

    /// Returns the same as [`Self::get`] for each of many builds, with the build's ID as stored here, to share its
    /// memory.
    pub fn of_builds(&self, builds: &[Build]) -> Vec<Option<(BuildId, Duration)>> {
        let builds = builds.par_iter();
        builds.map(|build| self.known(&build.id())).collect()
    }

    fn known(&self, build: &BuildId) -> Option<(BuildId, Duration)> {
        let (build, seconds) = self.seconds.get_key_value(build)?;
        let took = Duration::try_from_secs_f64(*seconds).ok()?;
        Some((build.clone(), took))
    }

    /// Returns true if a finished build was compiled, or failed to compile.
    pub(super) fn is_work(report: &BuildReport) -> bool {
        report.artifacts.iter().any(|artifact| {
            let is_failed = artifact.failure.as_ref().is_some_and(|failure| {
                matches!(failure.class, FailureClass::Compile | FailureClass::Timeout)
            });
            artifact.status == Status::Built || (is_failed && !artifact.failure_is_cached)
        })
    }

    /// Adds a finished build; returns true if its duration is new.
    pub(super) fn add(&mut self, report: &BuildReport) -> bool {
        if !Self::is_work(report) {
            return false;
        }
        let is_job = |phase| {
            matches!(
                phase,
                Phase::Prepare | Phase::Configure | Phase::Check | Phase::Module | Phase::Probe
            )
        };
        let jobs = report.phases.iter().filter(|(phase, _)| is_job(*phase));
        let total: Duration = jobs.map(|(_, duration)| *duration).sum();
        let seconds = super::manifest::seconds(total);
        self.seconds.insert(report.build_id.clone(), seconds) != Some(seconds)
    }

    pub(super) fn write(&self, out: &Path) -> Result<(), ReportError> {
        let bytes = serde_json::to_vec(self).map_err(|source| ReportError::Encode {
            what: "durations",
            cause: source,
        })?;
        Ok(fs::write(&path(out), bytes)?)
    }
}

fn path(out: &Path) -> PathBuf {
    out.join(STATE_FOLDER).join("durations.json")
}
