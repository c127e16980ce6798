//! Unpacks a builder image's archive once, for all runs.
//!
//! Input: the archive and its expected identity. Output: a directory named after the identity, complete or absent.
//! Devices, ownership and set-user-id bits are dropped: the sandbox has its own `/dev` and no root.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::super::{ExecutorError, image_identity};
use crate::digest::{HashingWriter, Sha256};
use crate::fs::{self, FileError, Lock};

const READ_BYTES: usize = 1 << 20;

/// Returns the directory with the image's root file system, and unpacks it first if it does not exist.
pub(super) fn ensure(
    folder: &Path,
    image: &str,
    identity: Sha256,
    archive: Option<&Path>,
) -> Result<PathBuf, ExecutorError> {
    let done = folder.join(identity.to_string());
    if done.is_dir() {
        open(&done)?;
        return Ok(done);
    }
    let image_error = |message: String| ExecutorError::Image {
        image: image.to_owned(),
        message,
    };
    let archive = archive.ok_or_else(|| {
        image_error(
            "its archive does not exist on this machine: build the builder images first (`driverkit-matrix images build`)"
                .into(),
        )
    })?;
    let partial = folder.join(format!("{identity}.partial"));
    let _lock = Lock::exclusive(&folder.join(format!("{identity}.lock")))?;
    if done.is_dir() {
        return Ok(done);
    }
    // Left behind by a dead run: only the holder of the lock may use it.
    fs::remove_folder(&partial)?;
    fs::create_folder(&partial)?;
    let file = File::open(archive).map_err(|error| {
        image_error(format!(
            "failed to open its archive {}: {error}",
            archive.display()
        ))
    })?;
    let found = unpack(file, &partial)
        .map_err(|error| ExecutorError::from(FileError::of("unpack", archive)(error)))?;
    if found != identity {
        fs::remove_folder(&partial)?;
        return Err(image_error(format!(
            "its archive {} has identity {found}, not {identity}: rebuild the builder images (`driverkit-matrix images build`)",
            archive.display()
        )));
    }
    open(&partial)?;
    fs::rename(&partial, &done)?;
    Ok(done)
}

/// Makes the directory readable for everybody regardless of the umask: root's jobs run as `nobody`.
fn open(folder: &Path) -> Result<(), FileError> {
    let failed = FileError::of("set permissions of", folder);
    let opened = folder.metadata().and_then(|metadata| {
        // A directory that another user unpacked is left unchanged.
        if metadata.mode() & 0o005 == 0o005 {
            return Ok(());
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))
    });
    opened.map_err(failed)
}

/// Unpacks the archive and returns the identity of its image.
fn unpack(file: File, folder: &Path) -> io::Result<Sha256> {
    let mut reader = BufReader::with_capacity(READ_BYTES, Hashing::new(file));
    let mut archive = tar::Archive::new(&mut reader);
    archive.set_preserve_ownerships(false);
    archive.set_preserve_permissions(false);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::Char | EntryType::Block | EntryType::Fifo => {}
            // Rejects names that leave the directory, also through links.
            _ => {
                if !entry.unpack_in(folder)? {
                    let path = entry.path()?.display().to_string();
                    return Err(io::Error::other(format!("{path} leaves the directory")));
                }
            }
        }
    }
    // The digest covers the whole file, including bytes after the last entry.
    io::copy(&mut reader, &mut io::sink())?;
    let digest = reader.into_inner().finish();
    Ok(image_identity(&[format!("sha256:{digest}")]))
}

/// Hashes the bytes read through it.
struct Hashing {
    file: File,
    hash: HashingWriter<io::Sink>,
}

impl Hashing {
    fn new(file: File) -> Self {
        Self {
            file,
            hash: HashingWriter::new(io::sink()),
        }
    }

    fn finish(self) -> Sha256 {
        self.hash.finish().0
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        io::Write::write_all(&mut self.hash, &buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &Path) -> (PathBuf, Sha256) {
        let mut builder = tar::Builder::new(Vec::new());
        let mut put = |name: &str, kind, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).unwrap();
        };
        put("usr/", EntryType::Directory, b"");
        put("usr/bin/sh", EntryType::Regular, b"shell");
        put("dev/null", EntryType::Char, b"");
        let bytes = builder.into_inner().unwrap();
        let path = folder.join("image.tar");
        fs::write(&path, &bytes).unwrap();
        let id = format!("sha256:{}", Sha256::of(&bytes));
        (path, image_identity(&[id]))
    }

    #[test]
    fn unpacked_once_and_leftovers_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, identity) = archive(folder.path());
        let leftover = folder.path().join(format!("{identity}.partial/old"));
        fs::write(&leftover, "half").unwrap();
        let root = ensure(folder.path(), "x", identity, Some(&archive)).unwrap();
        assert_eq!(fs::read(&root.join("usr/bin/sh")).unwrap(), b"shell");
        assert!(!root.join("old").exists());
        assert!(!root.join("dev/null").exists());
        // The archive is not needed any more.
        assert_eq!(ensure(folder.path(), "x", identity, None).unwrap(), root);
    }

    #[test]
    fn another_archive_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, found) = archive(folder.path());
        let wanted = Sha256::of("other");
        let error = ensure(folder.path(), "x", wanted, Some(&archive)).expect_err("other image");
        let text = error.to_string();
        assert!(
            text.contains(&found.to_string()) && text.contains(&wanted.to_string()),
            "{text}"
        );
        assert!(!folder.path().join(wanted.to_string()).exists());
        assert!(!folder.path().join(format!("{wanted}.partial")).exists());
        let error = ensure(folder.path(), "x", wanted, None).expect_err("no archive");
        assert!(
            error.to_string().contains("build the builder images"),
            "{error}"
        );
    }
}
