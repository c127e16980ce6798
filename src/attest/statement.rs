//! The statement about an artifact.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::digest::Sha256;
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::kernel::local_file_name;
use crate::report::BuildRecord;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// The type of the build, which defines the predicate's fields: docs/attestations.md.
pub const BUILD_TYPE: &str = "urn:driverkit-matrix:build:v1";

/// The builder id used when the matrix names none: this program, on an unspecified machine.
pub const DEFAULT_BUILDER: &str = "urn:driverkit-matrix:builder";

/// Returns the statement about an artifact, or `None` if it was neither built nor cached. It uses only facts that do
/// not change when the artifact is cached, so that it is the same on every machine.
pub fn statement_of(
    build: &BuildRecord,
    artifact: &ArtifactReport,
    log: Option<Sha256>,
    builder: &str,
) -> Option<Vec<u8>> {
    if !matches!(artifact.status, Status::Built | Status::Cached) {
        return None;
    }
    let (path, sha256) = (artifact.path.as_ref()?, artifact.sha256?);
    let mut names: Vec<String> = artifact.aliases.iter().map(|name| name_of(name)).collect();
    names.sort_unstable();
    let names = std::iter::once(name_of(path)).chain(names);
    let subject: Vec<Value> = names
        .map(|name| json!({ "name": name, "digest": { "sha256": sha256 } }))
        .collect();
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "artifact": artifact.artifact,
                    "target": build.target,
                    "kernel_release": build.kernel_release,
                    "kernel_version": build.kernel_version,
                    "architecture": build.architecture,
                    "driver_version": build.driver_version,
                    "module_name": build.module_name,
                    "device_name": build.device_name,
                },
                "internalParameters": internal(build, artifact),
                "resolvedDependencies": dependencies(build, artifact),
            },
            "runDetails": {
                "builder": { "id": builder },
                "metadata": metadata(artifact),
                "byproducts": byproducts(artifact, log),
            },
        },
    });
    serde_json::to_vec(&statement).ok()
}

fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn internal(build: &BuildRecord, artifact: &ArtifactReport) -> Value {
    let toolchain = build.toolchain.as_ref();
    without_nulls(json!({
        "build_id": build.build_id,
        "key": artifact.key,
        "gcc_wanted": toolchain.map(|toolchain| &toolchain.gcc_wanted),
        "gcc_used": toolchain.map(|toolchain| &toolchain.gcc_used),
        "tree": build.tree,
        "checks": build.checks,
        "signature": artifact.signature.as_ref().map(|signature| json!({
            "subject": signature.subject, "hash": signature.hash,
        })),
    }))
}

/// All inputs of the build that the manifest lists.
fn dependencies(build: &BuildRecord, artifact: &ArtifactReport) -> Vec<Value> {
    let mut all = Vec::new();
    for input in &build.inputs {
        let digest = input.sha256.map(|sha256| json!({ "sha256": sha256 }));
        let uri = match local_file_name(&input.url) {
            Some(name) => format!("urn:driverkit-matrix:file:{}", escaped(&name)),
            None => input.url.to_string(),
        };
        all.push(without_nulls(
            json!({ "name": "kernel package", "uri": uri, "digest": digest }),
        ));
    }
    let mut add = |name: &str, uri: String, (kind, sha256): (&str, Sha256)| {
        all.push(json!({ "name": name, "uri": uri, "digest": { kind: sha256 } }));
    };
    if let Some(sha256) = build.driver_sha256 {
        let version = &build.driver_version;
        let uri = format!("urn:driverkit-matrix:driver:{}", escaped(version.as_str()));
        // The digest of a tree is not the digest of a file.
        add("driver source", uri, ("treeSha256", sha256));
    }
    if let Some(toolchain) = &build.toolchain {
        let uri = format!("urn:driverkit-matrix:image:{}", escaped(&toolchain.image));
        add("builder image", uri, ("sha256", toolchain.image_sha256));
    }
    if let Some(signature) = &artifact.signature {
        let uri = format!(
            "urn:driverkit-matrix:certificate:{}",
            signature.certificate_sha256
        );
        let sha256 = signature.certificate_sha256;
        add("signing certificate", uri, ("sha256", sha256));
    }
    all
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn metadata(artifact: &ArtifactReport) -> Value {
    let finished = artifact.made_at;
    let took = artifact.made_seconds;
    let started = finished.zip(took).and_then(|(finished, took)| {
        let took = std::time::Duration::try_from_secs_f64(took).ok()?;
        finished.checked_sub(took).ok()
    });
    // Without fractions of a second: not every reader accepts them.
    let seconds = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    without_nulls(json!({
        "invocationId": artifact.made_by,
        "startedOn": started.map(seconds),
        "finishedOn": finished.map(seconds),
    }))
}

fn byproducts(artifact: &ArtifactReport, log: Option<Sha256>) -> Vec<Value> {
    let log = artifact.log.as_ref().zip(log);
    let log = log.map(|(path, sha256)| {
        json!({ "name": name_of(path), "mediaType": "application/zstd", "digest": { "sha256": sha256 } })
    });
    let unsigned = artifact.signature.as_ref().map(|signature| {
        json!({ "name": "module without signature", "digest": { "sha256": signature.unsigned_sha256 } })
    });
    log.into_iter().chain(unsigned).collect()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.collect::<Map<_, _>>())
        }
        value => value,
    }
}
