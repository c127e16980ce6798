//! The rows of a manifest as JSON Lines, compressed: `builds.jsonl.zst` beside `run.json`.
//!
//! The first line is the schema by example: every column has a value of its type, so that readers that infer types
//! (`DuckDB`, pandas) find the same types in every file. Each further line is a build or an exclusion. Toolchains,
//! which many builds share, are in `run.json`; rows refer to them by position.

mod compressed;
mod frames;
mod index;
mod outcome;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::frames::RowsFile;
use super::{BuildRecord, Excluded, Manifest, ManifestError, SCHEMA, read_manifest};
use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::event::{ArtifactReport, Common, InputReport, ToolchainReport, TreeReport};
use crate::failure::{Failure, Phase, Status};
use crate::kernel::{Architecture, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;

pub use frames::RowsError;
pub use index::{IndexArtifact, IndexRow, digest_of_inputs};
pub use write::template;

pub(super) use write::{note_toolchains, sources, write};

/// Which columns of the rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Everything.
    All,
    /// The results of the builds, and when they ended. Inputs and paths of artifacts are left empty.
    Outcomes,
}

/// The name of the file with the facts of the run.
pub(super) const RUN_FILE: &str = "run.json";

/// The name of the file with the rows.
pub(super) const ROWS_FILE: &str = "builds.jsonl.zst";

/// The number of rows in a frame.
const TOGETHER: usize = 1024;

