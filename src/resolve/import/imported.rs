//! The text of a matrix that is imported.

use std::path::{Component, Path, PathBuf};

use crate::fs;
use crate::resolve::ResolveError;

/// An imported matrix, to be written to a file.
pub(crate) struct Imported {
    /// The TOML text of the matrix.
    pub(crate) text: String,
    /// Doubts about the import.
    pub(crate) doubts: Vec<String>,
}

/// Returns a string as a TOML literal.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns the path relative to `folder`.
pub(super) fn relative(path: &Path, folder: &Path) -> Result<PathBuf, ResolveError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| ResolveError::File(fs::FileError::of("find", path)(error)))
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (path, folder) = (absolute(path)?, absolute(folder)?);
    let path: Vec<Component<'_>> = path.components().collect();
    let folder: Vec<Component<'_>> = folder.components().collect();
    let shared = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    if shared < 2 {
        return Ok(path.iter().collect());
    }
    let up = folder[shared..].iter().map(|_| Component::ParentDir);
    Ok(up.chain(path[shared..].iter().copied()).collect())
}
