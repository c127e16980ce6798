//! Writes the rows of a manifest.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::Date;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::frames::{Frame, FrameWriter};
use super::{BuildRecord, Check, Excluded, Manifest, SCHEMA, TOGETHER, index};
use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::event::{ArtifactReport, Common, InputReport, ToolchainReport, TreeReport};
use crate::failure::{Failure, Phase, Status};
use crate::kernel::{Architecture, KernelRelease, KernelVersion, TargetId};
use crate::plan::BuildId;

/// A row, for writing. An exclusion has only the fields that identify it and say why.
#[derive(Default, Serialize)]
struct RowToWrite<'a> {
    schema: Option<u32>,
    run_id: &'a str,
    build_id: Option<&'a BuildId>,
    target: Option<&'a TargetId>,
    kernel_release: Option<&'a KernelRelease>,
    kernel_version: Option<&'a KernelVersion>,
    architecture: Option<Architecture>,
    driver_version: Option<&'a DriverVersion>,
    status: Option<Status>,
    excluded_artifact: Option<Artifact>,
    rule: Option<&'a str>,
    reason: Option<&'a str>,
    place: Option<&'a str>,
    source: Option<&'a str>,
    first_seen: Option<Date>,
    artifacts: &'a [ArtifactReport],
    module_name: Option<&'a str>,
    device_name: Option<&'a str>,
    inputs: &'a [InputReport],
    driver_sha256: Option<Sha256>,
    toolchain: Option<usize>,
    tree: Option<TreeReport>,
    checks: Vec<Check<&'a str>>,
    attempts: Option<usize>,
    retries: &'a [Failure],
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    duration_seconds: Option<f64>,
    queued_seconds: Option<f64>,
    phase_seconds: Option<&'a BTreeMap<Phase, f64>>,
    cpu_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

/// A text value of the first line. It is not empty, since some readers take an empty one for a missing time.
const TEXT: &str = "text";

/// Returns the first line: the schema by example.
pub fn template(run_id: &str) -> Value {
    let day = "1970-01-01";
    let time = "1970-01-01T00:00:00Z";
    let failure = json!({
        "class": TEXT, "phase": TEXT, "message": TEXT,
        "first_error": { "file": TEXT, "line": 0, "message": TEXT },
        "exit_code": 0,
    });
    let signature = json!({
        "certificate_sha256": TEXT, "subject": TEXT, "hash": TEXT, "unsigned_sha256": TEXT,
    });
    let double = json!({ "result": TEXT, "message": TEXT });
    let phases: BTreeMap<&str, f64> = Phase::ALL.map(|phase| (phase.as_str(), 0.5)).into();
    let artifact = json!({
        "artifact": TEXT, "status": TEXT, "failure": failure, "failure_is_cached": false, "key": TEXT,
        "path": TEXT, "aliases": [TEXT], "name_taken_by": TEXT, "sha256": TEXT, "size_bytes": 0,
        "vermagic": TEXT, "srcversion": TEXT, "log": TEXT, "made_by": TEXT, "made_at": time,
        "made_seconds": 0.5,
        "failing_since": time, "failing_nights": 0,
        "known": { "place": TEXT, "reason": TEXT, "link": TEXT, "owner": TEXT, "expires": day },
        "proof": { "result": TEXT, "message": TEXT },
        "signature": signature, "double": double,
    });
    json!({
        "schema": SCHEMA, "run_id": run_id, "build_id": TEXT, "target": TEXT, "kernel_release": TEXT,
        "kernel_version": TEXT, "architecture": TEXT, "driver_version": TEXT, "status": TEXT,
        "excluded_artifact": TEXT, "rule": TEXT, "reason": TEXT, "place": TEXT, "source": TEXT,
        "first_seen": day,
        "artifacts": [artifact],
        "module_name": TEXT, "device_name": TEXT,
        "inputs": [{ "url": TEXT, "sha256": TEXT, "size_bytes": 0 }],
        "driver_sha256": TEXT, "toolchain": 0,
        "tree": { "origin": TEXT, "symbols_checked": false, "host_programs": TEXT },
        "checks": [{ "name": TEXT, "passed": false }],
        "attempts": 0, "retries": [failure], "started": time, "finished": time,
        "duration_seconds": 0.5, "queued_seconds": 0.5, "phase_seconds": phases,
        "cpu_seconds": 0.5, "peak_memory_bytes": 0,
    })
}

/// Records the toolchains of all builds and the sources of their kernels in a sorted manifest. Returns the position
/// of each build's toolchain.
pub(in crate::report::manifest) fn note_toolchains(manifest: &mut Manifest) -> Vec<Option<usize>> {
    let mut positions: BTreeMap<&ToolchainReport, usize> = BTreeMap::new();
    let mut toolchains: Vec<Common<ToolchainReport>> = Vec::new();
    let mut of_builds = Vec::with_capacity(manifest.builds.len());
    for build in &manifest.builds {
        of_builds.push(build.toolchain.as_ref().map(|toolchain| {
            *positions.entry(toolchain).or_insert_with(|| {
                toolchains.push(toolchain.clone());
                toolchains.len() - 1
            })
        }));
    }
    manifest.toolchains = toolchains;
    manifest.sources = sources(manifest);
    of_builds
}

