//! Trees that need a job: uploaded as one compressed archive, found by a record of the tree's digest.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::contents;
use crate::bucket::{Bucket, BucketError, BucketFault};
use crate::digest::{HashingWriter, Sha256};
use crate::fs::{FileError, PendingFile, blocking};
use crate::store::Store;

/// Compresses header trees to a fifth, faster than a network can send them.
const LEVEL: i32 = 3;

/// Returns the name of the record that has the content a tree is packed in.
pub(super) fn record_of(tree: Sha256) -> String {
    format!("tree://{tree}")
}

/// Packs a tree and uploads it, unless the bucket already has it; returns the digest and size of the content.
pub(super) async fn send(
    bucket: &Bucket,
    tree: Sha256,
    store: &Arc<Store>,
) -> Result<(Sha256, u64), BucketError> {
    let failed =
        |error: FileError| BucketError::new(BucketFault::Files, bucket.url(), error.to_string());
    let store = Arc::clone(store);
    let packed = blocking(move || -> Result<_, FileError> {
        let folder = store.temporary_folder()?;
        let path = folder.path().join("tree.tar.zst");
        Ok((pack(&store.tree_path(tree), &path)?, path, folder))
    });
    let ((content, size_bytes), path, _folder) = packed.await.map_err(failed)?;
    contents::send(bucket, content, &path).await?;
    Ok((content, size_bytes))
}

/// Packs a tree reproducibly; returns the digest and size of the archive.
fn pack(root: &Path, path: &Path) -> Result<(Sha256, u64), FileError> {
    let wrote = |error| FileError::of("write", path)(error);
    let pending = HashingWriter::new(PendingFile::create(path)?);
    let compressed = zstd::Encoder::new(pending, LEVEL).map_err(wrote)?;
    let mut builder = tar::Builder::new(compressed);
    builder.mode(tar::HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    for entry in entries {
        let read = |error: io::Error| FileError::of("read", root)(error);
        let entry = entry.map_err(|error| read(error.into()))?;
        let inside = entry.path().strip_prefix(root);
        let inside = inside.map_err(|error| read(io::Error::other(error)))?;
        let appended = builder.append_path_with_name(entry.path(), inside);
        appended.map_err(FileError::of("read", entry.path()))?;
    }
    let compressed = builder.into_inner().map_err(wrote)?;
    let (sha256, size_bytes, pending) = compressed.finish().map_err(wrote)?.finish();
    pending.keep()?;
    Ok((sha256, size_bytes))
}
