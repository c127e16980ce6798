//! Records since when artifacts have been failing.
//!
//! The manifest of a filtered run covers only a part of the matrix, so this is stored in a separate file, which every
//! run with the same output directory updates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::BuildRecord;
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::fs;
use crate::report::{ReportError, STATE_FOLDER};

/// The version of the file's format; other versions are ignored.
const SCHEMA: u32 = 1;

/// The artifacts that failed when they were last tried, by build and kind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Failing {
    schema: u32,
    artifacts: BTreeMap<String, Since>,
    #[serde(skip)]
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Since {
    #[serde(rename = "since")]
    first: Timestamp,
    nights: u32,
    last_night: Date,
}

impl Failing {
    /// Reads the file that earlier runs left under `out`; a missing or damaged file counts as empty.
    pub(super) fn read(out: &Path) -> Self {
        let read: Option<Self> = fs::read(&path(out))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.filter(|read| read.schema == SCHEMA)
            .unwrap_or_else(|| Self {
                schema: SCHEMA,
                ..Self::default()
            })
    }

    /// Records the result of a build in a run that began at `run_started`, and sets in the build since when it has
    /// been failing. Runs on the same date count as one night.
    pub(super) fn note(&mut self, build: &mut BuildRecord, run_started: Timestamp) {
        // Nearly all builds, whose artifacts stay shared with their reports because nothing changes them.
        if self.artifacts.is_empty() && !build.artifacts.iter().any(is_failing) {
            return;
        }
        let night = run_started.to_zoned(TimeZone::UTC).date();
        for artifact in &mut build.artifacts {
            let is_failing = is_failing(artifact);
            if !is_failing && !artifact.status.is_success() {
                continue;
            }
            let name = format!("{} {}", build.build_id, artifact.artifact);
            if !is_failing {
                self.is_changed |= self.artifacts.remove(&name).is_some();
                continue;
            }
            // A cached failure has the time when it happened, even if this output directory is new.
            let first = artifact
                .made_at
                .map_or(run_started, |at| at.min(run_started));
            let before = self.artifacts.get(&name).copied();
            let mut now = before.unwrap_or(Since {
                first,
                nights: 1,
                last_night: night,
            });
            if night > now.last_night {
                now.nights = now.nights.saturating_add(1);
                now.last_night = night;
            }
            artifact.failing_since = Some(now.first);
            artifact.failing_nights = Some(now.nights);
            if before != Some(now) {
                self.artifacts.insert(name, now);
                self.is_changed = true;
            }
        }
    }

    /// Writes the file, if anything changed.
    pub(super) fn write(&mut self, out: &Path) -> Result<(), ReportError> {
        if !self.is_changed {
            return Ok(());
        }
        let bytes = serde_json::to_vec(self).map_err(|cause| ReportError::Encode {
            what: "failing artifacts",
            cause,
        })?;
        fs::write(&path(out), bytes)?;
        self.is_changed = false;
        Ok(())
    }
}

fn is_failing(artifact: &ArtifactReport) -> bool {
    matches!(
        artifact.status,
        Status::Failed | Status::Error | Status::Unresolvable | Status::Known
    )
}

fn path(out: &Path) -> PathBuf {
    out.join(STATE_FOLDER).join("failing.json")
}
