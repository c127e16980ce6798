//! Removal of what is not needed any more: by rule, as a plan first, with a way back.
//!
//! A removed artifact is moved below `.driverkit-matrix/pruned/<time>/`, beside a list of the entries that the index
//! had, and stays there for a while.

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

/// How large a list of what was removed may be.
const LIST_BYTES: u64 = 1 << 30;

/// How programs of this kind call themselves in access logs.
const OWN_AGENT: &str = "driverkit-matrix/";

/// What is removed.
#[derive(Clone, Debug, Default)]
pub struct PruneRules {
    /// The driver versions in support; all others are removed. Empty: all are in support.
    pub keep_drivers: Vec<DriverVersion>,
    /// Only the newest versions are in support.
    pub newest_drivers: Option<usize>,
    /// Kernels that no published run of their target, architecture and driver version had for this many days.
    pub gone_days: Option<u32>,
}

impl PruneRules {
    /// Whether nothing would ever be removed.
    pub fn is_empty(&self) -> bool {
        self.keep_drivers.is_empty() && self.newest_drivers.is_none() && self.gone_days.is_none()
    }
}

/// The names that loaders asked for.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    keys: BTreeSet<String>,
}

impl AccessLog {
    /// Adds the lines of a log: of S3, of a CDN, or as web servers write it. Whatever a line looks like, a name counts
    /// as asked for if the line has it, escaped or not, unless the request was this program's own.
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

    /// How many names were asked for.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The key that a path or URL ends with. S3 escapes the key of its log twice.
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

/// What would be removed, and what only the access log keeps.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrunePlan {
    /// The keys to remove, with the reason.
    pub remove: BTreeMap<String, String>,
    /// Keys that rules would remove and that were asked for.
    pub asked_for: BTreeSet<String>,
    /// How many artifacts there are.
    pub total: usize,
}

impl PrunePlan {
    /// The part of all artifacts that would be removed, in percent.
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
    // Kernels are gone by comparison with others of their kind: where no run was published, none is.
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
            format!("driver {} is out of support", entry.driver_version)
        } else if let Some(days) = gone_days
            && rules.gone_days.is_some_and(|limit| days > limit)
        {
            format!(
                "the kernel is gone for {}",
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

/// The list of what was removed together.
#[derive(Debug, Serialize, Deserialize)]
struct UndoList {
    schema: u32,
    removed_at: Timestamp,
    artifacts: Vec<Entry>,
}

/// The result of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The name under which it can be undone.
    pub id: String,
    /// How many artifacts were removed.
    pub removed: usize,
    /// How many earlier removals can no longer be undone.
    pub forgotten: usize,
}

fn folder() -> String {
    format!("{STATE}/pruned")
}

/// Removes what a plan says: out of the index first, so that no reader of it is sent to an object that is not there.
/// Removals older than `undo_days` are forgotten.
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
    // The list before anything else: whatever happens then can be undone.
    write_list(destination, &id, &list).await?;
    let index = destination
        .change_index(read, now, public_url, |index| {
            for key in &keys {
                index.artifacts.remove(*key);
            }
        })
        .await?;
    // Another name of an artifact, which stays, keeps the attestation.
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

/// Removes what was removed long ago for good.
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

/// Puts back what a removal removed, where nothing has the name since. Returns how many artifacts came back.
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
        help: "`prune` printed the name; removals are kept for the days of --undo-days".to_owned(),
    };
    let url = destination.bucket.url();
    let Some(list) = list else {
        return Err(refused(format!("{url}: no removal `{id}` is kept there")));
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
