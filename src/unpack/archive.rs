//! What a file is, and the tree that it gives.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;

use rustix::fs::syncfs;

use super::decompress::{Compression, decompress};
use super::write::TreeWriter;
use super::{Limits, Tree, UnpackError, cpio, deb, rpm, tarball};
use crate::digest::Sha256;
use crate::fs::FileError;
use crate::store::Store;

/// Unpacks the package or tarball `archive` into the empty folder `into`. Nothing is made durable: see
/// [`unpack_into_store`]. Blocks the thread.
pub fn unpack(archive: &Path, into: &Path, limits: &Limits) -> Result<Tree, UnpackError> {
    let mut file = File::open(archive).map_err(FileError::of("read", archive))?;
    let mut head = [0; 512];
    let length = read_up_to(&mut file, &mut head).map_err(FileError::of("read", archive))?;
    let head = &head[..length];
    let mut writer = TreeWriter::new(into, limits)?;
    if head.starts_with(deb::MAGIC) {
        let (compression, content) = deb::content(file)?;
        within_limits(compression, content, limits, |reader| {
            tarball::unpack(reader, &mut writer, limits)
        })?;
    } else if head.starts_with(rpm::MAGIC) {
        let package = rpm::open(file)?;
        let (compression, payload) = package.payload()?;
        within_limits(compression, payload, limits, |reader| {
            cpio::unpack(reader, || package.files(limits), &mut writer, limits)
        })?;
    } else {
        let compression = Compression::of_tarball(head).ok_or(UnpackError::UnknownFormat)?;
        file.rewind().map_err(FileError::of("read", archive))?;
        within_limits(compression, file, limits, |reader| {
            tarball::unpack(reader, &mut writer, limits)
        })?;
    }
    writer.finish()
}

/// Unpacks a package or tarball of the store into a tree of the store. Blocks the thread.
pub fn unpack_into_store(
    store: &Store,
    blob: Sha256,
    limits: &Limits,
) -> Result<Tree, UnpackError> {
    let work = store.temporary_folder()?;
    let folder = work.path().join("tree");
    crate::fs::create_folder(&folder)?;
    let tree = unpack(&store.blob_path(blob), &folder, limits)?;
    if !store.has_tree(tree.sha256) {
        // Once for all files, before the tree gets its name: a tree that has one is whole.
        File::open(&folder)
            .and_then(|opened| Ok(syncfs(&opened)?))
            .map_err(FileError::of("write", &folder))?;
        store.put_tree(&folder, tree.sha256)?;
    }
    Ok(tree)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Hands what is in `compressed` to `unpack`, which reads it to its end.
fn within_limits(
    compression: Compression,
    compressed: impl Read + 'static,
    limits: &Limits,
    unpack: impl FnOnce(&mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let (mut reader, exceeded) = decompress(compression, compressed, *limits)?;
    let result = unpack(&mut reader);
    // A limit reaches the reader of the archive as an error of the data: tell it by its own name.
    match exceeded.take() {
        Some(error) if result.is_err() => Err(error),
        _ => result,
    }
}
