//! What a comparison needs of a manifest: one small row for each artifact.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::diff::ArtifactId;
use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::failure::{Failure, Status};
use crate::kernel::{Architecture, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;
use crate::report::{
    BuildRecord, Manifest, ManifestError, RowsError, manifest_file, read_manifest, read_night,
    read_rows, shards_in,
};

/// A night: its run, and what became of each artifact.
#[derive(Clone, Debug, Default)]
pub struct Night {
    /// The run.
    pub run_id: String,
    /// Whether it says nothing about artifacts that it does not name: it was interrupted, or about a part of its plan.
    pub is_partial: bool,
    /// The artifacts, by identity.
    pub artifacts: Vec<NightArtifact>,
}

/// An artifact of a night.
#[derive(Clone, Debug)]
pub struct NightArtifact {
    /// The build that has it.
    pub build_id: BuildId,
    /// Which it is.
    pub id: ArtifactId,
    /// What became of it.
    pub status: Status,
    /// Why it is not there.
    pub failure: Option<Arc<Failure>>,
    /// Since when it has been failing.
    pub failing_since: Option<Timestamp>,
    /// A digest over all packages of its kernel; none if one of them is unknown, or there are none.
    pub inputs: Option<Sha256>,
}

/// What tells whether a night is partial, from the head of a manifest.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    run: HeadRun,
}

#[derive(Deserialize)]
struct HeadRun {
    id: String,
    finished: Option<Timestamp>,
    stopped: Option<String>,
    #[serde(default)]
    is_partial: bool,
}

/// The version of the form in which rows are in a file of their own.
const WITH_ROWS: u32 = 2;

/// A row, of which only this is read. Names hold no characters that JSON escapes.
#[derive(Deserialize)]
struct Row<'a> {
    build_id: Option<&'a str>,
    target: &'a str,
    kernel_release: &'a str,
    kernel_version: &'a str,
    architecture: Architecture,
    driver_version: Option<&'a str>,
    #[serde(default)]
    artifacts: Vec<RowArtifact>,
    #[serde(default)]
    inputs: Vec<RowInput>,
}

#[derive(Deserialize)]
struct RowArtifact {
    artifact: Artifact,
    status: Status,
    failure: Option<Failure>,
    failing_since: Option<Timestamp>,
}

#[derive(Deserialize)]
struct RowInput {
    sha256: Option<Sha256>,
}

impl Night {
    /// Reads the manifest at `path`: a directory, its `run.json`, a `manifest.json`, or a directory of those of shards.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        if !shards_in(path).is_empty() {
            return read_night(path).map(|manifest| Self::of(&manifest));
        }
        let file = manifest_file(path);
        let bytes = crate::fs::read(&file)?;
        match serde_json::from_slice::<Head>(&bytes) {
            // A newer one, one without its end and one that is no manifest are for the reader of whole manifests.
            Ok(head) if head.schema == WITH_ROWS && head.run.finished.is_some() => {
                Self::read_rows(head.run, &file.with_file_name("builds.jsonl.zst"))
            }
            _ => read_manifest(&file).map(|manifest| Self::of(&manifest)),
        }
    }

    fn read_rows(run: HeadRun, path: &Path) -> Result<Self, ManifestError> {
        let parts = read_rows(path, &run.id, |lines, first| {
            let mut reader = Reader::default();
            let lines = lines.split(|&byte| byte == b'\n').enumerate();
            for (position, line) in lines.filter(|(_, line)| !line.is_empty()) {
                reader.add(line).map_err(|cause| RowsError::Row {
                    path: path.to_owned(),
                    line: first + position,
                    cause,
                })?;
            }
            Ok(reader.artifacts)
        })?;
        Ok(Self::sorted(
            run.id,
            run.is_partial || run.stopped.is_some(),
            parts.into_iter().flatten().collect(),
        ))
    }

    /// The night of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let run = &manifest.run;
        let is_partial = run.finished.is_none()
            || run.stopped.is_some()
            || run.shard.is_some()
            || run.is_partial;
        let artifacts = manifest.builds.iter().flat_map(artifacts_of).collect();
        Self::sorted(run.id.clone(), is_partial, artifacts)
    }

    fn sorted(run_id: String, is_partial: bool, mut artifacts: Vec<NightArtifact>) -> Self {
        if !artifacts.is_sorted_by(|left, right| left.id < right.id) {
            artifacts.sort_by(|left, right| left.id.cmp(&right.id));
            artifacts.dedup_by(|right, left| left.id == right.id);
        }
        Self {
            run_id,
            is_partial,
            artifacts,
        }
    }
}

