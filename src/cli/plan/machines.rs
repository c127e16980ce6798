//! Writes a plan as JSON or CSV.

use std::io::{self, Write};

use serde::Serialize;

use crate::driver::{Artifact, DriverLocation, DriverVersion};
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};
use crate::plan::{Build, BuildId, LeftOut, Names, Plan};
use crate::target;
use crate::text::no_formula;

use super::counts::Counts;
use super::names::BuildNames;

/// The version of the JSON output.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct PlanJson<'a> {
    schema: u32,
    plan_sha256: crate::digest::Sha256,
    build_count: usize,
    artifact_count: usize,
    duplicate_count: usize,
    unconfirmed_kernel_count: usize,
    /// The number of builds whose own name no host requests.
    unasked_build_count: usize,
    builds: BuildsJson<'a>,
    left_out: LeftOutsJson<'a>,
}

/// The builds, serialized one by one without collecting them.
struct BuildsJson<'a>(&'a Plan);

impl Serialize for BuildsJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let builds = self.0.builds.iter();
        serializer.collect_seq(builds.map(|build| build_json(build, &self.0.names)))
    }
}

struct LeftOutsJson<'a>(&'a [LeftOut]);

impl Serialize for LeftOutsJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(left_out_json))
    }
}

#[derive(Serialize)]
struct BuildJson<'a> {
    build_id: BuildId,
    /// The same as `build_id` under its earlier name; removed with the next version.
    id: BuildId,
    target: &'a TargetId,
    kernel_release: &'a KernelRelease,
    kernel_version: &'a KernelVersion,
    architecture: Architecture,
    driver_version: &'a DriverVersion,
    driver_location: &'a DriverLocation,
    module_name: &'a str,
    device_name: &'a str,
    loader_names: BuildNames,
    artifacts: &'a [Artifact],
    packages: &'a [Package],
    #[serde(skip_serializing_if = "Option::is_none")]
    config_sha256: Option<crate::digest::Sha256>,
    source: &'a str,
    timeout_seconds: u64,
    memory_bytes: u64,
    output_bytes: u64,
    output_files: u32,
    module_bytes: u64,
    probe_bytes: u64,
    processes: u32,
    retries: u32,
    gcc: Option<&'a str>,
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download: Option<DownloadJson>,
    /// The build whose artifacts have the loader's name for this kernel, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_taken_by: Option<BuildId>,
}

/// How packages without URLs are downloaded: in `image`, by a job that runs as root with network access.
#[derive(Serialize)]
struct DownloadJson {
    manager: &'static str,
    packages: Vec<String>,
    network: &'static str,
}

fn download_json(kernel: &Kernel) -> Option<DownloadJson> {
    let subscription = target::subscription(kernel)?;
    let packages = subscription.names().into_iter();
    Some(DownloadJson {
        manager: subscription.manager.as_str(),
        packages: packages.map(str::to_owned).collect(),
        network: "host",
    })
}

fn build_json<'a>(build: &'a Build, names: &Names) -> BuildJson<'a> {
    let (kernel, driver, settings) = (&*build.kernel, &*build.driver, &*build.settings);
    BuildJson {
        build_id: build.id(),
        id: build.id(),
        target: &kernel.target,
        kernel_release: &kernel.release,
        kernel_version: &kernel.version,
        architecture: kernel.architecture,
        driver_version: &driver.version,
        driver_location: &driver.location,
        module_name: &driver.module_name,
        device_name: &driver.device_name,
        loader_names: BuildNames::of(build, names),
        artifacts: &build.artifacts,
        packages: &kernel.packages,
        config_sha256: kernel.config_sha256,
        source: &kernel.source,
        timeout_seconds: settings.timeout.as_secs(),
        memory_bytes: settings.memory_bytes,
        output_bytes: settings.output_bytes.unwrap_or(settings.memory_bytes),
        output_files: settings.output_files,
        module_bytes: settings.module_bytes,
        probe_bytes: settings.probe_bytes,
        processes: settings.processes,
        retries: settings.retries,
        gcc: settings.gcc.as_deref(),
        image: settings.image.as_deref(),
        download: download_json(kernel),
        name_taken_by: build
            .artifacts
            .iter()
            .find_map(|artifact| names.taken_by(build, *artifact))
            .map(|other| BuildId::of(&driver.version, other)),
    }
}

