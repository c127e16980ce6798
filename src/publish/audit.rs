//! Compares a destination with its index and with manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::destination::{Destination, ReadIndex, plain_etag};
use super::error::PublishError;
use super::index::{Entry, Index};
use super::item::Item;
use super::layout::{LOGS, is_own, log_key};
use super::options::{PublishOptions, PublishReport, Row};
use super::upload::Uploads;
use crate::bucket::Object;
use crate::digest::Sha256;
use crate::report::ATTESTATION_SUFFIX;

/// The number of objects that are requested concurrently.
const AT_ONCE: usize = 16;

/// The kind of a problem with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The index has it, but the destination does not.
    Missing,
    /// The object differs from the index.
    Different,
    /// A manifest has it, but the index does not, or has another content.
    Unpublished,
    /// The destination has it, but the index does not.
    Foreign,
    /// A log without an artifact.
    OrphanedLog,
    /// An attestation that the index does not list.
    OrphanedAttestation,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Unpublished => "unpublished",
            Self::Foreign => "foreign",
            Self::OrphanedLog => "orphaned-log",
            Self::OrphanedAttestation => "orphaned-attestation",
        })
    }
}

/// A problem that an audit found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The kind of the problem.
    pub kind: FindingKind,
    /// The name below the destination.
    pub key: String,
    /// Details for a person.
    pub detail: String,
}

/// The result of an audit.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The problems, by kind and name.
    pub findings: Vec<Finding>,
    /// The number of artifacts without problems.
    pub good: usize,
}

/// Compares the destination with its index and with the artifacts of manifests. With `reads_contents`, every object
/// is downloaded; otherwise only those whose version differs from the index are requested.
pub async fn audit(
    destination: &Destination,
    items: &[Item],
    reads_contents: bool,
) -> Result<Audit, PublishError> {
    let read = destination.read_index().await?;
    let listed = destination.listed("").await?;
    examine(destination, &read, &listed, items, reads_contents).await
}

async fn examine(
    destination: &Destination,
    read: &ReadIndex,
    listed: &BTreeMap<String, Object>,
    items: &[Item],
    reads_contents: bool,
) -> Result<Audit, PublishError> {
    let empty = Index::new(Timestamp::UNIX_EPOCH);
    let index = read.index.as_ref().unwrap_or(&empty);
    let mut findings = Vec::new();
    let mut add = |kind, key: &str, detail: String| findings.push(finding(kind, key, detail));
    let mut doubtful: Vec<(&str, Sha256)> = Vec::new();
    let artifacts = index.artifacts.values();
    let artifacts = artifacts.map(|one| (one.key.as_str(), one.sha256, one.size_bytes, &one.etag));
    let attestations = index.attestations().into_values();
    let attestations =
        attestations.map(|one| (one.name.as_str(), one.sha256, one.size_bytes, &one.etag));
    for (key, sha256, size_bytes, etag) in artifacts.chain(attestations) {
        let Some(object) = listed.get(key) else {
            add(FindingKind::Missing, key, "does not exist".to_owned());
            continue;
        };
        let is_same_version = etag.is_some() && *etag == plain_etag(&object.version);
        if object.size_bytes != size_bytes {
            let detail = format!("{} bytes instead of {size_bytes}", object.size_bytes);
            add(FindingKind::Different, key, detail);
        } else if reads_contents || !is_same_version {
            doubtful.push((key, sha256));
        }
    }
    let derived = index.files.iter();
    for (name, sha256) in derived {
        if listed.contains_key(name) {
            doubtful.push((name, *sha256));
        } else {
            add(FindingKind::Missing, name, "does not exist".to_owned());
        }
    }
    let mut answers = futures_util::stream::iter(doubtful)
        .map(async |(key, expected)| {
            let is_derived = index.files.contains_key(key);
            let found = if reads_contents || is_derived {
                destination.content_digest(key).await?
            } else {
                let existing = destination.existing(key).await?;
                existing.and_then(|existing| existing.sha256)
            };
            Ok::<_, PublishError>((key, expected, found))
        })
        .buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let (key, expected, found) = answer?;
        if found != Some(expected) {
            let found = found.map_or("none".to_owned(), |found| found.short());
            let detail = format!("digest {found} instead of {}", expected.short());
            add(FindingKind::Different, key, detail);
        }
    }
    findings.extend(strangers(index, listed));
    findings.extend(unpublished(index, items));
    findings.sort();
    let is_bad = |kind| matches!(kind, FindingKind::Missing | FindingKind::Different);
    let bad: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| is_bad(finding.kind))
        .map(|finding| finding.key.as_str())
        .collect();
    let good = index.artifacts.keys();
    let good = good.filter(|key| !bad.contains(key.as_str())).count();
    Ok(Audit { findings, good })
}

