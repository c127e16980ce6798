//! Locks between processes.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::{FileError, create_folder, folder_of};

/// A lock between processes, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock on `path`; creates the file if it does not exist.
    pub fn exclusive(path: &Path) -> Result<Self, FileError> {
        if let Some(lock) = Self::try_exclusive(path)? {
            return Ok(lock);
        }
        tracing::debug!(path = %path.display(), "waiting for the lock of another process");
        let file = open_lock(path)?;
        file.lock().map_err(FileError::of("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Waits until no process holds the lock exclusively; any number of processes may share it.
    pub fn shared(path: &Path) -> Result<Self, FileError> {
        let file = open_lock(path)?;
        file.lock_shared().map_err(FileError::of("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Acquires the lock if it is free; returns `None` if another process holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, FileError> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::of("lock", path)(error)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File, FileError> {
    create_folder(folder_of(path))?;
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(FileError::of("open lock", path))
}
