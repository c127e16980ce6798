//! Compares an output directory with the manifest in it: for `verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::manifest::Manifest;
use super::{ATTESTATION_SUFFIX, LOG_FOLDER, STATE_FOLDER};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// A file of an output directory that is not what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it is, relative to the directory.
    pub path: PathBuf,
    /// How it differs.
    #[serde(flatten)]
    pub kind: DifferenceKind,
}

/// How a file differs from the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The manifest names it, and it does not exist.
    Missing,
    /// Its content is not the one that the manifest names.
    DifferentDigest {
        /// What the manifest says.
        expected: Sha256,
        /// What the file has; nothing where it is not a file.
        found: Option<Sha256>,
    },
    /// The manifest does not name it.
    NotInManifest,
    /// It is an attestation that does not hold.
    Attestation {
        /// Why.
        message: String,
    },
    /// The module has not the signature that it should have.
    ModuleSignature {
        /// Why.
        message: String,
    },
}

/// Reads every artifact in the directory `out` and compares it with the manifest of it. Sorted by path.
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

/// The files that a manifest names, with their digests where it has them: all but those of logs.
fn expected(manifest: &Manifest) -> BTreeMap<PathBuf, Option<Sha256>> {
    let mut expected = BTreeMap::new();
    for artifact in manifest.builds.iter().flat_map(|build| &build.artifacts) {
        if artifact.sha256.is_some() {
            let paths = artifact.path.iter().chain(&artifact.aliases);
            expected.extend(paths.map(|path| (path.clone(), artifact.sha256)));
        }
        // That of a single build stays in the store.
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

/// Whether this is the attestation of an artifact.
fn is_attestation(path: &Path, expected: &BTreeMap<PathBuf, Option<Sha256>>) -> bool {
    let artifact = path
        .to_str()
        .and_then(|path| path.strip_suffix(ATTESTATION_SUFFIX));
    let digest = artifact.and_then(|path| expected.get(Path::new(path)));
    digest.is_some_and(Option::is_some)
}

/// Whether something in an output directory is for its readers: not the program's own, not half written.
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
