//! Removes obsolete leases.

use std::time::Duration;

use jiff::Timestamp;

use super::FOLDER;
use crate::bucket::{Bucket, BucketError};

/// The age of obsolete objects: by then, the outcome has long been in a pack.
const KEPT: Duration = Duration::from_hours(24);

/// Removes objects of steps that were finished or released long ago.
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