/// Returns the objects that the index does not have.
fn strangers(index: &Index, listed: &BTreeMap<String, Object>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |kind, key: &str, detail: String| findings.push(finding(kind, key, detail));
    let attestations = index.attestations();
    for name in listed.keys() {
        let log_of = name
            .strip_prefix(LOGS)
            .and_then(|name| name.strip_prefix('/')?.strip_suffix(".log.zst"));
        if let Some(key) = log_of {
            if !index.artifacts.contains_key(key) {
                let detail = format!("the index has no {key}");
                add(FindingKind::OrphanedLog, name, detail);
            }
        } else if !is_own(name) && name.ends_with(ATTESTATION_SUFFIX) {
            if !attestations.contains_key(name.as_str()) {
                let detail = "not in the index".to_owned();
                add(FindingKind::OrphanedAttestation, name, detail);
            }
        } else if !is_own(name) && !index.artifacts.contains_key(name) {
            add(FindingKind::Foreign, name, "not in the index".to_owned());
        }
    }
    findings
}

/// Returns the artifacts of manifests that the index does not have.
fn unpublished(index: &Index, items: &[Item]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for item in items {
        let key = &item.entry.key;
        let detail = match index.artifacts.get(key) {
            Some(entry) if entry.sha256 == item.entry.sha256 => continue,
            Some(entry) => {
                let (old, new) = (entry.sha256.short(), item.entry.sha256.short());
                format!("digest {old} is published, {new} is built")
            }
            None => "built".to_owned(),
        };
        findings.push(finding(FindingKind::Unpublished, key, detail));
    }
    findings
}

/// Returns the key of the artifact that a finding is about.
fn artifact_of(key: &str) -> &str {
    key.strip_suffix(ATTESTATION_SUFFIX).unwrap_or(key)
}

fn finding(kind: FindingKind, key: &str, detail: String) -> Finding {
    Finding {
        kind,
        key: key.to_owned(),
        detail,
    }
}

/// Repairs what an audit finds: uploads missing, different and unpublished artifacts of manifests, removes entries
/// without an object from the index, removes orphaned logs and attestations, and writes the files derived from the
/// index. Foreign objects stay.
pub async fn repair(
    destination: &Destination,
    items: &[Item],
    options: &PublishOptions,
    now: Timestamp,
) -> Result<PublishReport, PublishError> {
    let _turn = destination.turn().await?;
    let read = destination.read_index().await?;
    let listed = destination.listed("").await?;
    let audit = examine(destination, &read, &listed, items, false).await?;
    let by_key: BTreeMap<&str, &Item> = items
        .iter()
        .map(|item| (item.entry.key.as_str(), item))
        .collect();
    let of_kind = |kinds: &[FindingKind]| -> BTreeSet<String> {
        let found = audit
            .findings
            .iter()
            .filter(|finding| kinds.contains(&finding.kind));
        found.map(|finding| finding.key.clone()).collect()
    };
    let broken = of_kind(&[FindingKind::Missing, FindingKind::Different]);
    let wanted = of_kind(&[
        FindingKind::Missing,
        FindingKind::Different,
        FindingKind::Unpublished,
    ]);
    // A repair may replace foreign objects under the names of the index or a manifest.
    let options = PublishOptions {
        replace_foreign: true,
        skip_published: false,
        ..options.clone()
    };
    let uploads = Uploads::new(destination, &options, &read, Some(listed));
    // An attestation is uploaded with its artifact.
    let wanted: BTreeSet<&str> = wanted.iter().map(|key| artifact_of(key)).collect();
    let items = wanted.iter().filter_map(|key| by_key.get(key));
    let done: Vec<_> = futures_util::stream::iter(items)
        .map(|item| uploads.upload(item))
        .buffer_unordered(options.uploads.max(1))
        .collect()
        .await;
    let (mended, failed): (Vec<_>, Vec<_>) =
        done.into_iter().partition(|(state, _)| !state.is_failed());
    let lost: Vec<&String> = broken
        .iter()
        .filter(|key| !by_key.contains_key(key.as_str()))
        .collect();
    let logs = of_kind(&[FindingKind::OrphanedLog, FindingKind::OrphanedAttestation]);
    let has_attestation = |entry: &Entry| {
        let own = entry.alias_of.as_ref().unwrap_or(&entry.key);
        let item = by_key.get(own.as_str());
        item.is_some_and(|item| item.entry.attestation.is_some())
    };
    destination
        .bucket
        .delete(logs.iter().map(String::as_str))
        .await?;
    let index = destination
        .change_index(read, now, options.public_url.as_deref(), |index| {
            index.files.retain(|name, _| !broken.contains(name));
            for key in &lost {
                index.artifacts.remove(*key);
            }
            for (_, entry) in &mended {
                index.artifacts.insert(entry.key.clone(), entry.clone());
            }
            // Entries no longer list attestations and logs that were removed or are unavailable.
            for entry in index.artifacts.values_mut() {
                let name = entry.attestation.as_ref().map(|one| &one.name);
                if name.is_some_and(|name| broken.contains(name)) && !has_attestation(entry) {
                    entry.attestation = None;
                }
                if logs.contains(&log_key(&entry.key)) {
                    entry.log = None;
                }
            }
        })
        .await?;
    let mut rows: Vec<Row> = mended
        .iter()
        .chain(&failed)
        .map(|(state, entry)| Row {
            key: entry.key.clone(),
            sha256: entry.sha256,
            state: state.clone(),
        })
        .collect();
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    Ok(PublishReport { rows, index })
}