/// A row of a build, for reading.
#[derive(Deserialize)]
struct BuildRow {
    build_id: BuildId,
    target: TargetId,
    kernel_release: KernelRelease,
    kernel_version: KernelVersion,
    architecture: Architecture,
    driver_version: DriverVersion,
    status: Status,
    source: Arc<str>,
    first_seen: Option<Date>,
    artifacts: Common<Vec<ArtifactReport>>,
    module_name: String,
    device_name: String,
    inputs: Common<Vec<InputReport>>,
    driver_sha256: Option<Sha256>,
    toolchain: Option<usize>,
    tree: Option<TreeReport>,
    checks: Vec<Check<String>>,
    attempts: usize,
    retries: Vec<Failure>,
    started: Timestamp,
    finished: Timestamp,
    duration_seconds: f64,
    queued_seconds: Option<f64>,
    phase_seconds: BTreeMap<Phase, f64>,
    cpu_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

/// A row of an exclusion, for reading.
#[derive(Deserialize)]
struct ExcludedRow {
    excluded_artifact: Option<Artifact>,
    #[serde(flatten)]
    excluded: Excluded,
}

#[derive(Serialize, Deserialize)]
struct Check<T> {
    name: T,
    passed: bool,
}

/// The field that distinguishes the kinds of rows.
#[derive(Deserialize)]
struct Kind {
    status: Status,
}

/// Reads the index of the rows beside the `run.json` at `path`, on all cores: passes the lines of each frame to
/// `read`, each an [`IndexRow`], and returns the results in order. Returns `None` if an older version wrote the file.
/// The file must belong to run `run_id` and have a supported schema.
pub fn read_index<T: Send>(
    path: &Path,
    run_id: &str,
    read: impl Fn(&[u8]) -> serde_json::Result<T> + Sync,
) -> Result<Option<Vec<T>>, RowsError> {
    RowsFile::open(&path.with_file_name(ROWS_FILE), run_id)?.read_index(read)
}

/// Reads the rows of a file into its manifest.
pub(super) fn add_rows(
    manifest: &mut Manifest,
    path: &Path,
    columns: Columns,
) -> Result<(), RowsError> {
    let toolchains = &manifest.toolchains;
    let file = RowsFile::open(path, &manifest.run.id)?;
    let rows = file.read(|lines, first| match columns {
        Columns::All => read_lines(path, lines, first, |line, _| read_row(line, toolchains)),
        Columns::Outcomes => read_lines(path, lines, first, |line, last| {
            read_outcome(line, last, toolchains)
        }),
    })?;
    for row in rows.into_iter().flatten() {
        push(manifest, row);
    }
    Ok(())
}

fn read_lines(
    path: &Path,
    lines: &[u8],
    first: usize,
    read: impl Fn(&[u8], Option<&Row>) -> serde_json::Result<Row>,
) -> Result<Vec<Row>, RowsError> {
    let mut rows = Vec::with_capacity(TOGETHER);
    let lines = lines.split(|&byte| byte == b'\n').enumerate();
    for (position, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let row = read(line, rows.last()).map_err(|cause| RowsError::Row {
            path: path.to_owned(),
            line: first + position,
            cause,
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// Reads only the result of the build from a row.
fn read_outcome(
    line: &[u8],
    last: Option<&Row>,
    toolchains: &[Common<ToolchainReport>],
) -> serde_json::Result<Row> {
    let last = match last {
        Some(Row::Build(last)) => Some(&**last),
        _ => None,
    };
    match outcome::read(line, last) {
        Ok(build) => Ok(Row::Build(Box::new(build))),
        // The row is not a build, or invalid.
        Err(_) => read_row(line, toolchains),
    }
}

fn push(manifest: &mut Manifest, row: Row) {
    match row {
        Row::Build(build) => manifest.builds.push(*build),
        Row::Excluded(excluded) => manifest.excluded.push(excluded),
    }
}

/// Reads the facts of a run, and the rows whose lines in the index contain one of `texts`. The index also has statuses
/// and errors, so callers must check the rows. `path` is a `run.json`, or a `manifest.json`, which is read as a whole.
pub fn find_rows(path: &Path, texts: &[&str]) -> Result<Manifest, ManifestError> {
    let bytes = crate::fs::read(path)?;
    let is_of_rows = path.file_name().is_some_and(|name| name == RUN_FILE);
    let manifest: Option<Manifest> = serde_json::from_slice(&bytes)
        .ok()
        .filter(|manifest: &Manifest| manifest.schema == SCHEMA && manifest.run.finished.is_some());
    let (true, Some(mut manifest)) = (is_of_rows, manifest) else {
        // An incomplete manifest is completed from the journal.
        return read_manifest(path);
    };
    let rows = path.with_file_name(ROWS_FILE);
    let toolchains = &manifest.toolchains;
    let found = RowsFile::open(&rows, &manifest.run.id)?.find(texts, |line, number| {
        read_row(line, toolchains).map_err(|cause| RowsError::Row {
            path: rows.clone(),
            line: number,
            cause,
        })
    })?;
    for row in found {
        push(&mut manifest, row);
    }
    Ok(manifest)
}

enum Row {
    Build(Box<BuildRecord>),
    Excluded(Excluded),
}

fn read_row(line: &[u8], toolchains: &[Common<ToolchainReport>]) -> serde_json::Result<Row> {
    fn of<T: DeserializeOwned>(line: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(line)
    }
    // Nearly all rows are builds; a row of an exclusion has no build ID.
    let row: BuildRow = match of(line) {
        Ok(row) => row,
        Err(_) if of::<Kind>(line)?.status == Status::Excluded => {
            let ExcludedRow {
                excluded_artifact,
                excluded,
            } = of(line)?;
            return Ok(Row::Excluded(Excluded {
                artifact: excluded_artifact,
                ..excluded
            }));
        }
        Err(error) => return Err(error),
    };
    let toolchain = row.toolchain.map(|position| {
        toolchains.get(position).cloned().ok_or_else(|| {
            serde::de::Error::custom(format!("run.json has no toolchain {position}"))
        })
    });
    Ok(Row::Build(Box::new(BuildRecord {
        build_id: row.build_id,
        target: row.target,
        kernel_release: row.kernel_release,
        kernel_version: row.kernel_version,
        architecture: row.architecture,
        driver_version: row.driver_version,
        status: row.status,
        artifacts: row.artifacts,
        module_name: row.module_name,
        device_name: row.device_name,
        source: row.source,
        first_seen: row.first_seen,
        inputs: row.inputs,
        driver_sha256: row.driver_sha256,
        toolchain: toolchain.transpose()?,
        tree: row.tree,
        checks: row
            .checks
            .into_iter()
            .map(|check| (check.name, check.passed))
            .collect(),
        attempts: row.attempts,
        retries: row.retries,
        started: row.started,
        finished: row.finished,
        duration_seconds: row.duration_seconds,
        queued_seconds: row.queued_seconds,
        phase_seconds: row.phase_seconds,
        cpu_seconds: row.cpu_seconds,
        peak_memory_bytes: row.peak_memory_bytes,
    })))
}
