//! Removes artifacts that are no longer needed: by rule, planned first, with an undo.
//!
//! A removed artifact is moved below `.driverkit-matrix/pruned/<time>/`, beside a list of its index entries, and
//! stays there for some days.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::destination::{Destination, plain_etag};
use super::error::PublishError;
use super::index::{Entry, Index};
use super::layout::STATE;
use crate::bucket::PutMode;
use crate::driver::DriverVersion;
use crate::fs::FileError;
use crate::kernel::{Architecture, TargetId};
use crate::text::count;

/// The maximum size of a list of removed artifacts.
const LIST_BYTES: u64 = 1 << 30;

/// The beginning of this program's user agent in access logs.
const OWN_AGENT: &str = "driverkit-matrix/";

/// The rules of a removal.
#[derive(Clone, Debug, Default)]
pub struct PruneRules {
    /// The supported driver versions; artifacts of all others are removed. If empty, all versions are supported.
    pub keep_drivers: Vec<DriverVersion>,
    /// The number of newest versions that are supported.
    pub newest_drivers: Option<usize>,
    /// Remove kernels that no published run of their target, architecture and driver version has had for more than
    /// this many days.
    pub gone_days: Option<u32>,
}

impl PruneRules {
    /// Returns true if the rules never remove anything.
    pub fn is_empty(&self) -> bool {
        self.keep_drivers.is_empty() && self.newest_drivers.is_none() && self.gone_days.is_none()
    }
}

/// The names that loaders have requested.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    keys: BTreeSet<String>,
}

impl AccessLog {
    /// Adds the lines of a log from S3, a CDN or a web server. A name counts as requested if a line of any format
    /// contains it, escaped or not, unless the request came from this program.
    pub fn add(&mut self, text: &str, index: &Index) {
        for line in text.lines().filter(|line| !line.contains(OWN_AGENT)) {
            let words = line.split(|found: char| found.is_whitespace() || "\"',".contains(found));
            for word in words.filter(|word| word.contains(".ko") || word.contains(".o")) {
                if let Some(key) = key_in(word, index) {
                    self.keys.insert(key);
                }
            }
        }
    }

    /// Returns the number of requested names.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if no name was requested.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Returns the key at the end of a path or URL. S3 escapes keys in its logs twice.
fn key_in(word: &str, index: &Index) -> Option<String> {
    let mut text = word.split(['?', '#']).next()?.to_owned();
    for _ in 0..3 {
        let parts: Vec<&str> = text.rsplitn(4, '/').collect();
        if let [name, machine, driver, ..] = parts[..] {
            let key = format!("{driver}/{machine}/{name}");
            if index.artifacts.contains_key(&key) {
                return Some(key);
            }
        }
        text = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
    }
    None
}

/// The artifacts to remove, and those that only the access log keeps.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrunePlan {
    /// The keys to remove, with the reason.
    pub remove: BTreeMap<String, String>,
    /// Keys that the rules would remove but that were requested.
    pub asked_for: BTreeSet<String>,
    /// The total number of artifacts.
    pub total: usize,
}

impl PrunePlan {
    /// Returns the share of all artifacts that would be removed, in percent.
    pub fn percent(&self) -> usize {
        (self.remove.len() * 100)
            .checked_div(self.total)
            .unwrap_or(0)
    }
}

/// Applies rules to an index.
pub fn plan_prune(index: &Index, rules: &PruneRules, asked_for: &AccessLog) -> PrunePlan {
    let mut versions: Vec<&DriverVersion> = index
        .artifacts
        .values()
        .map(|entry| &entry.driver_version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let newest = rules.newest_drivers.unwrap_or(versions.len());
    let newest = &versions[versions.len().saturating_sub(newest)..];
    let is_supported = |version: &DriverVersion| {
        newest.contains(&version)
            && (rules.keep_drivers.is_empty() || rules.keep_drivers.contains(version))
    };
    // A kernel is gone only in comparison with newer runs of the same group.
    let mut last_runs: BTreeMap<(&TargetId, Architecture, &DriverVersion), Date> = BTreeMap::new();
    for entry in index.artifacts.values() {
        let last = last_runs.entry(group(entry)).or_insert(entry.last_seen);
        *last = entry.last_seen.max(*last);
    }
    let mut plan = PrunePlan {
        total: index.artifacts.len(),
        ..PrunePlan::default()
    };
    for (key, entry) in &index.artifacts {
        let gone_days = last_runs.get(&group(entry)).and_then(|last| {
            let days = last.since(entry.last_seen).ok()?.get_days();
            u32::try_from(days).ok()
        });
        let reason = if !is_supported(&entry.driver_version) {
            format!("driver {} is not supported", entry.driver_version)
        } else if let Some(days) = gone_days
            && rules.gone_days.is_some_and(|limit| days > limit)
        {
            format!(
                "the kernel has been gone for {}",
                count(usize::try_from(days).unwrap_or(usize::MAX), "day")
            )
        } else {
            continue;
        };
        if asked_for.keys.contains(key) {
            plan.asked_for.insert(key.clone());
        } else {
            plan.remove.insert(key.clone(), reason);
        }
    }
    plan
}

fn group(entry: &Entry) -> (&TargetId, Architecture, &DriverVersion) {
    (&entry.target, entry.architecture, &entry.driver_version)
}

/// The list of artifacts that were removed together.
#[derive(Debug, Serialize, Deserialize)]
struct UndoList {
    schema: u32,
    removed_at: Timestamp,
    artifacts: Vec<Entry>,
}

/// The result of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The name for undoing the removal.
    pub id: String,
    /// The number of removed artifacts.
    pub removed: usize,
    /// The number of earlier removals that can no longer be undone.
    pub forgotten: usize,
}

