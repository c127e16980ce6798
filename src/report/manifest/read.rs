//! Reads manifests.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::rows::{Columns, ROWS_FILE, RUN_FILE, add_rows};
use super::{JSON_SCHEMA, Manifest, RowsError, SCHEMA};
use crate::fs::{self, FileError, Lock};
use crate::report::STATE_FOLDER;
use crate::report::journal::{JournalError, read_journal};

/// The reason why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file was written by a newer version of the program.
    #[error("{} has manifest schema {found}, this version reads up to {SCHEMA}: use a newer driverkit-matrix", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: u32,
    },
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The manifests are those of shards, and cannot be merged.
    #[error("{}: {cause}", path.display())]
    Merge {
        /// The directory of the shards.
        path: PathBuf,
        /// The cause.
        cause: MergeError,
    },
    /// The file is not a manifest.
    #[error("{} is not a manifest: {}", path.display(), in_words(cause))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The cause, with line and column.
        cause: serde_json::Error,
    },
}

/// The reason why manifests cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The directory has no manifests.
    #[error("no manifest to merge")]
    Nothing,
    /// The manifests contradict each other about the same builds.
    #[error("the manifests contradict each other: {}", conflicts.join("; "))]
    Conflicts {
        /// The builds, each with the contradicting results.
        conflicts: Vec<String>,
    },
    /// The manifests were made from different matrices.
    #[error("{matrix} differs between run {left} and run {right}: they are of different plans")]
    OtherGrid {
        /// The matrix.
        matrix: String,
        /// A run.
        left: String,
        /// The other run.
        right: String,
    },
}

/// Describes where JSON is cut off; otherwise returns the parser's message.
fn in_words(cause: &serde_json::Error) -> String {
    match (cause.is_eof(), cause.line(), cause.column()) {
        (true, 0 | 1, 0) => "it is empty".to_owned(),
        (true, line, column) => {
            format!("it ends in the middle of a value, at line {line} column {column}")
        }
        _ => cause.to_string(),
    }
}

/// The field that is read before all others.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// The paths under the output directory.
pub(in crate::report) struct Paths {
    pub(in crate::report) run: PathBuf,
    pub(in crate::report) rows: PathBuf,
    pub(in crate::report) json: PathBuf,
    pub(in crate::report) csv: PathBuf,
    pub(in crate::report) journal: PathBuf,
    pub(in crate::report) previous_journal: PathBuf,
    pub(in crate::report) earlier: PathBuf,
    pub(in crate::report) lock: PathBuf,
}

impl Paths {
    pub(in crate::report) fn under(out: &Path) -> Self {
        let state = out.join(STATE_FOLDER);
        Self {
            run: out.join(RUN_FILE),
            rows: out.join(ROWS_FILE),
            json: out.join("manifest.json"),
            csv: out.join("manifest.csv"),
            journal: state.join("journal.jsonl"),
            previous_journal: state.join("previous-journal.jsonl"),
            earlier: state.join("manifests"),
            lock: state.join("run.lock"),
        }
    }
}

/// Returns the main file of a manifest: in a directory `run.json`, or `manifest.json` of older versions.
pub fn manifest_file(path: &Path) -> PathBuf {
    let is_file = path.is_file()
        || path
            .extension()
            .is_some_and(|extension| extension == "json");
    if is_file && !path.is_dir() {
        return path.to_owned();
    }
    let run = path.join(RUN_FILE);
    if run.exists() {
        run
    } else {
        path.join("manifest.json")
    }
}

/// Reads a manifest: its directory, its `run.json`, or its `manifest.json`. If the run is in progress or was killed,
/// the manifest is completed from the journal beside it, so that it has every build that has ended.
pub fn read_manifest(path: &Path) -> Result<Manifest, ManifestError> {
    read_columns(path, Columns::All)
}

/// Like [`read_manifest`], but reads only these columns of separate rows.
pub(super) fn read_columns(path: &Path, columns: Columns) -> Result<Manifest, ManifestError> {
    let path = &manifest_file(path);
    let bytes = fs::read(path)?;
    let syntax = |source| ManifestError::Syntax {
        path: path.to_owned(),
        cause: source,
    };
    let Version { schema } = serde_json::from_slice(&bytes).map_err(syntax)?;
    if schema > SCHEMA {
        return Err(ManifestError::NewerSchema {
            path: path.to_owned(),
            found: schema,
        });
    }
    let mut manifest: Manifest = serde_json::from_slice(&bytes).map_err(syntax)?;
    drop(bytes);
    if schema > JSON_SCHEMA {
        add_rows(&mut manifest, &path.with_file_name(ROWS_FILE), columns)?;
    }
    if manifest.run.finished.is_none() {
        let out = path.parent().unwrap_or(Path::new(""));
        // Without a readable journal, the manifest is used as it is.
        if let Ok(Some(newer)) = manifest_of_journal(&Paths::under(out).journal)
            && newer.run.id == manifest.run.id
            && newer.builds.len() >= manifest.builds.len()
        {
            return Ok(newer);
        }
    }
    Ok(manifest)
}

/// Returns true if a run writes to the output directory `out`.
pub(in crate::report) fn is_being_written(out: &Path) -> Result<bool, FileError> {
    Lock::try_exclusive(&Paths::under(out).lock).map(|lock| lock.is_none())
}

/// Returns the manifest of the run that wrote a journal, sorted; `None` if the journal has no run.
pub(super) fn manifest_of_journal(path: &Path) -> Result<Option<Manifest>, JournalError> {
    let mut manifest = None;
    read_journal(path, |event| Manifest::fold(&mut manifest, &event))?;
    if let Some(manifest) = &mut manifest {
        manifest.sort();
    }
    Ok(manifest)
}
