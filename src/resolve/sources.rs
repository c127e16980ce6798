//! The matrices of a command: their files, mirrors and entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, ResolveError};
use crate::diagnostic::{Diagnostic, SourceFile, nearest};
use crate::digest::Sha256;
use crate::discover::DEFAULT_MIRRORS;
use crate::fetch::{MirrorRule, Mirrors};
use crate::fs;
use crate::matrix::{self, Matrix, TargetEntry};

/// The matrices of a command.
#[derive(Debug)]
pub struct Sources {
    /// The matrices, in the order of the command line.
    pub matrices: Vec<Matrix>,
}

/// How a command uses locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockUse {
    /// Use locks as they are, even if they are stale: no server is queried, nothing is written.
    AsIs,
    /// Like `AsIs`, but a missing or stale lock is an error.
    Locked,
    /// Create missing locks and update stale ones.
    #[default]
    RefreshStale,
    /// Like `RefreshStale`, but a request to a server that does not answer is not retried.
    TryStale,
    /// Refresh all locks, as `lock` does.
    RefreshAll,
}

impl Sources {
    /// Reads the named matrices. Returns no matrices if `files` is empty.
    pub fn read_named(files: &[PathBuf]) -> Result<Self, ResolveError> {
        if files.is_empty() {
            return Ok(Self {
                matrices: Vec::new(),
            });
        }
        Self::read(files)
    }

    /// Reads the files, or `matrices/*.toml` if `files` is empty. The error contains all errors of all files.
    pub fn read(files: &[PathBuf]) -> Result<Self, ResolveError> {
        let files = if files.is_empty() {
            default_files()?
        } else {
            files.to_vec()
        };
        let mut matrices = Vec::new();
        let mut diagnostics = Vec::new();
        for (position, path) in files.iter().enumerate() {
            if files[..position].contains(path) {
                continue;
            }
            match fs::read_to_string(path) {
                Ok(text) => {
                    let path = path.clone();
                    match matrix::read(Arc::new(SourceFile { path, text })) {
                        Ok(matrix) => matrices.push(matrix),
                        Err(mut found) => diagnostics.append(&mut found),
                    }
                }
                Err(error) => {
                    let help = error.is_not_found().then(|| nearest_file(path)).flatten();
                    let error = Diagnostic::error(error.to_string());
                    diagnostics.push(error.maybe_help(help.as_deref()));
                }
            }
        }
        if diagnostics.is_empty() {
            Ok(Self { matrices })
        } else {
            Err(ResolveError::Diagnostics(diagnostics))
        }
    }

    /// The rewrites of the command line, then those of all files in order. Offline if the command line or any file is.
    pub fn mirrors(&self, context: &Context) -> Mirrors {
        let mut all = mirrors_of(context);
        for matrix in &self.matrices {
            let rewrites = matrix.mirrors.rewrites.iter().cloned();
            all.rules
                .extend(rewrites.map(|(prefix, replacements)| MirrorRule {
                    prefix,
                    replacements,
                }));
            all.is_offline |= matrix.mirrors.is_offline;
        }
        all
    }
}

/// Returns a help line that suggests the matrix with the name nearest to the name of a file that does not exist.
fn nearest_file(path: &Path) -> Option<String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let names: Vec<String> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()))
        .collect();
    let name = path.file_name()?.to_str()?;
    let nearest = nearest(name, names.iter().map(String::as_str))?;
    let file = folder.map_or_else(|| nearest.into(), |folder| folder.join(nearest));
    Some(format!("did you mean `{}`?", file.display()))
}

/// The name of the mirror of driver sources, and the URL that it replaces.
const DRIVER_SOURCES: (&str, &str) = ("github", "https://github.com");

/// The names under which mirrors can be configured.
pub(crate) fn mirror_names() -> impl Iterator<Item = &'static str> {
    let known = DEFAULT_MIRRORS.iter().chain([&DRIVER_SOURCES]);
    known.map(|(name, _)| *name)
}

/// The rewrites of the command line.
pub(crate) fn mirrors_of(context: &Context) -> Mirrors {
    let known = DEFAULT_MIRRORS.iter().chain([&DRIVER_SOURCES]);
    let given = known.filter_map(|(name, url)| {
        let replacement = context.mirrors.get(*name)?;
        Some(MirrorRule {
            prefix: (*url).to_owned(),
            replacements: vec![replacement.clone()],
        })
    });
    Mirrors {
        rules: given.collect(),
        is_offline: context.is_offline,
    }
}

/// The entries whose kernels are discovered, not listed in the matrix.
pub(crate) fn discovered_entries(matrix: &Matrix) -> impl Iterator<Item = &TargetEntry> {
    matrix
        .targets
        .iter()
        .filter(|entry| !entry.kernels.get_ref().sources.is_empty())
}

pub(crate) fn source_digest(entry: &TargetEntry) -> Sha256 {
    let kernels = entry.kernels.get_ref();
    kernels.digest(entry.name.get_ref(), &entry.architectures)
}

/// The files that match `matrices/*.toml`, sorted.
fn default_files() -> Result<Vec<PathBuf>, ResolveError> {
    let folder = Path::new("matrices");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(ResolveError::Input {
            message: "no matrix: matrices/*.toml matches no file in this directory".to_owned(),
            help: Some("name a matrix file".to_owned()),
        });
    }
    Ok(files)
}
