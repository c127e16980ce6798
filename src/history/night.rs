//! The part of a manifest that comparisons need: one small row for each artifact.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::diff::ArtifactId;
use crate::digest::Sha256;
use crate::driver::DriverVersion;
use crate::failure::{Failure, Status};
use crate::kernel::KernelId;
use crate::plan::{BuildId, LeftOut};
use crate::report::{
    BuildRecord, Columns, Extent, IndexRow, Manifest, ManifestError, digest_of_inputs,
    manifest_file, newest_complete, read_index, read_manifest, read_night, shards_in,
};

/// A night: its run, and the result of each artifact.
#[derive(Clone, Debug, Default)]
pub struct Night {
    /// The run.
    pub run_id: String,
    /// True if the run was interrupted or partial, so that it says nothing about other artifacts.
    pub is_partial: bool,
    /// The artifacts, by identity.
    pub artifacts: Vec<NightArtifact>,
}

/// An artifact of a night.
#[derive(Clone, Debug)]
pub struct NightArtifact {
    /// The build that has it.
    pub build_id: BuildId,
    /// The identity of the artifact.
    pub id: ArtifactId,
    /// The result.
    pub status: Status,
    /// The failure, if the artifact failed.
    pub failure: Option<Arc<Failure>>,
    /// Since when it has been failing.
    pub failing_since: Option<Timestamp>,
    /// A digest of all packages of its kernel; `None` if the digest of one is unknown, or the kernel has no packages.
    pub inputs: Option<Sha256>,
}

/// The fields of a manifest that show whether a night is partial.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    run: HeadRun,
}

#[derive(Deserialize)]
struct HeadRun {
    id: String,
    #[serde(flatten)]
    extent: Extent,
}

/// The fields of a manifest that show whether its night is a baseline.
#[derive(Deserialize)]
struct BaselineHead {
    run: HeadRun,
    #[serde(default)]
    left_out: Vec<HeadGroup>,
}

#[derive(Deserialize)]
struct HeadGroup {
    rule: String,
}

impl BaselineHead {
    fn leaves_out_published(&self) -> bool {
        let mut rules = self.left_out.iter();
        rules.any(|group| group.rule == LeftOut::PUBLISHED)
    }
}

/// The version of the format with rows in a separate file.
const WITH_ROWS: u32 = 2;

impl Night {
    /// Reads the manifest at `path`: a directory, its `run.json`, a `manifest.json`, or a directory of shards.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        if !shards_in(path).is_empty() {
            return read_night(path, Columns::All).map(|manifest| Self::of(&manifest));
        }
        let file = manifest_file(path);
        let bytes = crate::fs::read(&file)?;
        // Newer, unfinished and invalid manifests are left to the reader of whole manifests.
        if let Ok(head) = serde_json::from_slice::<Head>(&bytes)
            && head.schema == WITH_ROWS
            && head.run.extent.has_ended()
            && let Some(parts) = read_index(&file, &head.run.id, Reader::read)?
        {
            let run = head.run;
            return Ok(Self::sorted(
                run.id,
                !run.extent.is_complete(),
                parts.into_iter().flatten().collect(),
            ));
        }
        read_manifest(&file).map(|manifest| Self::of(&manifest))
    }

    /// Reads the night that others are compared with. If `path` is an output directory whose last run is incomplete,
    /// this is the newest complete night that it has. Returns it with a notice for the user about the last run.
    pub fn read_baseline(path: &Path) -> Result<(Self, Option<String>), ManifestError> {
        let file = manifest_file(path);
        let bytes = crate::fs::read(&file).unwrap_or_default();
        let last = serde_json::from_slice::<BaselineHead>(&bytes).ok();
        // Files that are no manifests are left to the reader of manifests. A run that leaves out published builds
        // covers its whole plan otherwise, and the shards of earlier nights are unknown.
        let last = last.filter(|last| path.is_dir() && !last.leaves_out_published());
        let Some((last, shortfall)) = last.and_then(|last| {
            let shortfall = last.run.extent.shortfall()?;
            (!last.run.extent.is_of_shard()).then_some((last, shortfall))
        }) else {
            return Ok((Self::read(path)?, None));
        };
        let about = format!("the last run, {}, {shortfall}", last.run.id);
        if let Some(earlier) = newest_complete(path)? {
            let night = Self::read(&earlier)?;
            let notice = format!("{about}: using the newest complete one, {}", night.run_id);
            return Ok((night, Some(notice)));
        }
        let notice = format!(
            "{about}, and no earlier run in it is complete: what it did not reach is unknown"
        );
        Ok((Self::read(path)?, Some(notice)))
    }

    /// Converts a manifest to a night.
    pub fn of(manifest: &Manifest) -> Self {
        let run = &manifest.run;
        let is_partial = !run.extent().is_complete();
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
    let inputs = digest_of_inputs(&build.inputs);
    let kernel = KernelId::from(build.kernel_identity());
    build.artifacts.iter().map(move |report| NightArtifact {
        build_id: build.build_id.clone(),
        id: ArtifactId {
            kernel: kernel.clone(),
            driver_version: build.driver_version.clone(),
            artifact: report.artifact,
        },
        status: report.status,
        failure: report.failure.clone().map(Arc::new),
        failing_since: report.failing_since,
        inputs,
    })
}

/// Reads rows of the index; the names of a kernel, whose rows are adjacent, are shared.
#[derive(Default)]
struct Reader {
    artifacts: Vec<NightArtifact>,
    drivers: Vec<DriverVersion>,
}

impl Reader {
    fn read(lines: &[u8]) -> serde_json::Result<Vec<NightArtifact>> {
        let mut reader = Self::default();
        let lines = lines.split(|&byte| byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            reader.add(serde_json::from_slice(line)?)?;
        }
        Ok(reader.artifacts)
    }

    fn add(&mut self, row: IndexRow<'_>) -> serde_json::Result<()> {
        let (Some(build_id), Some(driver)) = (row.build_id, row.driver_version) else {
            return Ok(());
        };
        if row.artifacts.is_empty() {
            return Ok(());
        }
        let kernel = self.kernel(&row)?;
        let driver_version = self.driver(driver)?;
        let build_id: BuildId = serde_json::from_value(build_id.into())?;
        for artifact in row.artifacts {
            self.artifacts.push(NightArtifact {
                build_id: build_id.clone(),
                id: ArtifactId {
                    kernel: kernel.clone(),
                    driver_version: driver_version.clone(),
                    artifact: artifact.artifact,
                },
                status: artifact.status,
                failure: artifact.failure.map(Arc::new),
                failing_since: artifact.failing_since,
                inputs: row.inputs,
            });
        }
        Ok(())
    }

    fn kernel(&self, row: &IndexRow<'_>) -> serde_json::Result<KernelId> {
        fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
            text: &str,
        ) -> serde_json::Result<T> {
            text.parse().map_err(serde::de::Error::custom)
        }
        let last = self.artifacts.last().map(|last| &last.id.kernel);
        if let Some(last) = last
            && last.release.as_str() == row.kernel_release
            && last.target.as_str() == row.target
            && last.version.as_str() == row.kernel_version
        {
            return Ok(KernelId {
                architecture: row.architecture,
                ..last.clone()
            });
        }
        Ok(KernelId {
            target: parse(row.target)?,
            release: parse(row.kernel_release)?,
            version: parse(row.kernel_version)?,
            architecture: row.architecture,
        })
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