fn folder() -> String {
    format!("{STATE}/pruned")
}

/// Removes the artifacts of a plan: from the index first, so that no reader of the index finds a missing object.
/// Removals older than `undo_days` are deleted permanently.
pub async fn apply_prune(
    destination: &Destination,
    plan: &PrunePlan,
    undo_days: u32,
    public_url: Option<&str>,
    now: Timestamp,
) -> Result<Pruned, PublishError> {
    let _turn = destination.turn().await?;
    let read = destination.read_index().await?;
    let keys: Vec<&String> = plan
        .remove
        .keys()
        .filter(|key| read.entry(key).is_some())
        .collect();
    let artifacts: Vec<Entry> = keys
        .iter()
        .filter_map(|key| read.entry(key).cloned())
        .collect();
    let id = now.strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
    let list = UndoList {
        schema: 1,
        removed_at: now,
        artifacts,
    };
    // The list is written first, so that an interrupted removal can be undone.
    write_list(destination, &id, &list).await?;
    let index = destination
        .change_index(read, now, public_url, |index| {
            for key in &keys {
                index.artifacts.remove(*key);
            }
        })
        .await?;
    // An attestation stays if another name of the artifact stays.
    let attestations = index.attestations();
    for entry in &list.artifacts {
        let attestation = entry.attestation.as_ref().map(|one| &one.name);
        let attestation = attestation.filter(|name| !attestations.contains_key(name.as_str()));
        let names = std::iter::once(&entry.key).chain(&entry.log);
        for name in names.chain(attestation) {
            let kept = format!("{}/{id}/{name}", folder());
            destination.bucket.move_to(name, &kept).await?;
        }
    }
    let forgotten = forget(destination, undo_days, now).await?;
    Ok(Pruned {
        id,
        removed: list.artifacts.len(),
        forgotten,
    })
}

async fn write_list(
    destination: &Destination,
    id: &str,
    list: &UndoList,
) -> Result<(), PublishError> {
    let text = serde_json::to_vec(list)
        .map_err(|error| FileError::of("encode", "undo list")(error.into()))?;
    let name = format!("{}/{id}.json", folder());
    destination
        .bucket
        .put(&name, text, PutMode::Overwrite.into())
        .await?;
    Ok(())
}

/// Permanently deletes old removals.
async fn forget(
    destination: &Destination,
    undo_days: u32,
    now: Timestamp,
) -> Result<usize, PublishError> {
    let objects = destination.listed(&folder()).await?;
    let oldest = now.checked_sub((i64::from(undo_days) * 24).hours());
    let oldest = oldest.unwrap_or(Timestamp::MIN);
    let oldest = oldest.strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
    let id_of = |name: &str| -> Option<String> {
        let rest = name.strip_prefix(&folder())?.strip_prefix('/')?;
        let id = rest.split('/').next()?;
        Some(id.trim_end_matches(".json").to_owned())
    };
    let old: Vec<&str> = objects
        .keys()
        .filter(|name| id_of(name).is_some_and(|id| id < oldest))
        .map(String::as_str)
        .collect();
    let ids: BTreeSet<Option<String>> = old.iter().map(|name| id_of(name)).collect();
    let count = ids.len();
    destination.bucket.delete(old).await?;
    Ok(count)
}

/// Restores the artifacts of a removal whose names are still free. Returns the number of restored artifacts.
pub async fn undo_prune(
    destination: &Destination,
    id: &str,
    public_url: Option<&str>,
    now: Timestamp,
) -> Result<usize, PublishError> {
    let _turn = destination.turn().await?;
    let list = destination
        .bucket
        .get(&format!("{}/{id}.json", folder()), LIST_BYTES)
        .await?;
    let refused = |message: String| PublishError::Refused {
        message,
        help: "use the name that `prune` printed; removals can be undone for --undo-days days"
            .to_owned(),
    };
    let url = destination.bucket.url();
    let Some(list) = list else {
        return Err(refused(format!("{url}: removal `{id}` does not exist")));
    };
    let list: UndoList = serde_json::from_slice(&list)
        .map_err(|error| refused(format!("{url}: the list of `{id}` is invalid: {error}")))?;
    let read = destination.read_index().await?;
    let mut back = Vec::new();
    for entry in list.artifacts {
        if read.entry(&entry.key).is_some() {
            continue;
        }
        let attestation = entry.attestation.as_ref().map(|one| &one.name);
        let names = std::iter::once(&entry.key).chain(&entry.log);
        for name in names.chain(attestation) {
            let kept = format!("{}/{id}/{name}", folder());
            destination.bucket.move_to(&kept, name).await?;
        }
        if let Some(existing) = destination.existing(&entry.key).await?
            && existing.size_bytes == entry.size_bytes
        {
            back.push(Entry {
                etag: plain_etag(&existing.version),
                ..entry
            });
        }
    }
    destination
        .change_index(read, now, public_url, |index| {
            for entry in &back {
                index.artifacts.insert(entry.key.clone(), entry.clone());
            }
        })
        .await?;
    destination
        .bucket
        .delete([format!("{}/{id}.json", folder()).as_str()])
        .await?;
    Ok(back.len())
}
