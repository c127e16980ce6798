//! Files that trees share: most files of a header package are those of the one before.
//!
//! `files/<two digits>/<digest>` is a further name of a file in a tree; with an `x` behind it, of one that can be run.
//! A file that only has that name is in no tree any more.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, linkat, mkdirat, statat, unlinkat};
use rustix::io::Errno;
use walkdir::DirEntryExt as _;

use super::tree::is_sealed;
use crate::digest::Sha256;
use crate::fs::{FileError, create_folder, remove_file};

/// The identity of a shared file: files of trees differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedFile {
    /// The digest of its content.
    pub sha256: Sha256,
    /// Whether the file is executable.
    pub is_executable: bool,
}

impl SharedFile {
    /// Its path below `files/`.
    fn path(self) -> String {
        let digest = self.sha256.to_string();
        let end = if self.is_executable { "x" } else { "" };
        format!("{}/{digest}{end}", &digest[..2])
    }

    /// Parses a name below `files/`.
    pub fn of_name(name: &str) -> Option<Self> {
        let digest = name.strip_suffix('x').unwrap_or(name);
        Some(Self {
            sha256: digest.parse().ok()?,
            is_executable: digest != name,
        })
    }
}

/// The directory of shared files, open.
pub struct SharedFiles {
    folder: OwnedFd,
    path: PathBuf,
}

impl SharedFiles {
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        create_folder(path)?;
        let folder = File::open(path).map_err(FileError::of("open directory", path))?;
        Ok(Self {
            folder: folder.into(),
            path: path.to_owned(),
        })
    }

    /// Gives the shared file of `size_bytes` bytes the further name `name` in the open directory
    /// `folder`; false if there is no such file or the file system allows no more links. A file
    /// that was modified since it was added is removed from the shared files.
    pub fn link(
        &self,
        file: SharedFile,
        size_bytes: u64,
        folder: impl AsFd,
        name: &Path,
    ) -> Result<bool, FileError> {
        let shared = file.path();
        match linkat(&self.folder, &shared, &folder, name, AtFlags::empty()) {
            Ok(()) => {
                let failed = |error: Errno| FileError::of("link to", name)(error.into());
                let found = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                let is_whole = u64::try_from(found.st_size) == Ok(size_bytes)
                    && is_sealed(&found)
                    && (found.st_mode & 0o100 != 0) == file.is_executable;
                if !is_whole {
                    unlinkat(&folder, name, AtFlags::empty()).map_err(failed)?;
                    match unlinkat(&self.folder, &shared, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                Ok(is_whole)
            }
            Err(Errno::NOENT | Errno::MLINK | Errno::XDEV | Errno::PERM) => Ok(false),
            Err(error) => Err(FileError::of("link to", name)(error.into())),
        }
    }

    /// Removes the files with these inodes, so that no later tree links to them.
    pub(super) fn forget(&self, inodes: &HashSet<u64>) -> Result<(), FileError> {
        for entry in walkdir::WalkDir::new(&self.path) {
            let failed = |error: walkdir::Error| FileError::of("read", &self.path)(error.into());
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_file() && inodes.contains(&entry.ino()) {
                remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds the file at `path`, whose content must be durable, for later trees to link to. An
    /// existing shared file stays.
    pub fn add(&self, path: &Path, file: SharedFile) -> Result<(), FileError> {
        let name = file.path();
        let link = || linkat(CWD, path, &self.folder, &name, AtFlags::empty());
        let linked = match link() {
            Err(Errno::NOENT) => {
                let made = mkdirat(&self.folder, &name[..2], Mode::from_raw_mode(0o755));
                // Another run may make it at the same time.
                made.or_else(|error| {
                    if error == Errno::EXIST {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
                .and_then(|()| link())
            }
            linked => linked,
        };
        match linked {
            // Without hard links nothing is shared.
            Ok(()) | Err(Errno::EXIST | Errno::MLINK | Errno::XDEV | Errno::PERM) => Ok(()),
            Err(error) => Err(FileError::of("link to", self.path.join(name))(error.into())),
        }
    }
}