#[derive(Serialize)]
struct LeftOutJson<'a> {
    target: &'a TargetId,
    kernel_release: &'a KernelRelease,
    kernel_version: &'a KernelVersion,
    architecture: Architecture,
    driver_version: Option<&'a DriverVersion>,
    artifact: Option<Artifact>,
    rule: &'a str,
    reason: &'a str,
}

fn left_out_json(left_out: &LeftOut) -> LeftOutJson<'_> {
    let kernel = &*left_out.kernel;
    LeftOutJson {
        target: &kernel.target,
        kernel_release: &kernel.release,
        kernel_version: &kernel.version,
        architecture: kernel.architecture,
        driver_version: left_out.driver.as_ref(),
        artifact: left_out.artifact,
        rule: &left_out.rule,
        reason: &left_out.reason,
    }
}

/// Writes one JSON object.
pub(super) fn write_json(
    output: &mut dyn Write,
    plan: &Plan,
    unconfirmed: usize,
) -> io::Result<()> {
    let json = PlanJson {
        schema: SCHEMA,
        plan_sha256: plan.digest(),
        build_count: plan.builds.len(),
        artifact_count: plan.artifact_count(),
        duplicate_count: plan.duplicates,
        unconfirmed_kernel_count: unconfirmed,
        unasked_build_count: Counts::of(plan).unasked,
        builds: BuildsJson(plan),
        left_out: LeftOutsJson(&plan.left_out),
    };
    serde_json::to_writer_pretty(&mut *output, &json).map_err(io::Error::from)?;
    writeln!(output)
}

/// Writes a row. Names and reasons come from lists and matrices, so fields are made safe for spreadsheets.
fn write_row<const N: usize>(
    rows: &mut csv::Writer<&mut dyn Write>,
    fields: [&str; N],
) -> csv::Result<()> {
    rows.write_record(fields.map(|field| no_formula(field).into_owned()))
}

/// Writes one row per planned artifact, then one row per exclusion. New columns are only ever appended.
pub(super) fn write_csv(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let mut rows = csv::Writer::from_writer(output);
    rows.write_record([
        "build_id",
        "target",
        "kernel_release",
        "kernel_version",
        "architecture",
        "driver_version",
        "artifact",
        "status",
        "rule",
        "reason",
        "path",
        "alias_paths",
        "asked_names",
    ])?;
    for build in &plan.builds {
        let kernel = &build.kernel;
        let id = build.id();
        let asked = BuildNames::of(build, &plan.names).asked.join(" ");
        for artifact in build.artifacts.iter() {
            let path = build.artifact_path(*artifact);
            let alias = plan.names.published_alias(build, *artifact);
            let alias = alias.map(|name| build.path_for(name, *artifact));
            let alias = alias.unwrap_or_default();
            write_row(
                &mut rows,
                [
                    id.as_str(),
                    kernel.target.as_str(),
                    kernel.release.as_str(),
                    kernel.version.as_str(),
                    kernel.architecture.as_str(),
                    build.driver.version.as_str(),
                    artifact.as_str(),
                    "planned",
                    "",
                    "",
                    &path.to_string_lossy(),
                    &alias.to_string_lossy(),
                    &asked,
                ],
            )?;
        }
    }
    for left_out in &plan.left_out {
        let kernel = &left_out.kernel;
        write_row(
            &mut rows,
            [
                "",
                kernel.target.as_str(),
                kernel.release.as_str(),
                kernel.version.as_str(),
                kernel.architecture.as_str(),
                left_out.driver.as_ref().map_or("", DriverVersion::as_str),
                left_out.artifact.map_or("", Artifact::as_str),
                "excluded",
                &left_out.rule,
                &left_out.reason,
                "",
                "",
                "",
            ],
        )?;
    }
    rows.flush()
}
