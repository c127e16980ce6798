//! Manifests that are stored at a destination, so that nights can be compared there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::StreamExt as _;

use super::destination::Destination;
use super::error::PublishError;
use super::index::Index;
use super::item::Night;
use super::layout::STATE;
use crate::bucket::PutOptions;
use crate::digest::Sha256;
use crate::error::chain;
use crate::event::NO_EXECUTOR;
use crate::fs::{self, FileError, PendingFile, blocking};
use crate::report::{KEEP_NIGHTS, Manifest, merge_manifests, read_manifest, write_manifest};

/// The files with the facts of a run, and with its rows.
const RUN_FILE: &str = "run.json";
const ROWS_FILE: &str = "builds.jsonl.zst";
const JSON_FILE: &str = "manifest.json";

/// The number of manifests that are downloaded concurrently.
const FETCHED_AT_ONCE: usize = 8;

/// The maximum size of a file of a manifest.
const MANIFEST_BYTES: u64 = 1 << 30;

fn folder() -> String {
    format!("{STATE}/manifests")
}

/// Uploads the manifests that the destination does not have; returns the digests of all, by name. A run with nothing
/// to do is skipped if the destination already has a manifest.
pub(super) async fn keep_manifests(
    destination: &Destination,
    nights: &[Night],
    kept: Option<&BTreeMap<String, Sha256>>,
) -> Result<BTreeMap<String, Sha256>, PublishError> {
    let mut manifests = BTreeMap::new();
    for night in nights {
        let is_idle = night.manifest.executor.name == NO_EXECUTOR;
        if is_idle && kept.is_some_and(|kept| !kept.is_empty()) {
            continue;
        }
        let name = name_of(&night.manifest);
        let files = files_of(night)?;
        let all: Vec<u8> = files
            .iter()
            .flat_map(|(_, bytes)| *Sha256::of(bytes).as_bytes())
            .collect();
        let sha256 = Sha256::of(all);
        if kept.and_then(|kept| kept.get(&name)) != Some(&sha256) {
            for (file, bytes) in files {
                let key = format!("{}/{name}/{file}", folder());
                let options = PutOptions::default();
                destination.bucket.put(&key, bytes, options).await?;
            }
        }
        manifests.insert(name, sha256);
    }
    Ok(manifests)
}

/// Returns the name of a manifest. It starts with the time, so that names sort in the order of the runs, and ends
/// with the shard: `-1of3`.
fn name_of(manifest: &Manifest) -> String {
    let is_plain = |found: &char| found.is_ascii_alphanumeric() || *found == '-';
    let id: String = manifest.run.id.chars().filter(is_plain).collect();
    let started = manifest.run.started.strftime("%Y%m%dT%H%M%S%.6fZ");
    let shard = manifest.run.shard.as_deref();
    let shard = shard.map_or(String::new(), |shard| {
        format!("-{}", shard.replace('/', "of"))
    });
    format!("{started}-{id}{shard}")
}

/// Returns the files of a manifest; the facts of the run come last.
fn files_of(night: &Night) -> Result<Vec<(&'static str, Vec<u8>)>, PublishError> {
    let (run, rows) = (night.out.join(RUN_FILE), night.out.join(ROWS_FILE));
    // The manifest of a killed run has been completed from its journal.
    if night.manifest.run.finished.is_some() && run.is_file() && rows.is_file() {
        return Ok(vec![
            (ROWS_FILE, fs::read(&rows)?),
            (RUN_FILE, fs::read(&run)?),
        ]);
    }
    let mut json = Vec::new();
    let written = night.manifest.clone().write_json(&mut json);
    written.map_err(FileError::of("write", JSON_FILE))?;
    Ok(vec![(JSON_FILE, json)])
}

/// Downloads the manifests of a destination into `out`, laid out as an output directory: the newest night at the top,
/// earlier nights below. The shards of a night are merged into one manifest. Returns the number of nights, which is 0
/// if nothing has been published yet.
pub async fn fetch_manifests(destination: &Destination, out: &Path) -> Result<usize, PublishError> {
    let Some(index) = destination.index().await? else {
        return Ok(0);
    };
    let scratch = blocking(tempfile::tempdir).await;
    let scratch = scratch.map_err(FileError::of("create", "directory"))?;
    let nights = newest_nights(&index);
    let names: BTreeSet<&str> = nights.iter().flat_map(KeptNight::names).collect();
    let fetched: Vec<Result<(), PublishError>> = futures_util::stream::iter(names)
        .map(|name| fetch_manifest(destination, name, scratch.path()))
        .buffer_unordered(FETCHED_AT_ONCE)
        .collect()
        .await;
    fetched.into_iter().collect::<Result<(), _>>()?;
    let out = out.to_owned();
    let place = move || {
        let nights = newest_nights(&index);
        for (position, night) in nights.iter().enumerate() {
            let target = match position {
                0 => out.clone(),
                _ => out.join(STATE).join("manifests").join(night.name()),
            };
            place_night(night, scratch.path(), &target)?;
        }
        Ok(nights.len())
    };
    blocking(place).await
}

/// Returns the nights of a destination that are kept, the newest first.
fn newest_nights(index: &Index) -> Vec<KeptNight<'_>> {
    let mut nights = nights_of(index.manifests.keys().map(String::as_str));
    nights.truncate(usize::from(KEEP_NIGHTS));
    nights
}

