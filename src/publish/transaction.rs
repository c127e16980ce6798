//! A publication: uploads, verification, and replacement of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::destination::{Destination, ReadIndex, plain_etag};
use super::error::PublishError;
use super::index::{Entry, Index};
use super::item::{Item, Night};
use super::kept::keep_manifests;
use super::options::{PublishOptions, PublishReport, Row, RowState};
use super::upload::{AGAIN, Uploads};
use crate::bucket::{BucketFault, Object};

/// Publishes artifacts and the manifests of their runs. A failed upload only fails its row; other failures are errors.
pub async fn publish(
    destination: &Destination,
    nights: &[Night],
    items: &[Item],
    options: &PublishOptions,
    now: Timestamp,
) -> Result<PublishReport, PublishError> {
    let _turn = destination.turn().await?;
    let read = destination.read_index().await?;
    let (unchanged, changed): (Vec<&Item>, Vec<&Item>) = items
        .iter()
        .partition(|item| is_unchanged(&read, item, options));
    let prefixes: BTreeSet<&str> = changed.iter().filter_map(|item| prefix_of(item)).collect();
    let listed = list(destination, &prefixes).await?;
    let uploads = Uploads::new(destination, options, &read, listed);
    let mut done: Vec<(RowState, Entry)> = futures_util::stream::iter(changed)
        .map(|item| uploads.upload(item))
        .buffer_unordered(options.uploads.max(1))
        .collect()
        .await;
    let can_list = uploads.listed.is_some();
    let is_over = uploads.is_over.load(Ordering::Relaxed);
    read_back(destination, &mut done, can_list).await?;
    let is_there = |state: &RowState| matches!(state, RowState::Published | RowState::Found);
    let mut rows: Vec<Row> = done
        .iter()
        .map(|(state, entry)| row(entry, state))
        .collect();
    rows.extend(
        unchanged
            .iter()
            .map(|item| row(&item.entry, &RowState::Unchanged)),
    );
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    if is_over && !done.iter().any(|(state, _)| is_there(state)) {
        // Nothing was uploaded, and the destination would reject a new index.
        let index = read.index.unwrap_or_else(|| Index::new(now));
        return Ok(PublishReport { rows, index });
    }
    let attestations = read.index.iter().flat_map(Index::attestations);
    let attestations: BTreeSet<String> = attestations.map(|(name, _)| name.to_owned()).collect();
    let kept = read.index.as_ref().map(|index| &index.manifests);
    let manifests = keep_manifests(destination, nights, kept).await?;
    let index = destination
        .change_index(read, now, options.public_url.as_deref(), |index| {
            index.manifests.extend(manifests.clone());
            for item in &unchanged {
                if let Some(entry) = index.artifacts.get_mut(&item.entry.key) {
                    entry.last_seen = entry.last_seen.max(item.entry.last_seen);
                }
            }
            for (state, entry) in &done {
                if is_there(state) {
                    index.artifacts.insert(entry.key.clone(), entry.clone());
                }
            }
        })
        .await?;
    // Attestations of contents that were replaced by others without one.
    let named = index.attestations();
    let old = attestations.iter().map(String::as_str);
    let old = old.filter(|name| !named.contains_key(name));
    destination.bucket.delete(old).await?;
    Ok(PublishReport { rows, index })
}

fn row(entry: &Entry, state: &RowState) -> Row {
    Row {
        key: entry.key.clone(),
        sha256: entry.sha256,
        state: state.clone(),
    }
}

fn is_unchanged(read: &ReadIndex, item: &Item, options: &PublishOptions) -> bool {
    let Some(known) = read.entry(&item.entry.key) else {
        return false;
    };
    let has_log = known.log.is_some() || item.log.is_none() || item.entry.alias_of.is_some();
    let is_attested = item.entry.attestation.as_ref().is_none_or(|wanted| {
        let known = known.attestation.as_ref();
        known.is_some_and(|known| known.name == wanted.name && known.sha256 == wanted.sha256)
    });
    is_attested
        && known.sha256 == item.entry.sha256
        && known.is_same_artifact(&item.entry)
        && (has_log || !options.with_logs)
}

/// Returns the directory of a key.
fn prefix_of(item: &Item) -> Option<&str> {
    Some(item.entry.key.rsplit_once('/')?.0)
}

/// Lists the objects below some directories, with one listing for each; returns `None` if listing is forbidden.
async fn list(
    destination: &Destination,
    prefixes: &BTreeSet<&str>,
) -> Result<Option<BTreeMap<String, Object>>, PublishError> {
    let mut all = BTreeMap::new();
    for prefix in prefixes {
        match destination.listed(prefix).await {
            Ok(listed) => all.extend(listed),
            Err(PublishError::Bucket(error)) if error.fault == BucketFault::ListForbidden => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(all))
}

/// Compares the objects of the destination with the uploads: the size, and the `ETag`, which changes with every write.
/// The server itself has compared the content with the digest in the signed request.
async fn read_back(
    destination: &Destination,
    done: &mut [(RowState, Entry)],
    can_list: bool,
) -> Result<(), PublishError> {
    let is_new = |state: &RowState| *state == RowState::Published;
    let uploaded = done.iter().filter(|(state, _)| is_new(state));
    let prefixes: BTreeSet<String> = uploaded
        .filter_map(|(_, entry)| Some(entry.key.rsplit_once('/')?.0.to_owned()))
        .collect();
    let prefixes = prefixes.iter().map(String::as_str).collect();
    let listed = if can_list {
        list(destination, &prefixes).await?
    } else {
        None
    };
    for (state, entry) in done.iter_mut().filter(|(state, _)| is_new(state)) {
        let found = match &listed {
            Some(listed) => listed.get(&entry.key).cloned(),
            None => destination.bucket.head(&entry.key).await?,
        };
        let digest = if destination.bucket.is_directory() {
            destination.content_digest(&entry.key).await?
        } else {
            Some(entry.sha256)
        };
        let Some(found) = found else {
            *state = RowState::failed(
                BucketFault::Damaged,
                "the object does not exist after the upload",
            )
            .with_help(AGAIN);
            continue;
        };
        let etag = plain_etag(&found.version);
        if found.size_bytes != entry.size_bytes {
            *state = RowState::failed(
                BucketFault::Damaged,
                format!(
                    "the object has {} bytes after the upload of {}",
                    found.size_bytes, entry.size_bytes
                ),
            )
            .with_help(AGAIN);
        } else if digest != Some(entry.sha256)
            || (etag.is_some() && entry.etag.is_some() && etag != entry.etag)
        {
            *state = RowState::failed(
                BucketFault::Changed,
                "the object has changed since the upload",
            )
            .with_help(AGAIN);
        }
    }
    Ok(())
}
