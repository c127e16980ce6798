//! The text of a matrix that is imported.

use std::path::{Component, Path, PathBuf};

use crate::fs;
use crate::resolve::ResolveError;

/// A matrix that is to be written.
pub(crate) struct Imported {
    /// Its TOML.
    pub(crate) text: String,
    /// What of the import is in doubt.
    pub(crate) doubts: Vec<String>,
}

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The path as it is seen from `folder`.
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
