//! Leases that are of no use any more.

use std::time::Duration;

use jiff::Timestamp;

use super::FOLDER;
use crate::bucket::{Bucket, BucketError};

/// How old the last trace of a step is that goes: its outcome is in a pack long since.
const KEPT: Duration = Duration::from_hours(24);

/// Removes what was done or given up long ago.
pub(in crate::remote) async fn sweep(bucket: &Bucket) -> Result<(), BucketError> {
    let now = Timestamp::now();
    let objects = bucket.list(FOLDER).await?.into_iter();
    let old = objects.filter(|object| {
        let age = now.duration_since(object.modified);
        Duration::try_from(age).is_ok_and(|age| age >= KEPT)
    });
    let old: Vec<String> = old.map(|object| object.name).collect();
    bucket.delete(old.iter().map(String::as_str)).await
}
