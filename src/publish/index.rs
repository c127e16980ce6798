//! The index of a destination: the published artifacts with all known facts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Architecture, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;

/// The version of the index's format. It is raised when a field is removed or changes its meaning; readers reject a
/// newer one.
pub const INDEX_SCHEMA: u32 = 1;

/// A published artifact, under one of its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name below the destination: `<driver version>/<x86_64 or aarch64>/<file>`.
    pub key: String,
    /// Module or probe.
    pub artifact: Artifact,
    /// The build of the artifact.
    pub build_id: BuildId,
    /// The distribution.
    pub target: TargetId,
    /// The kernel's release.
    pub kernel_release: KernelRelease,
    /// The kernel's version.
    pub kernel_version: KernelVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// The module's name.
    pub module_name: String,
    /// The device prefix.
    pub device_name: String,
    /// The digest of the content.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The module's vermagic.
    pub vermagic: Option<String>,
    /// The module's srcversion.
    pub srcversion: Option<String>,
    /// If this is an alias, the artifact's own name.
    pub alias_of: Option<String>,
    /// The digests of the kernel's packages.
    pub inputs: Vec<Sha256>,
    /// The digest of the driver's sources.
    pub driver_sha256: Option<Sha256>,
    /// The compiler's version.
    pub gcc: Option<String>,
    /// The digest of the builder image.
    pub image_sha256: Option<Sha256>,
    /// The run that compiled it.
    pub made_by: Option<String>,
    /// When it was compiled.
    pub made_at: Option<Timestamp>,
    /// The day on which the kernel was first seen.
    pub first_seen: Option<Date>,
    /// The day of the newest published run that has it.
    pub last_seen: Date,
    /// When this content was published.
    pub published_at: Timestamp,
    /// The `ETag` of the object, as the server reports it.
    pub etag: Option<String>,
    /// The name of the log below the destination, if logs are published.
    pub log: Option<String>,
    /// The attestation, if there is one; aliases share that of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<AttestationEntry>,
}

/// A published attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationEntry {
    /// The name below the destination.
    pub name: String,
    /// The digest of the content.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The `ETag` of the object, as the server reports it.
    pub etag: Option<String>,
}

impl Entry {
    /// Returns true if both entries are about the same artifact of the same kernel, whatever its content.
    pub fn is_same_artifact(&self, other: &Self) -> bool {
        self.build_id == other.build_id && self.artifact == other.artifact
    }
}

/// The index of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// When the index was written.
    pub updated: Timestamp,
    /// The digests of the files derived from the index, by name.
    pub files: BTreeMap<String, Sha256>,
    /// The digests of the manifests that are stored at the destination, by name.
    pub manifests: BTreeMap<String, Sha256>,
    /// The published artifacts, by key.
    pub artifacts: BTreeMap<String, Entry>,
}

#[derive(Serialize)]
struct Head<'a> {
    schema: u32,
    tool_version: &'a str,
    updated: Timestamp,
    files: &'a BTreeMap<String, Sha256>,
    manifests: &'a BTreeMap<String, Sha256>,
}

#[derive(Deserialize)]
struct ReadIndex {
    updated: Timestamp,
    #[serde(default)]
    files: BTreeMap<String, Sha256>,
    #[serde(default)]
    manifests: BTreeMap<String, Sha256>,
    artifacts: Vec<Entry>,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
    #[serde(rename = "tool_version")]
    _tool_version: String,
}

impl Index {
    /// Creates an index without artifacts.
    pub fn new(updated: Timestamp) -> Self {
        Self {
            updated,
            files: BTreeMap::new(),
            manifests: BTreeMap::new(),
            artifacts: BTreeMap::new(),
        }
    }

    /// Parses an index; the error completes "... is".
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let foreign =
            |error: serde_json::Error| format!("not an index of driverkit-matrix: {error}");
        let Schema { schema, .. } = serde_json::from_slice(bytes).map_err(foreign)?;
        if schema > INDEX_SCHEMA {
            return Err(format!(
                "of schema {schema}, this version reads up to {INDEX_SCHEMA}: use a newer driverkit-matrix"
            ));
        }
        let read: ReadIndex = serde_json::from_slice(bytes).map_err(foreign)?;
        let named = read.artifacts.len();
        let entries = read.artifacts.into_iter();
        let artifacts: BTreeMap<String, Entry> =
            entries.map(|entry| (entry.key.clone(), entry)).collect();
        if artifacts.len() < named {
            return Err("invalid: it lists an artifact twice".to_owned());
        }
        Ok(Self {
            updated: read.updated,
            files: read.files,
            manifests: read.manifests,
            artifacts,
        })
    }

    /// Returns the index as JSON, one artifact per line.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let head = serde_json::to_string_pretty(&Head {
            schema: INDEX_SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            updated: self.updated,
            files: &self.files,
            manifests: &self.manifests,
        })?;
        let head = head.strip_suffix("\n}").unwrap_or(&head);
        let mut text = format!("{head},\n  \"artifacts\": [").into_bytes();
        for (position, entry) in self.artifacts.values().enumerate() {
            text.extend_from_slice(if position == 0 { b"\n    " } else { b",\n    " });
            serde_json::to_writer(&mut text, entry)?;
        }
        text.extend_from_slice(b"\n  ]\n}\n");
        Ok(text)
    }

    /// Returns the published attestations, by name.
    pub fn attestations(&self) -> BTreeMap<&str, &AttestationEntry> {
        let mut all = BTreeMap::new();
        // Entries that are not aliases come last: only they have the version of the object.
        let further = |entry: &&Entry| entry.alias_of.is_some();
        let (further, own): (Vec<&Entry>, Vec<&Entry>) = self.artifacts.values().partition(further);
        for attestation in further
            .iter()
            .chain(&own)
            .filter_map(|one| one.attestation.as_ref())
        {
            all.insert(attestation.name.as_str(), attestation);
        }
        all
    }

    /// Returns the content of the list of digests.
    pub fn sums(&self) -> String {
        let artifacts = self.artifacts.values();
        let artifacts = artifacts.map(|entry| (entry.key.as_str(), entry.sha256));
        let mut files: BTreeMap<&str, Sha256> = artifacts.collect();
        let attestations = self.attestations().into_iter();
        files.extend(attestations.map(|(name, attestation)| (name, attestation.sha256)));
        let mut text = String::new();
        for (name, sha256) in files {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{sha256}  {name}");
        }
        text
    }
}
