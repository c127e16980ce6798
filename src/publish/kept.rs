//! Manifests that a destination keeps, so that what compares nights can read them there.

use std::collections::BTreeMap;
use std::path::Path;

use super::destination::Destination;
use super::error::PublishError;
use super::item::Night;
use super::layout::STATE;
use crate::bucket::PutOptions;
use crate::digest::Sha256;
use crate::event::NO_EXECUTOR;
use crate::fs::{self, FileError, PendingFile};
use crate::report::Manifest;

/// The facts of a run, and its rows.
const RUN_FILE: &str = "run.json";
const ROWS_FILE: &str = "builds.jsonl.zst";
const JSON_FILE: &str = "manifest.json";

/// How large a file of a manifest may be.
const MANIFEST_BYTES: u64 = 1 << 30;

fn folder() -> String {
    format!("{STATE}/manifests")
}

/// Uploads the manifests that the destination does not have; returns the digests of all, by name. A run that had nothing
/// to do says nothing that the destination does not know.
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

/// Starts with the time, so that names are in the order of the runs.
fn name_of(manifest: &Manifest) -> String {
    let is_plain = |found: &char| found.is_ascii_alphanumeric() || *found == '-';
    let id: String = manifest.run.id.chars().filter(is_plain).collect();
    let started = manifest.run.started.strftime("%Y%m%dT%H%M%S%.6fZ");
    format!("{started}-{id}")
}

/// The files of a manifest, that with the facts of the run last.
fn files_of(night: &Night) -> Result<Vec<(&'static str, Vec<u8>)>, PublishError> {
    let (run, rows) = (night.out.join(RUN_FILE), night.out.join(ROWS_FILE));
    // A killed run's are completed from its journal.
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

/// Downloads the manifests of a destination into `out`, laid out as an output directory: the newest one itself, earlier
/// ones below. Returns how many there are; none if nothing was published yet.
pub async fn fetch_manifests(destination: &Destination, out: &Path) -> Result<usize, PublishError> {
    let index = destination.index().await?;
    let Some(index) = index else {
        return Ok(0);
    };
    let newest = index.manifests.keys().next_back();
    for name in index.manifests.keys() {
        let earlier = out.join(STATE).join("manifests");
        let is_newest = Some(name) == newest;
        let target = if is_newest {
            out.to_owned()
        } else {
            earlier.join(name)
        };
        let json = if is_newest {
            out.join(JSON_FILE)
        } else {
            earlier.join(format!("{name}.json"))
        };
        for (file, path) in [
            (JSON_FILE, json),
            (ROWS_FILE, target.join(ROWS_FILE)),
            (RUN_FILE, target.join(RUN_FILE)),
        ] {
            let key = format!("{}/{name}/{file}", folder());
            if let Some(folder) = path.parent() {
                fs::create_folder(folder)?;
            }
            let mut pending = PendingFile::create(&path)?;
            let bucket = &destination.bucket;
            if bucket.get_to(&key, MANIFEST_BYTES, &mut pending).await? {
                pending.keep()?;
                if file == JSON_FILE {
                    break;
                }
            }
        }
    }
    Ok(index.manifests.len())
}