fn artifacts_of(build: &BuildRecord) -> impl Iterator<Item = NightArtifact> + '_ {
    let inputs = inputs_of(build.inputs.iter().map(|input| input.sha256));
    build.artifacts.iter().map(move |report| NightArtifact {
        build_id: build.build_id.clone(),
        id: ArtifactId {
            target: build.target.clone(),
            kernel_release: build.kernel_release.clone(),
            kernel_version: build.kernel_version.clone(),
            architecture: build.architecture,
            driver_version: build.driver_version.clone(),
            artifact: report.artifact,
        },
        status: report.status,
        failure: report.failure.clone().map(Arc::new),
        failing_since: report.failing_since,
        inputs,
    })
}

fn inputs_of(digests: impl Iterator<Item = Option<Sha256>>) -> Option<Sha256> {
    let digests: Option<Vec<Sha256>> = digests.collect();
    let mut digests = digests.filter(|digests| !digests.is_empty())?;
    digests.sort_unstable();
    let bytes: Vec<u8> = digests.iter().flat_map(|one| *one.as_bytes()).collect();
    Some(Sha256::of(bytes))
}

/// Reads rows; the names of one kernel, whose rows follow one another, are shared.
#[derive(Default)]
struct Reader {
    artifacts: Vec<NightArtifact>,
    drivers: Vec<DriverVersion>,
}

impl Reader {
    fn add(&mut self, line: &[u8]) -> serde_json::Result<()> {
        let row: Row<'_> = serde_json::from_slice(line)?;
        let (Some(build_id), Some(driver)) = (row.build_id, row.driver_version) else {
            return Ok(());
        };
        if row.artifacts.is_empty() {
            return Ok(());
        }
        let (target, release, version) = self.kernel(&row)?;
        let driver_version = self.driver(driver)?;
        let build_id: BuildId = serde_json::from_value(build_id.into())?;
        let inputs = inputs_of(row.inputs.iter().map(|input| input.sha256));
        for artifact in row.artifacts {
            self.artifacts.push(NightArtifact {
                build_id: build_id.clone(),
                id: ArtifactId {
                    target: target.clone(),
                    kernel_release: release.clone(),
                    kernel_version: version.clone(),
                    architecture: row.architecture,
                    driver_version: driver_version.clone(),
                    artifact: artifact.artifact,
                },
                status: artifact.status,
                failure: artifact.failure.map(Arc::new),
                failing_since: artifact.failing_since,
                inputs,
            });
        }
        Ok(())
    }

    fn kernel(
        &self,
        row: &Row<'_>,
    ) -> serde_json::Result<(TargetId, KernelRelease, KernelVersion)> {
        fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
            text: &str,
        ) -> serde_json::Result<T> {
            text.parse().map_err(serde::de::Error::custom)
        }
        let last = self.artifacts.last().map(|last| &last.id);
        if let Some(last) = last
            && last.kernel_release.as_str() == row.kernel_release
            && last.target.as_str() == row.target
            && last.kernel_version.as_str() == row.kernel_version
        {
            let ArtifactId {
                target,
                kernel_release,
                kernel_version,
                ..
            } = last;
            return Ok((
                target.clone(),
                kernel_release.clone(),
                kernel_version.clone(),
            ));
        }
        Ok((
            parse(row.target)?,
            parse(row.kernel_release)?,
            parse(row.kernel_version)?,
        ))
    }

    fn driver(&mut self, text: &str) -> serde_json::Result<DriverVersion> {
        if let Some(known) = self.drivers.iter().find(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let driver: DriverVersion = text.parse().map_err(serde::de::Error::custom)?;
        self.drivers.push(driver.clone());
        Ok(driver)
    }
}
