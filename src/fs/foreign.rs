//! Directories with untrusted content: unpacked packages, driver sources, outputs of jobs.
//!
//! A read does not follow links out of the directory, opens only regular files, and has a size limit. So a link to
//! `/dev/zero` costs no memory, a link to a pipe does not block, and no other file of this machine is read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::FileError;

/// A directory with untrusted content.
pub struct ForeignFolder {
    root: Dir,
    path: PathBuf,
}

/// The error of reading a file in a foreign directory. Paths are relative to that directory.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// This machine failed to read the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not exist.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The directory contains something that cannot be used.
    #[error("{} {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// A description of the problem.
        problem: String,
    },
}

impl ForeignError {
    /// Returns the I/O failure of this machine; `None` if the directory's content is at fault.
    pub fn machine_failure(&self) -> Option<&FileError> {
        match self {
            Self::File(error) => Some(error),
            Self::Missing(_) | Self::Invalid { .. } => None,
        }
    }
}

impl ForeignFolder {
    /// Opens the directory `path`; the path itself must be trusted.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let root = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(FileError::of("open directory", path))?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// Reads the regular file `path`, which must not be larger than `limit_bytes`.
    pub fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, ForeignError> {
        let mut bytes = Vec::new();
        self.open_file(path, limit_bytes)?
            .take(limit_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.error(path, error))?;
        // The file may have grown since it was opened.
        check_size(path, bytes.len() as u64, limit_bytes)?;
        Ok(bytes)
    }

    /// Reads the regular file `path` as UTF-8.
    pub fn read_text(&self, path: &Path, limit_bytes: u64) -> Result<String, ForeignError> {
        String::from_utf8(self.read(path, limit_bytes)?)
            .map_err(|_| invalid(path, "is not valid UTF-8"))
    }

    /// Opens the regular file `path`, which must not be larger than `limit_bytes`.
    pub fn open_file(&self, path: &Path, limit_bytes: u64) -> Result<File, ForeignError> {
        self.file_size(path, limit_bytes)?;
        // If the file was replaced by a pipe, opening it must not wait for a writer.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
        let file = self
            .root
            .open_with(path, &options)
            .map_err(|error| self.error(path, error))?;
        let metadata = file.metadata().map_err(|error| self.error(path, error))?;
        check_file(path, &metadata, limit_bytes)?;
        Ok(file.into_std())
    }

    /// Returns the size in bytes of the regular file `path`, which must not be larger than `limit_bytes`.
    pub fn file_size(&self, path: &Path, limit_bytes: u64) -> Result<u64, ForeignError> {
        let metadata = self.metadata(path)?;
        check_file(path, &metadata, limit_bytes)?;
        Ok(metadata.len())
    }

    /// Returns whether `path` is a regular file.
    pub fn is_file(&self, path: &Path) -> bool {
        self.metadata(path).is_ok_and(|metadata| metadata.is_file())
    }

    /// Returns whether `path` is a directory.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.metadata(path).is_ok_and(|metadata| metadata.is_dir())
    }

    /// Returns the names in the directory `path`, sorted; empty if the directory does not exist.
    pub fn names(&self, path: &Path) -> Result<Vec<OsString>, ForeignError> {
        let entries = match self
            .root
            .read_dir(path)
            .map_err(|error| self.error(path, error))
        {
            Err(ForeignError::Missing(_)) => return Ok(Vec::new()),
            entries => entries?,
        };
        let names: io::Result<Vec<_>> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect();
        let mut names = names.map_err(|error| self.error(path, error))?;
        names.sort();
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, ForeignError> {
        match self.root.metadata(path) {
            Ok(metadata) => Ok(metadata),
            Err(error) => Err(match self.error(path, error) {
                ForeignError::Missing(_) if self.root.symlink_metadata(path).is_ok() => {
                    invalid(path, "is a link whose target does not exist")
                }
                error => error,
            }),
        }
    }

    /// Separates errors caused by the directory's content from I/O failures of this machine.
    fn error(&self, path: &Path, error: io::Error) -> ForeignError {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound, _) => ForeignError::Missing(path.to_owned()),
            // Without an error code, the error comes from the library, not from the system.
            (io::ErrorKind::PermissionDenied, None) => {
                invalid(path, "is a link that leaves its tree")
            }
            (_, Some(code)) if code == Errno::LOOP.raw_os_error() => {
                invalid(path, "is a link that leads back to itself")
            }
            (_, Some(code)) if code == Errno::NXIO.raw_os_error() => {
                invalid(path, "is not a regular file")
            }
            (io::ErrorKind::NotADirectory, _) => {
                invalid(path, "is below something that is not a directory")
            }
            (io::ErrorKind::IsADirectory, _) => invalid(path, "is a directory, expected a file"),
            (io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename, _) => {
                invalid(path, "is not a valid path")
            }
            _ => FileError::of("read", self.path.join(path))(error).into(),
        }
    }
}

