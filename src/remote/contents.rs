//! Objects named by the digest of their content.

use std::path::Path;
use std::sync::Arc;

use crate::bucket::{Bucket, BucketError, BucketFault, PutMode};
use crate::digest::{HashingWriter, Sha256};
use crate::fs::{FileError, PendingFile, blocking};
use crate::store::Store;

/// The prefix of contents in a bucket.
pub(super) const FOLDER: &str = "contents";

/// The maximum size of a content, larger than any package of a distribution.
const LIMIT_BYTES: u64 = 8 << 30;

/// Returns the name of a content's object.
pub(super) fn name_of(content: Sha256) -> String {
    let digest = content.to_string();
    format!("{FOLDER}/{}/{digest}", &digest[..2])
}

/// Returns the digest in an object's name; `None` if it is not the name of a content.
pub(super) fn of_name(name: &str) -> Option<Sha256> {
    let digest: Sha256 = name.rsplit('/').next()?.parse().ok()?;
    (name == name_of(digest)).then_some(digest)
}

/// Uploads a file, unless the bucket already has it.
pub(super) async fn send(bucket: &Bucket, content: Sha256, path: &Path) -> Result<(), BucketError> {
    let name = name_of(content);
    bucket
        .put_file(&name, path, PutMode::Create.into())
        .await
        .map(drop)
}

/// Downloads a content into a store; returns false if the bucket does not have it.
pub(super) async fn fetch(
    bucket: &Bucket,
    content: Sha256,
    store: &Arc<Store>,
) -> Result<bool, BucketError> {
    let of_file =
        |error: FileError| BucketError::new(BucketFault::Files, bucket.url(), error.to_string());
    let of_folder = Arc::clone(store);
    let created = blocking(move || -> Result<_, FileError> {
        let folder = of_folder.temporary_folder()?;
        Ok((PendingFile::create(&folder.path().join("content"))?, folder))
    });
    let (file, _folder) = created.await.map_err(of_file)?;
    let mut writer = HashingWriter::new(file);
    let name = name_of(content);
    if !bucket.get_to(&name, LIMIT_BYTES, &mut writer).await? {
        return Ok(false);
    }
    let (found, _, file) = writer.finish();
    if found != content {
        let message = format!(
            "{}: {name} is rejected: its content has SHA-256 {found}, which differs from its name",
            bucket.url()
        );
        return Err(BucketError::new(
            BucketFault::Damaged,
            bucket.url(),
            message,
        ));
    }
    let path = store.blob_path(content);
    let kept = blocking(move || file.keep_as(&path)).await;
    kept.map_err(of_file)?;
    Ok(true)
}
