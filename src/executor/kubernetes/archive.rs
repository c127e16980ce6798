//! Creates one compressed archive for each tree that a job mounts; each archive is created once and cached next to the
//! trees of the store.
//!
//! Input: a directory. Output: a zstd-compressed tar, its SHA-256, and the digest of its content. The content digest is
//! the tree's name in the cluster, and `pod/pull.sh` recomputes it from the unpacked directory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};

use super::super::ExecutorError;
use crate::digest::{HashingWriter, Sha256};
use crate::fs::{self, FileError, PendingFile, blocking};

/// Level 3 compresses header trees to a fifth of their size, faster than a disk can write them.
const LEVEL: i32 = 3;

/// The directory of the store that contains archives.
const FOLDER: &str = "archives";

/// A tree that pods can pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archive {
    /// The path on this machine.
    pub(super) path: PathBuf,
    pub(super) facts: Facts,
}

/// The metadata of an archive, stored next to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The digest of the names, types and contents of everything in the tree.
    pub(super) content: Sha256,
    /// The digest of the archive.
    pub(super) sha256: Sha256,
    /// The size of the archive in bytes.
    pub(super) size_bytes: u64,
    /// Whether the tree is empty.
    pub(super) is_empty: bool,
}

/// The archives of one store.
pub(super) struct Archives {
    store: PathBuf,
    /// Holds archives of directories outside of the store; removed on drop.
    scratch: tempfile::TempDir,
    known: Mutex<std::collections::HashMap<PathBuf, Arc<OnceCell<Archive>>>>,
}

impl Archives {
    pub(super) fn new(store: &Path) -> Result<Self, FileError> {
        let folder = store.join(FOLDER);
        fs::create_folder(&folder)?;
        let scratch = tempfile::Builder::new()
            .prefix(fs::TEMPORARY_PREFIX)
            .tempdir_in(&folder)
            .map_err(FileError::of("create a directory in", &folder))?;
        Ok(Self {
            store: store.to_owned(),
            scratch,
            known: Mutex::default(),
        })
    }

    /// Returns the archive of a directory; concurrent callers wait until it has been created.
    pub(super) async fn of(&self, source: &Path) -> Result<Archive, ExecutorError> {
        let cell = Arc::clone(
            self.known
                .lock()
                .await
                .entry(source.to_owned())
                .or_default(),
        );
        let made = cell.get_or_try_init(|| async {
            let (source, path) = (source.to_owned(), self.path_of(source));
            blocking(move || find_or_make(&source, path))
                .await
                .map_err(ExecutorError::from)
        });
        Ok(made.await?.clone())
    }

    /// Returns the path of a directory's archive. A directory of the store never changes, so its archive stays valid.
    fn path_of(&self, source: &Path) -> PathBuf {
        let kept = source
            .strip_prefix(self.store.join("trees"))
            .ok()
            .and_then(|below| {
                let tree: Sha256 = below.iter().next()?.to_str()?.parse().ok()?;
                let inside = Sha256::of(below.as_os_str().as_bytes());
                Some(format!("{tree}-{}.tar.zst", inside.short()))
            });
        kept.map_or_else(
            || {
                let name = Sha256::of(source.as_os_str().as_bytes());
                self.scratch.path().join(format!("{name}.tar.zst"))
            },
            |name| self.store.join(FOLDER).join(name),
        )
    }
}

fn find_or_make(source: &Path, path: PathBuf) -> Result<Archive, FileError> {
    let record = path.with_extension("json");
    let facts: Option<Facts> = std::fs::read(&record)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(facts) = facts
        && path
            .metadata()
            .is_ok_and(|found| found.len() == facts.size_bytes)
    {
        return Ok(Archive { path, facts });
    }
    let facts = make(source, &path)?;
    let text = serde_json::to_vec(&facts)
        .map_err(|error| FileError::of("write", &record)(error.into()))?;
    fs::write(&record, text)?;
    Ok(Archive { path, facts })
}

/// The input of the content digest, in the same order as in `pod/pull.sh`.
#[derive(Default)]
struct Listing {
    folders: Vec<Vec<u8>>,
    executables: Vec<Vec<u8>>,
    files: Vec<(Vec<u8>, Sha256)>,
    links: Vec<Vec<u8>>,
}

impl Listing {
    fn digest(mut self) -> io::Result<Sha256> {
        self.folders.sort();
        self.executables.sort();
        self.files.sort();
        self.links.sort();
        let mut hashing = HashingWriter::new(io::sink());
        for record in self.folders.iter().chain(&self.executables) {
            hashing.write_all(record)?;
            hashing.write_all(b"\0")?;
        }
        for (path, sha256) in &self.files {
            write!(hashing, "{sha256}  ")?;
            hashing.write_all(path)?;
            hashing.write_all(b"\0")?;
        }
        for record in &self.links {
            hashing.write_all(record)?;
            hashing.write_all(b"\0")?;
        }
        Ok(hashing.finish().0)
    }
}

