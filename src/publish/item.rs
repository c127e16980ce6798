//! Selects the artifacts of manifests to publish: verified ones, each under its own name and its aliases.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::index::{AttestationEntry, Entry};
use crate::attest::{Attestation, read_attestation};
use crate::digest::Sha256;
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::report::{ATTESTATION_SUFFIX, BuildRecord, Manifest, attestation_of, manifests_below};

/// A run to publish: its manifest, and the directory that contains it.
#[derive(Clone, Debug)]
pub struct Night {
    /// The output directory.
    pub out: PathBuf,
    /// The manifest.
    pub manifest: Manifest,
}

/// An artifact to publish, under one name.
#[derive(Clone, Debug)]
pub struct Item {
    /// The entry for the index.
    pub entry: Entry,
    /// The path of the content.
    pub file: PathBuf,
    /// The path of the log.
    pub log: Option<PathBuf>,
}

/// Returns the verified artifacts of some runs, by name; if two runs have the same artifact, the newer one is used.
/// The files of one manifest may be in the directory of another, since a merged manifest has no files itself. `now`
/// is the time of publication.
pub fn items_of(nights: &[Night], now: Timestamp) -> Vec<Item> {
    let mut places: Vec<PathBuf> = nights.iter().map(|night| night.out.clone()).collect();
    places.extend(nights.iter().flat_map(|night| manifests_below(&night.out)));
    let mut nights: Vec<&Night> = nights.iter().collect();
    nights.sort_by_key(|night| night.manifest.run.started);
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for night in nights {
        for build in &night.manifest.builds {
            for report in &build.artifacts {
                for mut item in items_of_artifact(night, build, report, now) {
                    if !item.file.is_file() {
                        let entry = &item.entry;
                        let path = entry.alias_of.as_ref().unwrap_or(&entry.key);
                        let mut others = places.iter().map(|place| place.join(path));
                        item.file = others.find(|file| file.is_file()).unwrap_or(item.file);
                    }
                    item.entry.attestation = attestation(&item);
                    let known = items.get(&item.entry.key);
                    // The own name of an artifact has precedence over an alias of another.
                    let is_theirs = known.is_some_and(|known| {
                        known.entry.alias_of.is_none() && item.entry.alias_of.is_some()
                    });
                    if !is_theirs {
                        items.insert(item.entry.key.clone(), item);
                    }
                }
            }
        }
    }
    items.into_values().collect()
}

fn items_of_artifact(
    night: &Night,
    build: &BuildRecord,
    report: &ArtifactReport,
    now: Timestamp,
) -> Vec<Item> {
    // Only these statuses mean that the content was checked.
    if !matches!(report.status, Status::Built | Status::Cached) {
        return Vec::new();
    }
    let (Some(path), Some(sha256), Some(size_bytes)) =
        (&report.path, report.sha256, report.size_bytes)
    else {
        return Vec::new();
    };
    let Some(own) = key_of(build, path) else {
        return Vec::new();
    };
    let aliases = report.aliases.iter().filter_map(|path| key_of(build, path));
    let names =
        std::iter::once((own.clone(), None)).chain(aliases.map(|alias| (alias, Some(own.clone()))));
    let toolchain = build.toolchain.as_ref();
    let started = night.manifest.run.started;
    names
        .map(|(key, alias_of)| Item {
            file: night.out.join(path),
            log: report.log.as_ref().map(|log| night.out.join(log)),
            entry: Entry {
                key,
                artifact: report.artifact,
                build_id: build.build_id.clone(),
                target: build.target.clone(),
                kernel_release: build.kernel_release.clone(),
                kernel_version: build.kernel_version.clone(),
                architecture: build.architecture,
                driver_version: build.driver_version.clone(),
                module_name: build.module_name.clone(),
                device_name: build.device_name.clone(),
                sha256,
                size_bytes,
                vermagic: report.vermagic.clone(),
                srcversion: report.srcversion.clone(),
                alias_of,
                inputs: build
                    .inputs
                    .iter()
                    .filter_map(|input| input.sha256)
                    .collect(),
                driver_sha256: build.driver_sha256,
                gcc: toolchain.map(|toolchain| toolchain.gcc_used.clone()),
                image_sha256: toolchain.map(|toolchain| toolchain.image_sha256),
                made_by: report.made_by.as_ref().map(ToString::to_string),
                made_at: report.made_at,
                first_seen: build.first_seen,
                last_seen: started.to_zoned(TimeZone::UTC).date(),
                published_at: now,
                etag: None,
                log: None,
                attestation: None,
            },
        })
        .collect()
}

/// Returns the attestation beside an artifact, if it is about the artifact's content.
fn attestation(item: &Item) -> Option<AttestationEntry> {
    let own = item.entry.alias_of.as_ref().unwrap_or(&item.entry.key);
    let content = read_attestation(&attestation_of(&item.file)).ok()??;
    let read = Attestation::parse(&content).ok()?;
    read.check_subject(own, item.entry.sha256).ok()?;
    Some(AttestationEntry {
        name: format!("{own}{ATTESTATION_SUFFIX}"),
        sha256: Sha256::of(&content),
        size_bytes: content.len() as u64,
        etag: None,
    })
}

/// Returns the key of an artifact at a path of an output directory; `None` if the path does not belong to its build.
fn key_of(build: &BuildRecord, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let [driver, machine, name] = parts?[..] else {
        return None;
    };
    let is_its_own =
        driver == build.driver_version.as_str() && machine == build.architecture.machine();
    is_its_own.then(|| format!("{driver}/{machine}/{name}"))
}