/// Writes the rows of a manifest; `toolchains` has the position of each build's toolchain.
pub(in crate::report::manifest) fn write(
    manifest: &Manifest,
    toolchains: &[Option<usize>],
    writer: impl Write,
) -> io::Result<()> {
    let run_id = &manifest.run.id;
    let mut first_line = serde_json::to_vec(&template(run_id))?;
    first_line.push(b'\n');
    let mut writer = FrameWriter::new(writer, &first_line)?;
    let toolchains = toolchains.iter().copied();
    let builds: Vec<(&BuildRecord, Option<usize>)> =
        manifest.builds.iter().zip(toolchains).collect();
    write_lines(&mut writer, &builds, |(build, toolchain)| {
        row_of_build(run_id, build, *toolchain)
    })?;
    write_lines(&mut writer, &manifest.excluded, |excluded| {
        row_of_excluded(run_id, excluded)
    })?;
    writer.finish()
}

/// Returns the number of kernels of each source. The rows of one kernel are adjacent in each of the two lists.
pub(in crate::report::manifest) fn sources(manifest: &Manifest) -> BTreeMap<String, usize> {
    let builds = manifest.builds.iter().map(|build| {
        let kernel = (&build.target, &build.kernel_release, &build.kernel_version);
        ((kernel, build.architecture), &*build.source)
    });
    let excluded = manifest
        .excluded
        .iter()
        .filter(|row| row.driver_version.is_none());
    let excluded = excluded.filter(|row| row.artifact.is_none() && row.rule != "gone");
    let excluded = excluded.map(|row| {
        let kernel = (&row.target, &row.kernel_release, &row.kernel_version);
        ((kernel, row.architecture), row.source.as_str())
    });
    let mut counts: BTreeMap<(&TargetId, &str), usize> = BTreeMap::new();
    let mut last = None;
    for (kernel, source) in builds.chain(excluded) {
        if last != Some(kernel) {
            *counts.entry((kernel.0.0, source)).or_default() += 1;
            last = Some(kernel);
        }
    }
    let counts = counts.into_iter();
    counts
        .map(|((target, source), count)| (format!("{target} ({source})"), count))
        .collect()
}

/// Encodes and compresses rows on all cores, in batches of some thousands to limit memory use.
fn write_lines<'a, T: Sync>(
    writer: &mut FrameWriter<impl Write>,
    rows: &'a [T],
    row_of: impl Fn(&'a T) -> RowToWrite<'a> + Sync,
) -> io::Result<()> {
    for some in rows.chunks(TOGETHER * 8) {
        let frames = some.par_chunks(TOGETHER).map(|rows| {
            let mut frame = Frame::default();
            // The builds of a kernel share their inputs.
            let mut last: Option<(&[InputReport], Option<Sha256>)> = None;
            for row in rows {
                let row = row_of(row);
                let shared = last.filter(|(inputs, _)| std::ptr::eq(*inputs, row.inputs));
                let inputs = shared
                    .map_or_else(|| index::digest_of_inputs(row.inputs), |(_, digest)| digest);
                last = Some((row.inputs, inputs));
                serde_json::to_writer(&mut frame.lines, &row)?;
                frame.lines.push(b'\n');
                let artifacts: Vec<_> = row.artifacts.iter().map(index::artifact).collect();
                let of_index = (
                    row.build_id,
                    row.target,
                    row.kernel_release,
                    row.kernel_version,
                    row.architecture,
                    row.driver_version,
                    inputs,
                    artifacts,
                );
                serde_json::to_writer(&mut frame.index, &of_index)?;
                frame.index.push(b'\n');
            }
            frame.compressed()
        });
        writer.add(frames.collect())?;
    }
    Ok(())
}

fn row_of_build<'a>(
    run_id: &'a str,
    build: &'a BuildRecord,
    toolchain: Option<usize>,
) -> RowToWrite<'a> {
    RowToWrite {
        schema: None,
        run_id,
        build_id: Some(&build.build_id),
        target: Some(&build.target),
        kernel_release: Some(&build.kernel_release),
        kernel_version: Some(&build.kernel_version),
        architecture: Some(build.architecture),
        driver_version: Some(&build.driver_version),
        status: Some(build.status),
        source: Some(&build.source),
        first_seen: build.first_seen,
        artifacts: &build.artifacts,
        module_name: Some(&build.module_name),
        device_name: Some(&build.device_name),
        inputs: &build.inputs,
        driver_sha256: build.driver_sha256,
        toolchain,
        tree: build.tree,
        checks: build
            .checks
            .iter()
            .map(|(name, passed)| Check {
                name: name.as_str(),
                passed: *passed,
            })
            .collect(),
        attempts: Some(build.attempts),
        retries: &build.retries,
        started: Some(build.started),
        finished: Some(build.finished),
        duration_seconds: Some(build.duration_seconds),
        queued_seconds: build.queued_seconds,
        phase_seconds: Some(&build.phase_seconds),
        cpu_seconds: build.cpu_seconds,
        peak_memory_bytes: build.peak_memory_bytes,
        ..RowToWrite::default()
    }
}

fn row_of_excluded<'a>(run_id: &'a str, excluded: &'a Excluded) -> RowToWrite<'a> {
    RowToWrite {
        run_id,
        target: Some(&excluded.target),
        kernel_release: Some(&excluded.kernel_release),
        kernel_version: Some(&excluded.kernel_version),
        architecture: Some(excluded.architecture),
        driver_version: excluded.driver_version.as_ref(),
        status: Some(Status::Excluded),
        excluded_artifact: excluded.artifact,
        rule: Some(&excluded.rule),
        reason: Some(&excluded.reason),
        place: excluded.place.as_deref(),
        source: Some(&excluded.source),
        first_seen: excluded.first_seen,
        ..RowToWrite::default()
    }
}