fn invalid(path: &Path, problem: impl Into<String>) -> ForeignError {
    ForeignError::Invalid {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

fn check_file(path: &Path, metadata: &Metadata, limit_bytes: u64) -> Result<(), ForeignError> {
    if metadata.is_dir() {
        return Err(invalid(path, "is a directory, expected a file"));
    }
    if !metadata.is_file() {
        return Err(invalid(path, "is not a regular file"));
    }
    check_size(path, metadata.len(), limit_bytes)
}

fn check_size(path: &Path, size_bytes: u64, limit_bytes: u64) -> Result<(), ForeignError> {
    if size_bytes > limit_bytes {
        return Err(invalid(path, format!("is larger than {limit_bytes} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, ForeignFolder) {
        let folder = tempfile::tempdir().unwrap();
        super::super::write(&folder.path().join("tree/a/file"), "text").unwrap();
        super::super::write(&folder.path().join("secret"), "secret").unwrap();
        let foreign = ForeignFolder::open(&folder.path().join("tree")).unwrap();
        (folder, foreign)
    }

    fn problem(foreign: &ForeignFolder, path: &str) -> String {
        foreign.read(Path::new(path), 100).unwrap_err().to_string()
    }

    #[test]
    fn links_inside_are_followed_and_links_outside_are_rejected() {
        let (folder, foreign) = folder();
        let link = |target: &str, name: &str| {
            symlink(target, folder.path().join("tree").join(name)).unwrap();
        };
        link("../a/file", "a/inside");
        assert_eq!(foreign.read(Path::new("a/inside"), 4).unwrap(), b"text");
        for (target, name, expected) in [
            ("../secret", "out", "leaves its tree"),
            ("/dev/zero", "zero", "leaves its tree"),
            (
                "nothing",
                "dangling",
                "is a link whose target does not exist",
            ),
            ("loop", "loop", "leads back to itself"),
        ] {
            link(target, name);
            let problem = problem(&foreign, name);
            assert!(problem.contains(expected), "{name}: {problem}");
            assert!(!foreign.is_file(Path::new(name)));
        }
    }

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let (folder, foreign) = folder();
        let pipe = folder.path().join("tree/pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        assert_eq!(problem(&foreign, "pipe"), "pipe is not a regular file");
        assert_eq!(problem(&foreign, "a"), "a is a directory, expected a file");
        assert_eq!(problem(&foreign, "b"), "b does not exist");
        assert_eq!(
            problem(&foreign, "a/file/x"),
            "a/file/x is below something that is not a directory"
        );
        let error = foreign.read(Path::new("a/file"), 3).unwrap_err();
        assert_eq!(error.to_string(), "a/file is larger than 3 bytes");
        assert!(error.machine_failure().is_none());
        assert_eq!(foreign.names(Path::new(".")).unwrap(), ["a", "pipe"]);
        assert!(foreign.names(Path::new("b")).unwrap().is_empty());
    }
}
