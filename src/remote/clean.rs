//! Merges packs, and removes unreferenced contents, concurrently with runs.
//!
//! A merged pack is written before the packs that it replaces are removed; a run that listed those before reads the
//! others and works without the removed ones. The pack that references a content may not be written yet. So an
//! unreferenced content is first recorded, and only removed by a later clean-up if it is still unreferenced after the
//! grace period.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::contents;
use super::keys::Trust;
use super::leases;
use super::pack::Writer;
use super::packs::{self, Index};
use super::settings::RemoteError;
use crate::bucket::{Bucket, BucketError, BucketFault, BucketSettings, PutOptions};
use crate::digest::Sha256;
use crate::fs::{self, blocking};

/// The object that records the unreferenced contents, and since when.
const UNNAMED: &str = "unnamed.json";

const LIMIT_BYTES: u64 = 1 << 30;

/// The result of a clean-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// The number of packs that were merged into one.
    pub merged: usize,
    /// The packs that are not trusted and stay, with the reason.
    pub refused: Vec<String>,
    /// The number of contents that no pack references.
    pub unnamed: usize,
    /// The number of these that were removed.
    pub removed: usize,
    /// The size of the removed contents in bytes.
    pub removed_bytes: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Unnamed {
    /// The contents, each with the time since when it has been unreferenced.
    since: BTreeMap<Sha256, Timestamp>,
}

/// Merges the packs of a bucket and removes contents that have been unreferenced for `grace`.
pub async fn clean(
    settings: &BucketSettings,
    trust: &Trust,
    cache: &Path,
    grace: Duration,
) -> Result<Cleaned, RemoteError> {
    let bucket = Bucket::open(settings)?;
    let folder = packs::folder_of(cache, &bucket);
    let created = folder.clone();
    blocking(move || fs::create_folder(&created)).await?;
    let mut cleaned = merge(&bucket, trust, &folder).await?;
    if !cleaned.refused.is_empty() {
        // Machines that trust these packs may need the contents that they reference.
        return Ok(cleaned);
    }
    let now = Timestamp::now();
    let mut stored = BTreeMap::new();
    for object in bucket.list(contents::FOLDER).await? {
        if let Some(content) = contents::of_name(&object.name) {
            stored.insert(content, object.size_bytes);
        }
    }
    // Packs are read after listing contents, so that every listed content that a run just sent is referenced.
    let found = packs::read_all(&bucket, trust, &folder).await?;
    let named: BTreeSet<Sha256> = found.index.contents().map(|(content, _)| content).collect();
    let known = bucket.get(UNNAMED, LIMIT_BYTES).await?;
    let known: Unnamed = known
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut unnamed = Unnamed::default();
    let mut gone = Vec::new();
    let is_over = |since: Timestamp| {
        let age = now.duration_since(since);
        Duration::try_from(age).is_ok_and(|age| age >= grace)
    };
    for (content, size_bytes) in stored {
        if named.contains(&content) {
            continue;
        }
        cleaned.unnamed += 1;
        match known.since.get(&content) {
            Some(&since) if is_over(since) => {
                gone.push(contents::name_of(content));
                cleaned.removed_bytes += size_bytes;
            }
            since => {
                unnamed.since.insert(content, since.copied().unwrap_or(now));
            }
        }
    }
    bucket.delete(gone.iter().map(String::as_str)).await?;
    cleaned.removed = gone.len();
    leases::sweep(&bucket).await?;
    let text = serde_json::to_vec(&unnamed).unwrap_or_default();
    bucket.put(UNNAMED, text, PutOptions::default()).await?;
    Ok(cleaned)
}

/// Merges all trusted packs into one.
pub(super) async fn merge(
    bucket: &Bucket,
    trust: &Trust,
    folder: &Path,
) -> Result<Cleaned, BucketError> {
    let found = packs::read_all(bucket, trust, folder).await?;
    let refused = found.refused.into_iter();
    let mut cleaned = Cleaned {
        refused: refused
            .map(|(name, why)| format!("{}: pack {name} is rejected: {why}", bucket.url()))
            .collect(),
        ..Cleaned::default()
    };
    let Some(last) = found.names.last().filter(|_| found.names.len() > 1) else {
        return Ok(cleaned);
    };
    let failed = |error: std::io::Error| {
        BucketError::new(BucketFault::Files, bucket.url(), error.to_string())
    };
    let pack = merged(&found.index, trust).map_err(failed)?;
    // As old as the newest of them, so that later packs have precedence.
    let made = last
        .rsplit_once('-')
        .map_or(last.as_str(), |(made, _)| made);
    let name = packs::name_of(made, &pack);
    let object = |name: &String| format!("{}/{name}", packs::FOLDER);
    bucket
        .put(&object(&name), pack, PutOptions::default())
        .await?;
    let old: Vec<String> = found
        .names
        .iter()
        .filter(|old| **old != name)
        .map(object)
        .collect();
    bucket.delete(old.iter().map(String::as_str)).await?;
    cleaned.merged = old.len();
    Ok(cleaned)
}

fn merged(index: &Index, trust: &Trust) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new()?;
    let mut result = Ok(());
    index.each_outcome(|key, text| {
        if result.is_ok() {
            result = writer.outcome(key, text);
        }
    });
    index.each_record(|url, text| {
        if result.is_ok() {
            result = writer.record(url, text);
        }
    });
    result?;
    let mut contents: Vec<(Sha256, u64)> = index.contents().collect();
    contents.sort_unstable();
    for (content, size_bytes) in contents {
        writer.content(content, size_bytes)?;
    }
    writer.finish(trust)
}