fn make(source: &Path, path: &Path) -> Result<Facts, FileError> {
    let wrote = |error| FileError::of("write", path)(error);
    let pending = HashingWriter::new(PendingFile::create(path)?);
    let compressed = zstd::Encoder::new(pending, LEVEL).map_err(wrote)?;
    let mut builder = tar::Builder::new(compressed);
    let mut listing = Listing::default();
    for entry in walkdir::WalkDir::new(source).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let cause = error.into_io_error();
            FileError::of("read directory", source)(
                cause.unwrap_or_else(|| io::Error::other("a cycle of directories")),
            )
        })?;
        append(&mut builder, &mut listing, source, entry.path())?;
    }
    let compressed = builder.into_inner().map_err(wrote)?;
    let (sha256, size_bytes, pending) = compressed.finish().map_err(wrote)?.finish();
    pending.keep()?;
    let is_empty =
        listing.folders.len() == 1 && listing.files.is_empty() && listing.links.is_empty();
    Ok(Facts {
        content: listing.digest().map_err(wrote)?,
        sha256,
        size_bytes,
        is_empty,
    })
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    listing: &mut Listing,
    source: &Path,
    path: &Path,
) -> Result<(), FileError> {
    let read = |error| FileError::of("read", path)(error);
    let inside = match path.strip_prefix(source) {
        Ok(inside) if !inside.as_os_str().is_empty() => Path::new(".").join(inside),
        _ => PathBuf::from("."),
    };
    let name = inside.as_os_str().as_bytes().to_vec();
    let metadata = path.symlink_metadata().map_err(read)?;
    let mut header = tar::Header::new_gnu();
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_size(0);
    header.set_mode(0o755);
    if metadata.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        listing.folders.push(name);
        builder.append_data(&mut header, &inside, io::empty())
    } else if metadata.is_symlink() {
        let target = std::fs::read_link(path).map_err(read)?;
        header.set_entry_type(tar::EntryType::Symlink);
        let record = [&name, &b" -> "[..], target.as_os_str().as_bytes()].concat();
        listing.links.push(record);
        builder.append_link(&mut header, &inside, &target)
    } else {
        header.set_size(metadata.len());
        if metadata.mode() & 0o100 == 0 {
            header.set_mode(0o644);
        } else {
            listing.executables.push(name.clone());
        }
        let mut reader = HashingReader(
            File::open(path).map_err(read)?,
            HashingWriter::new(io::sink()),
        );
        let appended = builder.append_data(&mut header, &inside, &mut reader);
        listing.files.push((name, reader.1.finish().0));
        appended
    }
    .map_err(read)
}

struct HashingReader(File, HashingWriter<io::Sink>);

impl io::Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn tree(at: &Path) {
        fs::write(&at.join("b/Makefile"), "all:\n").unwrap();
        fs::write(&at.join("b/tool"), "#!/bin/sh\n").unwrap();
        fs::write(&at.join("a name with spaces"), "").unwrap();
        fs::create_folder(&at.join("empty")).unwrap();
        std::os::unix::fs::symlink("b/tool", at.join("link")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(at.join("b/tool"), mode).unwrap();
    }

    /// Runs the part of the pod script that computes the digest of a directory.
    fn content_in_a_pod(folder: &Path) -> String {
        let script = include_str!("pod/pull.sh");
        let start = script.find("content() (").unwrap();
        let end = start + script[start..].find("\n)\n").unwrap() + 3;
        let output = std::process::Command::new("/bin/sh")
            .env("LC_ALL", "C")
            .args(["-euc", &format!("{}content \"$1\"", &script[start..end])])
            .arg("sh")
            .arg(folder)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn pods_compute_the_same_digest_of_what_they_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        tree(&source);
        let path = folder.path().join("x.tar.zst");
        let facts = make(&source, &path).unwrap();
        assert_eq!(facts.content.to_string(), content_in_a_pod(&source));
        assert!(!facts.is_empty);

        let unpacked = folder.path().join("unpacked");
        let reader = zstd::Decoder::new(File::open(&path).unwrap()).unwrap();
        tar::Archive::new(reader).unpack(&unpacked).unwrap();
        assert_eq!(facts.content.to_string(), content_in_a_pod(&unpacked));
        fs::write(&unpacked.join("b/Makefile"), "none:\n").unwrap();
        assert_ne!(facts.content.to_string(), content_in_a_pod(&unpacked));
    }

    #[tokio::test]
    async fn archives_of_the_store_are_made_once_and_others_go_at_the_end() {
        let store = tempfile::tempdir().unwrap();
        let inside = store.path().join("trees").join(Sha256::of("x").to_string());
        let outside = tempfile::tempdir().unwrap();
        tree(&inside);
        tree(outside.path());
        let archives = Archives::new(store.path()).unwrap();
        let kept = archives.of(&inside).await.unwrap();
        let gone = archives.of(outside.path()).await.unwrap();
        assert_eq!(kept.facts, gone.facts);
        drop(archives);
        assert!(kept.path.exists() && !gone.path.exists());
        // The archive must be found, not created: the tree is gone.
        std::fs::remove_dir_all(&inside).unwrap();
        let again = Archives::new(store.path()).unwrap();
        assert_eq!(again.of(&inside).await.unwrap(), kept);
    }

    #[test]
    fn an_empty_tree_is_known_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_folder(&source).unwrap();
        let facts = make(&source, &folder.path().join("x.tar.zst")).unwrap();
        assert!(facts.is_empty);
        assert_eq!(facts.content.to_string(), content_in_a_pod(&source));
    }
}
