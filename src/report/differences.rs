//! Compares an output directory with its manifest, for `verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::manifest::Manifest;
use super::{ATTESTATION_SUFFIX, LOG_FOLDER, STATE_FOLDER};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// A file of an output directory that differs from the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path, relative to the directory.
    pub path: PathBuf,
    /// How it differs.
    #[serde(flatten)]
    pub kind: DifferenceKind,
}

/// How a file differs from the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The manifest lists the file, but it does not exist.
    Missing,
    /// The content has another digest than the manifest lists.
    DifferentDigest {
        /// The digest in the manifest.
        expected: Sha256,
        /// The digest of the file; `None` if it is not a regular file.
        found: Option<Sha256>,
    },
    /// The manifest does not list the file.
    NotInManifest,
    /// The file is an invalid attestation.
    Attestation {
        /// The reason.
        message: String,
    },
    /// The module lacks the required signature.
    ModuleSignature {
        /// The reason.
        message: String,
    },
}

/// Reads every artifact in the directory `out` and compares it with the manifest. The result is sorted by path.
pub fn differences(out: &Path, manifest: &Manifest) -> Result<Vec<Difference>, FileError> {
    let expected = expected(manifest);
    let compared: Result<Vec<Option<Difference>>, FileError> = expected
        .par_iter()
        .map(|(path, sha256)| {
            let kind = compare(&out.join(path), *sha256)?;
            let path = path.clone();
            Ok(kind.map(|kind| Difference { path, kind }))
        })
        .collect();
    let mut differences: Vec<Difference> = compared?.into_iter().flatten().collect();
    for entry in walkdir::WalkDir::new(out)
        .min_depth(1)
        .into_iter()
        .filter_entry(is_public)
    {
        let entry = entry.map_err(|error| FileError::of("read directory", out)(error.into()))?;
        let path = entry.path().strip_prefix(out).unwrap_or(entry.path());
        if !entry.file_type().is_dir()
            && !expected.contains_key(path)
            && !is_attestation(path, &expected)
        {
            differences.push(Difference {
                path: path.to_owned(),
                kind: DifferenceKind::NotInManifest,
            });
        }
    }
    differences.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(differences)
}

/// Returns the files that a manifest lists, with their digests; logs have no digest.
fn expected(manifest: &Manifest) -> BTreeMap<PathBuf, Option<Sha256>> {
    let mut expected = BTreeMap::new();
    for artifact in manifest.builds.iter().flat_map(|build| &build.artifacts) {
        if artifact.sha256.is_some() {
            let paths = artifact.path.iter().chain(&artifact.aliases);
            expected.extend(paths.map(|path| (path.clone(), artifact.sha256)));
        }
        // The log of a single build stays in the store and has an absolute path.
        let log = artifact.log.iter().filter(|path| path.is_relative());
        expected.extend(log.map(|path| (path.clone(), None)));
    }
    expected
}

fn compare(path: &Path, expected: Option<Sha256>) -> Result<Option<DifferenceKind>, FileError> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(DifferenceKind::Missing));
        }
        metadata => metadata.map_err(FileError::of("read", path))?,
    };
    let Some(expected) = expected else {
        return Ok(None);
    };
    let found = if metadata.is_file() {
        let file = std::fs::File::open(path).map_err(FileError::of("read", path))?;
        let (found, _) = Sha256::of_reader(file).map_err(FileError::of("read", path))?;
        Some(found)
    } else {
        None
    };
    Ok((found != Some(expected)).then_some(DifferenceKind::DifferentDigest { expected, found }))
}

/// Returns true if this is the attestation of an artifact.
fn is_attestation(path: &Path, expected: &BTreeMap<PathBuf, Option<Sha256>>) -> bool {
    let artifact = path
        .to_str()
        .and_then(|path| path.strip_suffix(ATTESTATION_SUFFIX));
    let digest = artifact.and_then(|path| expected.get(Path::new(path)));
    digest.is_some_and(Option::is_some)
}

/// Returns true if an entry of an output directory is neither internal nor a temporary file.
fn is_public(entry: &walkdir::DirEntry) -> bool {
    let is_own = entry.depth() == 1
        && [
            STATE_FOLDER,
            LOG_FOLDER,
            "run.json",
            "builds.jsonl.zst",
            "manifest.json",
            "manifest.csv",
        ]
        .iter()
        .any(|own| entry.file_name() == *own);
    !is_own && !fs::is_temporary(entry.path())
}