/// Downloads the files of a manifest into a directory of the same name.
async fn fetch_manifest(
    destination: &Destination,
    name: &str,
    out: &Path,
) -> Result<(), PublishError> {
    let target = out.join(name);
    for file in [RUN_FILE, ROWS_FILE, JSON_FILE] {
        let path = target.join(file);
        let mut pending = blocking(move || PendingFile::create(&path)).await?;
        let key = format!("{}/{name}/{file}", folder());
        let bucket = &destination.bucket;
        if bucket.get_to(&key, MANIFEST_BYTES, &mut pending).await? {
            blocking(move || pending.keep()).await?;
        }
        // A manifest is either two files or one.
        if file == ROWS_FILE && target.join(RUN_FILE).exists() {
            break;
        }
    }
    Ok(())
}

/// Writes the manifest of a night to the directory `target`, from the downloaded manifests.
fn place_night(night: &KeptNight<'_>, scratch: &Path, target: &Path) -> Result<(), PublishError> {
    // The manifest of a killed run is a single JSON file, which is converted below.
    if let ([name], []) = (&night.own[..], &night.earlier[..])
        && scratch.join(name).join(RUN_FILE).exists()
    {
        return place_manifest(&scratch.join(name), target);
    }
    let read = |name: &&str| read_manifest(&scratch.join(name)).map_err(unreadable);
    let own: Vec<Manifest> = night.own.iter().map(read).collect::<Result<_, _>>()?;
    let started = own.iter().map(|manifest| manifest.run.started).min();
    let earlier: Vec<Manifest> = night.earlier.iter().map(read).collect::<Result<_, _>>()?;
    let all: Vec<Manifest> = own.iter().chain(&earlier).cloned().collect();
    // Shards of another night are included if they have the same matrices.
    let merged = merge_manifests(all).or_else(|_| merge_manifests(own));
    let mut merged = merged.map_err(|error| PublishError::Index {
        message: format!("the manifests of a night contradict each other: {error}"),
        help: "publish the shards of one night with one matrix and one lock".to_owned(),
    })?;
    merged.run.started = started.unwrap_or(merged.run.started);
    write_manifest(&mut merged, target).map_err(unreadable)
}

/// Copies the files of a manifest.
fn place_manifest(from: &Path, target: &Path) -> Result<(), PublishError> {
    fs::create_folder(target)?;
    for file in [ROWS_FILE, RUN_FILE] {
        fs::write_unsynced(&target.join(file), fs::read(&from.join(file))?)?;
    }
    Ok(())
}

fn unreadable(error: impl std::error::Error) -> PublishError {
    PublishError::Index {
        message: format!(
            "a manifest of the destination cannot be used: {}",
            chain(&error)
        ),
        help: "use a newer driverkit-matrix, or publish again".to_owned(),
    }
}

/// The manifests of one night: of a run, or of its shards.
#[derive(Debug, PartialEq, Eq)]
struct KeptNight<'a> {
    /// The names, the newest first.
    own: Vec<&'a str>,
    /// The manifests of shards that had nothing to do in this night, from earlier nights.
    earlier: Vec<&'a str>,
}

impl<'a> KeptNight<'a> {
    /// Returns the name of the night, which starts with the time.
    fn name(&self) -> &'a str {
        self.own.first().copied().unwrap_or_default()
    }

    fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.own.iter().chain(&self.earlier).copied()
    }
}

/// Returns the number and the count of shards from the name of a manifest.
fn shard_of(name: &str) -> Option<(u32, u32)> {
    let (index, count) = name.rsplit_once('-')?.1.split_once("of")?;
    Some((index.parse().ok()?, count.parse().ok()?))
}

/// Groups manifests by night, the newest first; `names` are in the order of time.
fn nights_of<'a>(names: impl DoubleEndedIterator<Item = &'a str>) -> Vec<KeptNight<'a>> {
    // Names become paths, and anyone who can write to the destination can choose them.
    let is_name = |name: &&str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_allowed)
    };
    let names: Vec<&str> = names.rev().filter(is_name).collect();
    let mut nights = Vec::new();
    let mut at = 0;
    while let Some(&newest) = names.get(at) {
        let mut own = vec![newest];
        at += 1;
        let mut seen = BTreeSet::new();
        let mut earlier = Vec::new();
        if let Some((index, count)) = shard_of(newest) {
            seen.insert(index);
            let mut is_new = |name: &&&str| {
                shard_of(name).is_some_and(|(index, of)| of == count && seen.insert(index))
            };
            let more = names[at..].iter().take_while(&mut is_new);
            own.extend(more.copied());
            at += own.len() - 1;
            earlier.extend(names[at..].iter().filter(is_new).copied());
        }
        nights.push(KeptNight { own, earlier });
    }
    nights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_grouped_into_nights_and_missing_ones_come_from_the_night_before() {
        let names = [
            "1-a-1of2", "2-b-2of2", "3-c-2of2", "4-d-1of2", "5-e-2of2", "6-f", "7-g-3of3",
        ];
        let nights = nights_of(names.into_iter());
        let shown: Vec<(Vec<&str>, Vec<&str>)> = nights
            .into_iter()
            .map(|night| (night.own, night.earlier))
            .collect();
        assert_eq!(
            shown,
            [
                (vec!["7-g-3of3"], vec![]),
                (vec!["6-f"], vec![]),
                (vec!["5-e-2of2", "4-d-1of2"], vec![]),
                (vec!["3-c-2of2"], vec!["1-a-1of2"]),
                (vec!["2-b-2of2", "1-a-1of2"], vec![]),
            ]
        );
    }
}
