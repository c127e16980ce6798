//! Lists the directories of a store.

use std::path::{Path, PathBuf};

use crate::fs::FileError;

/// Returns the paths in a directory; none if it does not exist.
pub(super) fn children(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| {
                Ok(entry
                    .map_err(FileError::of("read directory", folder))?
                    .path())
            })
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FileError::of("read directory", folder)(error)),
    }
}
