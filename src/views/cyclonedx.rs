//! A bill of materials of a night in `CycloneDX` 1.6: the available drivers, and what they were built from.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::subject::{Subject, View};
use crate::digest::Sha256;
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::kernel::{file_name, local_file_name};
use crate::report::BuildRecord;

/// Writes JSON.
pub(super) struct CycloneDx;

impl View for CycloneDx {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        let manifest = subject.manifest;
        let mut components: BTreeMap<String, Value> = BTreeMap::new();
        let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let Some((driver, component)) = driver(build, artifact) else {
                    continue;
                };
                let materials = materials(build).into_iter();
                let named = materials.map(|(name, material)| {
                    components.entry(name.clone()).or_insert(material);
                    name
                });
                let mut named: Vec<String> = named.collect();
                named.sort_unstable();
                named.dedup();
                dependencies.insert(driver.clone(), named);
                components.insert(driver, component);
            }
        }
        let tool = json!({
            "type": "application", "name": "driverkit-matrix", "version": manifest.tool_version,
        });
        let head = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": format!("urn:uuid:{}", uuid(&manifest.run.id)),
            "version": 1,
            "metadata": {
                "timestamp": manifest.run.started,
                "tools": { "components": [tool] },
                "component": { "type": "data", "name": "Falco drivers", "version": manifest.run.id },
            },
            "components": components.into_values().collect::<Vec<_>>(),
            "dependencies": dependencies
                .into_iter()
                .map(|(driver, materials)| json!({ "ref": driver, "dependsOn": materials }))
                .collect::<Vec<_>>(),
        });
        serde_json::to_writer(&mut *output, &head)?;
        output.write_all(b"\n")
    }
}

/// Returns the component of an available artifact, with its reference.
fn driver(build: &BuildRecord, artifact: &ArtifactReport) -> Option<(String, Value)> {
    if !matches!(artifact.status, Status::Built | Status::Cached) {
        return None;
    }
    let sha256 = artifact.sha256?;
    let reference = format!("driver:{}:{}", build.build_id, artifact.artifact);
    let path = artifact.path.as_ref();
    let name = path.map_or_else(
        || reference.clone(),
        |path| path.to_string_lossy().into_owned(),
    );
    let properties = [
        ("artifact", artifact.artifact.to_string()),
        ("target", build.target.to_string()),
        ("kernel_release", build.kernel_release.to_string()),
        ("kernel_version", build.kernel_version.to_string()),
        ("architecture", build.architecture.to_string()),
    ];
    let properties = properties
        .map(|(name, value)| json!({ "name": format!("driverkit-matrix:{name}"), "value": value }));
    let component = json!({
        "type": "device-driver",
        "bom-ref": reference,
        "name": name,
        "version": build.driver_version,
        "hashes": [hash(sha256)],
        "properties": properties,
    });
    Some((reference, component))
}

/// Returns the materials of a build, by reference: the kernel's packages, the driver's sources, the builder image.
fn materials(build: &BuildRecord) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for input in &build.inputs {
        let local = local_file_name(&input.url);
        let reference = match (input.sha256, &local) {
            (Some(sha256), _) => format!("package:{sha256}"),
            (None, Some(name)) => format!("package:{name}"),
            (None, None) => format!("package:{}", input.url),
        };
        let mut component = json!({
            "type": "library", "bom-ref": reference, "name": file_name(&input.url),
            "hashes": input.sha256.map(hash).into_iter().collect::<Vec<_>>(),
        });
        if local.is_none() {
            component["externalReferences"] = json!([{ "type": "distribution", "url": input.url }]);
        }
        all.push((reference, component));
    }
    if let Some(sha256) = build.driver_sha256 {
        let reference = format!("source:{sha256}");
        // A property, since the digest of a tree is not a file hash.
        let component = json!({
            "type": "library", "bom-ref": reference, "name": "falcosecurity-libs",
            "version": build.driver_version,
            "properties": [{ "name": "driverkit-matrix:tree_sha256", "value": sha256 }],
        });
        all.push((reference, component));
    }
    if let Some(toolchain) = &build.toolchain {
        let reference = format!("image:{}", toolchain.image_sha256);
        let component = json!({
            "type": "container", "bom-ref": reference, "name": toolchain.image,
            "hashes": [hash(toolchain.image_sha256)],
        });
        all.push((reference, component));
    }
    all
}

fn hash(sha256: Sha256) -> Value {
    json!({ "alg": "SHA-256", "content": sha256 })
}

/// Returns a UUID that is derived from a name (version 8).
fn uuid(name: &str) -> String {
    let digest = Sha256::of(name).to_string();
    format!(
        "{}-{}-8{}-8{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}
