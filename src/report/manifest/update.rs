//! Replaces single builds of a manifest, for `rebuild --keep`.

use std::path::{Path, PathBuf};

use super::read::Paths;
use super::write::{take_lock, write_files};
use super::{BuildRecord, Manifest, ManifestError, Totals, manifest_file, read_manifest};
use crate::event::BuildReport;
use crate::fs::Lock;
use crate::report::ReportError;

/// The reason why single builds of a manifest cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be written, or another run is writing it.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The run that wrote the manifest did not finish.
    #[error("{} belongs to a run that did not finish", path.display())]
    Unfinished {
        /// The manifest.
        path: PathBuf,
    },
}

/// The manifest of a finished run, locked so that no run writes it.
pub struct ManifestUpdate {
    paths: Paths,
    manifest: Manifest,
    _lock: Lock,
}

impl ManifestUpdate {
    /// Reads the manifest in the output directory `out` and locks it against runs.
    pub fn open(out: &Path) -> Result<Self, UpdateError> {
        let paths = Paths::under(out);
        // Fails without creating anything if there was no run.
        if !manifest_file(out).exists() {
            read_manifest(out)?;
        }
        let lock = take_lock(out, &paths)?;
        let manifest = read_manifest(out)?;
        if manifest.run.finished.is_none() {
            let path = manifest_file(out);
            return Err(UpdateError::Unfinished { path });
        }
        Ok(Self {
            paths,
            manifest,
            _lock: lock,
        })
    }

    /// Replaces the record of a build by `report`, updates the totals, and writes the manifest as JSON and CSV. A
    /// build that the manifest does not have is added.
    pub fn replace(mut self, report: &BuildReport) -> Result<(), UpdateError> {
        let record = BuildRecord::from(report);
        let manifest = &mut self.manifest;
        let id = record.build_id.clone();
        let planned = (
            manifest.totals.builds_planned,
            manifest.totals.artifacts_planned,
        );
        match manifest.builds.iter_mut().find(|old| old.build_id == id) {
            Some(old) => *old = record,
            None => manifest.builds.push(record),
        }
        manifest.totals = Totals::planned(planned.0, planned.1);
        for build in &manifest.builds {
            manifest.totals.add(build);
        }
        let at = report.finished.strftime("%Y-%m-%dT%H:%M:%SZ");
        manifest.run.notes.push(format!("{id} was rebuilt at {at}"));
        write_files(manifest, &self.paths, self.paths.json.exists())?;
        Ok(())
    }
}
