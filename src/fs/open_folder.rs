//! A directory that stays open, so that the path to it is not resolved again for each of its files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};

/// A directory from which a run reads tens of thousands of files.
#[derive(Debug)]
pub struct OpenFolder {
    path: PathBuf,
    opened: OnceLock<OwnedFd>,
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Whether the file is a regular file.
    pub is_file: bool,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its modification time in nanoseconds since 1970.
    pub modified_nanoseconds: i128,
}

impl OpenFolder {
    /// Creates a handle for the directory at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            opened: OnceLock::new(),
        }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file at `path` below the directory.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        self.find(path, |folder, path| {
            openat(folder, path, flags, Mode::empty()).map(File::from)
        })
    }

    /// Returns the metadata of the file at `path` below the directory, without following a link.
    pub fn facts(&self, path: &Path) -> io::Result<FileFacts> {
        let stat = self.find(path, |folder, path| {
            statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        let (seconds, nanoseconds) = (i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec));
        Ok(FileFacts {
            is_file: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified_nanoseconds: seconds * 1_000_000_000 + nanoseconds,
        })
    }

    fn find<T>(
        &self,
        path: &Path,
        find: impl Fn(BorrowedFd<'_>, &Path) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        if let Some(found) = self.handle().and_then(|folder| find(folder, path).ok()) {
            return Ok(found);
        }
        // The directory may have been replaced by another since it was opened.
        Ok(find(CWD, &self.path.join(path))?)
    }

    /// Returns the open directory, or `None` while it does not exist.
    fn handle(&self) -> Option<BorrowedFd<'_>> {
        if self.opened.get().is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(CWD, &self.path, flags, Mode::empty()).ok()?;
            // Another thread may have opened it meanwhile.
            drop(self.opened.set(opened));
        }
        self.opened.get().map(|folder| folder.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_a_directory_that_comes_later_and_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("folder");
        let folder = OpenFolder::new(path.clone());
        let (file, link) = (Path::new("a/file"), Path::new("link"));
        let missing = folder.open(file).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        for text in ["one", "two!"] {
            super::super::write(&path.join(file), text).unwrap();
            std::os::unix::fs::symlink("a/file", path.join(link)).unwrap();
            let found = io::read_to_string(folder.open(file).unwrap()).unwrap();
            assert_eq!(found, text);
            let facts = folder.facts(file).unwrap();
            assert_eq!((facts.is_file, facts.size_bytes), (true, text.len() as u64));
            let modified = std::fs::metadata(path.join(file))
                .unwrap()
                .modified()
                .unwrap();
            let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(
                facts.modified_nanoseconds,
                i128::try_from(modified.as_nanos()).unwrap()
            );
            assert!(!folder.facts(link).unwrap().is_file);
            assert_eq!(folder.path(), path);
            std::fs::remove_dir_all(&path).unwrap();
            assert_eq!(
                folder.facts(file).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        }
    }
}
