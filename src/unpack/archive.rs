//! Detects the format of an archive, and unpacks it into a tree.

use std::fs::File;
use std::io::Seek as _;
use std::path::Path;

use rustix::fs::syncfs;
use tokio_util::sync::CancellationToken;

use super::decompress::{Compression, decompressed, read_up_to};
use super::write::{Sought, TreeWriter, Written};
use super::{Limits, Tree, UnpackError, cpio, deb, rpm, tarball};
use crate::digest::Sha256;
use crate::fs::FileError;
use crate::store::Store;

/// Unpacks the package or tarball `archive` into the empty directory `into`. Does not sync to disk: see
/// [`unpack_into_store`]. Blocks the thread.
pub fn unpack(archive: &Path, into: &Path, limits: &Limits) -> Result<Tree, UnpackError> {
    let stop = CancellationToken::new();
    let survey = |writer: &mut TreeWriter<'_>| write(archive, writer, limits, &stop);
    let mut writer = TreeWriter::new(into, limits, None, &survey)?;
    write(archive, &mut writer, limits, &stop)?;
    Ok(writer.finish()?.tree)
}

fn write(
    archive: &Path,
    writer: &mut TreeWriter<'_>,
    limits: &Limits,
    stop: &CancellationToken,
) -> Result<(), UnpackError> {
    let mut file = File::open(archive).map_err(FileError::of("read", archive))?;
    let mut head = [0; 512];
    let length = read_up_to(&mut file, &mut head).map_err(FileError::of("read", archive))?;
    let head = &head[..length];
    if head.starts_with(deb::MAGIC) {
        let (compression, content) = deb::content(file)?;
        decompressed(compression, content, limits, stop, |reader| {
            tarball::unpack(reader, writer, limits)
        })
    } else if head.starts_with(rpm::MAGIC) {
        let package = rpm::open(file)?;
        let (compression, payload) = package.payload()?;
        decompressed(compression, payload, limits, stop, |reader| {
            cpio::unpack(reader, || package.files(limits), writer, limits)
        })
    } else {
        let compression = Compression::of_tarball(head).ok_or(UnpackError::UnknownFormat)?;
        file.rewind().map_err(FileError::of("read", archive))?;
        decompressed(compression, file, limits, stop, |reader| {
            tarball::unpack(reader, writer, limits)
        })
    }
}

/// Returns the content of the first wanted file of a package or tarball, or `None` if it does not contain one. Does not
/// read past that file and writes nothing. Blocks the thread.
pub fn read_from_archive(
    archive: &Path,
    is_wanted: impl Fn(&[u8]) -> bool,
    limit_bytes: u64,
    limits: &Limits,
    stop: &CancellationToken,
) -> Result<Option<Vec<u8>>, UnpackError> {
    let sought = Sought {
        is_wanted: &is_wanted,
        limit_bytes,
        found: None,
    };
    let folder = archive.parent().unwrap_or(Path::new("/"));
    let mut writer = TreeWriter::for_search(folder, limits, sought)?;
    let ended = write(archive, &mut writer, limits, stop);
    match writer.found() {
        Some(found) => Ok(Some(found)),
        None => ended.map(|()| None),
    }
}

/// Reads a package or tarball to its end and verifies its checksums. Writes nothing. Blocks the thread.
pub fn check_archive(
    archive: &Path,
    limits: &Limits,
    stop: &CancellationToken,
) -> Result<(), UnpackError> {
    read_from_archive(archive, |_| false, 0, limits, stop).map(drop)
}

/// Unpacks a package or tarball of the store into a tree of the store. Shares files with other trees where possible.
/// Blocks the thread.
pub fn unpack_into_store(
    store: &Store,
    blob: Sha256,
    limits: &Limits,
) -> Result<Tree, UnpackError> {
    unpack_into_store_until(&CancellationToken::new(), store, blob, limits)
}

/// Like [`unpack_into_store`], but stops with [`UnpackError::Stopped`] when `stop` is cancelled, and then leaves
/// nothing behind.
pub fn unpack_into_store_until(
    stop: &CancellationToken,
    store: &Store,
    blob: Sha256,
    limits: &Limits,
) -> Result<Tree, UnpackError> {
    let work = store.temporary_folder()?;
    let folder = work.path().join("tree");
    crate::fs::create_folder(&folder)?;
    let shared = store.shared_files()?;
    let archive = store.blob_path(blob);
    let survey = |writer: &mut TreeWriter<'_>| write(&archive, writer, limits, stop);
    let mut writer = TreeWriter::new(&folder, limits, Some(&shared), &survey)?;
    write(&archive, &mut writer, limits, stop)?;
    let Written { tree, new_files } = writer.finish()?;
    if stop.is_cancelled() {
        // The sync below may take seconds.
        return Err(UnpackError::Stopped);
    }
    if !store.has_tree(tree.sha256) {
        // One sync for all files, before the tree gets its name: a tree with a name is complete. The same applies to
        // files that other trees will share.
        File::open(&folder)
            .and_then(|opened| Ok(syncfs(&opened)?))
            .map_err(FileError::of("write", &folder))?;
        for (path, file) in &new_files {
            shared.add(&folder.join(path), *file)?;
        }
        store.put_tree(&folder, tree.sha256)?;
    }
    Ok(tree)
}
