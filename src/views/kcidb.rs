//! Kernel CI's common format, schema 5.3: a checkout for each driver version, a build for each artifact, a test for
//! each artifact that was loaded into its kernel.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::subject::{Subject, View};
use crate::driver::DriverVersion;
use crate::event::ProofResult;
use crate::failure::Status;
use crate::report::clean;

/// The origin of the results, as the schema requires.
const ORIGIN: &str = "driverkit_matrix";

/// Writes JSON.
pub(super) struct Kcidb;

#[derive(Serialize)]
struct Report<'a> {
    version: Value,
    checkouts: Vec<Value>,
    builds: Vec<Build<'a>>,
    tests: Vec<Value>,
}

#[derive(Serialize)]
struct Build<'a> {
    checkout_id: String,
    id: String,
    origin: &'a str,
    comment: String,
    start_time: String,
    duration: f64,
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    compiler: Option<String>,
    config_name: &'a str,
    command: String,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_excerpt: Option<String>,
    misc: Value,
}

impl View for Kcidb {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        let manifest = subject.manifest;
        let drivers: BTreeSet<&DriverVersion> = manifest
            .builds
            .iter()
            .map(|build| &build.driver_version)
            .collect();
        let started = manifest.run.started.to_string();
        let run = &manifest.run.id;
        let checkout_id = |driver: &DriverVersion| format!("{ORIGIN}:{run}/{driver}");
        let checkouts = drivers
            .into_iter()
            .map(|driver| {
                json!({
                    "id": checkout_id(driver), "origin": ORIGIN, "tree_name": "falcosecurity-libs",
                    "comment": format!("driver {driver}"), "start_time": started, "valid": true,
                })
            })
            .collect();
        let mut builds = Vec::new();
        let mut tests = Vec::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let failure = artifact.failure.as_ref();
                let id = format!("{ORIGIN}:{run}/{}/{}", build.build_id, artifact.artifact);
                if let Some(proof) = &artifact.proof {
                    tests.push(json!({
                        "build_id": id, "id": format!("{id}/load"), "origin": ORIGIN, "path": "driver.load",
                        "comment": clean(&proof.message), "status": of_proof(proof.result),
                        "environment": { "comment": "qemu" },
                    }));
                }
                builds.push(Build {
                    checkout_id: checkout_id(&build.driver_version),
                    id,
                    origin: ORIGIN,
                    comment: format!("{} for {}", artifact.artifact, build.kernel_release),
                    start_time: build.started.to_string(),
                    duration: build.duration_seconds,
                    architecture: build.architecture.machine(),
                    compiler: build
                        .toolchain
                        .as_ref()
                        .map(|toolchain| toolchain.compiler(artifact.artifact)),
                    config_name: build.target.as_str(),
                    command: (subject.reproduce)(&build.build_id),
                    status: status(artifact.status),
                    log_excerpt: failure.and_then(|failure| failure.first_error.as_ref()).map(
                        |error| {
                            let text = error.to_string().replace('\0', "");
                            text.chars().take(4000).collect()
                        },
                    ),
                    misc: without_nulls(json!({
                        "kernel_release": build.kernel_release, "kernel_version": build.kernel_version,
                        "status": artifact.status, "class": failure.map(|failure| failure.class),
                        "failing_since": artifact.failing_since, "sha256": artifact.sha256,
                    })),
                });
            }
        }
        let report = Report {
            version: json!({ "major": 5, "minor": 3 }),
            checkouts,
            builds,
            tests,
        };
        serde_json::to_writer(&mut *output, &report)?;
        output.write_all(b"\n")
    }
}

/// Removes properties that are null, which the schema does not allow.
fn without_nulls(mut object: Value) -> Value {
    if let Value::Object(properties) = &mut object {
        properties.retain(|_, value| !value.is_null());
    }
    object
}

fn of_proof(result: ProofResult) -> &'static str {
    match result {
        ProofResult::Loaded => "PASS",
        ProofResult::Refused => "FAIL",
        ProofResult::NotProven => "SKIP",
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Built | Status::Cached => "PASS",
        Status::Failed => "FAIL",
        Status::Error | Status::Unresolvable => "ERROR",
        Status::Known => "DONE",
        Status::Excluded | Status::NotRun => "SKIP",
        Status::Cancelled => "MISS",
    }
}
