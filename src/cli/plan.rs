//! `plan`: what would be built, and what was left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::builder_flags::check_image;
use super::export;
use super::output::{count, ignore_broken_pipe, write_columns};
use super::selection::Selection;
use super::{CliError, Context, ExitStatus};
use crate::driver::{Artifact, DriverLocation, DriverVersion};
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};
use crate::plan::{Build, BuildId, LeftOut, Plan};
use crate::target;

/// The version of the JSON form.
const SCHEMA: u32 = 1;
/// Up to how many builds are listed unasked.
const LISTED_BUILDS: usize = 40;
/// How many kernels are named of those that a rule left out.
const SAMPLES: usize = 3;

/// Show what would be built, and what was left out by which rule
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    selection: Selection,
    /// How to print the plan; driverkit writes files for dbg-go below the folder of --out
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// The folder of `--format driverkit`
    #[arg(long, value_name = "DIR", required_if_eq("format", "driverkit"))]
    out: Option<PathBuf>,
    /// The builder image of all builds, as `run` will be given it
    #[arg(long = "builderimage", value_name = "IMAGE", value_parser = check_image)]
    image: Option<String>,
    /// List every build in the table, however many there are
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For machines: everything
    Json,
    /// For machines: one row an artifact
    Csv,
    /// For dbg-go: one YAML file a build
    Driverkit,
}

impl PlanArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let planned = self.selection.plan(context, self.image.as_deref())?;
        let plan = &planned.plan;
        if let (Format::Driverkit, Some(folder)) = (self.format, &self.out) {
            let written = export::write(&planned, folder)?;
            let files = count(written, "file");
            context.notice(&format!("{}: {files} written", folder.display()));
            return Ok(ExitStatus::Success);
        }
        ignore_broken_pipe(|output| match self.format {
            Format::Table => write_table(output, plan, planned.matrices.len(), self.all),
            Format::Json => write_json(output, plan),
            Format::Csv | Format::Driverkit => write_csv(output, plan),
        })?;
        Ok(ExitStatus::Success)
    }
}

#[derive(Default)]
struct TargetCounts<'a> {
    kernels: usize,
    drivers: BTreeSet<&'a DriverVersion>,
    builds: usize,
    modules: usize,
    probes: usize,
}

/// Counts by target; the builds of a kernel are neighbours in a plan.
fn counts_by_target(plan: &Plan) -> BTreeMap<&TargetId, TargetCounts<'_>> {
    let mut targets: BTreeMap<&TargetId, TargetCounts<'_>> = BTreeMap::new();
    let mut last: Option<&Build> = None;
    for build in &plan.builds {
        let counts = targets.entry(&build.kernel.target).or_default();
        let is_new = last.is_none_or(|last| {
            !Arc::ptr_eq(&last.kernel, &build.kernel)
                && last.kernel.identity() != build.kernel.identity()
        });
        counts.kernels += usize::from(is_new);
        counts.drivers.insert(&build.driver.version);
        counts.builds += 1;
        counts.modules += usize::from(build.artifacts.contains(&Artifact::Module));
        counts.probes += usize::from(build.artifacts.contains(&Artifact::Probe));
        last = Some(build);
    }
    targets
}

fn write_table(output: &mut dyn Write, plan: &Plan, matrices: usize, all: bool) -> io::Result<()> {
    let targets = counts_by_target(plan);
    let kernels: usize = targets.values().map(|counts| counts.kernels).sum();
    let drivers: BTreeSet<&DriverVersion> = targets
        .values()
        .flat_map(|counts| &counts.drivers)
        .copied()
        .collect();
    write!(
        output,
        "Plan of {}: {}, {}, {}, {}",
        count(matrices, "matrix"),
        count(kernels, "kernel"),
        count(drivers.len(), "driver"),
        count(plan.builds.len(), "build"),
        count(plan.artifact_count(), "artifact"),
    )?;
    if plan.duplicates > 0 {
        write!(
            output,
            " ({} named more than once)",
            count(plan.duplicates, "build")
        )?;
    }
    writeln!(output, "\n")?;
    let mut rows = vec![
        [
            "TARGET", "KERNELS", "DRIVERS", "BUILDS", "MODULES", "PROBES",
        ]
        .map(str::to_owned),
    ];
    for (target, counts) in &targets {
        let TargetCounts {
            kernels,
            drivers,
            builds,
            modules,
            probes,
        } = counts;
        let [kernels, drivers, builds, modules, probes] =
            [*kernels, drivers.len(), *builds, *modules, *probes].map(|number| number.to_string());
        rows.push([
            target.to_string(),
            kernels,
            drivers,
            builds,
            modules,
            probes,
        ]);
    }
    write_columns(output, [false, true, true, true, true, true], &rows)?;
    if all || plan.builds.len() <= LISTED_BUILDS {
        write_builds(output, plan)?;
    } else {
        writeln!(output, "\n--all lists the builds.")?;
    }
    write_downloads(output, plan)?;
    write_left_out(output, plan)
}

fn artifact_list(artifacts: &[Artifact]) -> String {
    let names: Vec<&str> = artifacts.iter().map(|artifact| artifact.as_str()).collect();
    names.join(", ")
}

fn write_builds(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    if plan.builds.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["BUILD", "ARTIFACTS", "PACKAGES", "SOURCE"].map(str::to_owned)];
    rows.extend(plan.builds.iter().map(|build| {
        let kernel = &build.kernel;
        [
            build.id().to_string(),
            artifact_list(&build.artifacts),
            kernel.packages.len().to_string(),
            kernel.source.to_string(),
        ]
    }));
    writeln!(output)?;
    write_columns(output, [false, false, true, false], &rows)
}

/// The exception among the builds: whose packages a package manager downloads, in an image of the user's and with the
/// network on.
fn write_downloads(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let mut groups: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for build in &plan.builds {
        if let Some(subscription) = target::subscription(&build.kernel) {
            let image = build.settings.image.as_deref().unwrap_or_default();
            let kernel = &build.kernel;
            groups
                .entry((subscription.manager.as_str(), image))
                .or_default()
                .insert(format!("{} {}", kernel.target, kernel.release));
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let head = [
        "PACKAGES BY",
        "KERNELS",
        "WITH THE NETWORK, IN",
        "FOR EXAMPLE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(groups.into_iter().map(|((manager, image), kernels)| {
        [
            manager.to_owned(),
            kernels.len().to_string(),
            image.to_owned(),
            kernels.first().cloned().unwrap_or_default(),
        ]
    }));
    writeln!(output)?;
    write_columns(output, [false, true, false, false], &rows)
}

/// What was left out, by rule and reason.
fn write_left_out(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    if plan.left_out.is_empty() {
        return Ok(());
    }
    let mut groups: BTreeMap<(&str, &str), Vec<&LeftOut>> = BTreeMap::new();
    for left_out in &plan.left_out {
        groups
            .entry((&left_out.rule, &left_out.reason))
            .or_default()
            .push(left_out);
    }
    let mut rows = vec![["LEFT OUT BY", "COUNT", "REASON", "FOR EXAMPLE"].map(str::to_owned)];
    for ((rule, reason), members) in groups {
        let mut samples: Vec<String> = Vec::new();
        for member in &members {
            let sample = sample(member);
            if samples.len() == SAMPLES {
                samples.push("...".to_owned());
                break;
            }
            if !samples.contains(&sample) {
                samples.push(sample);
            }
        }
        rows.push([
            rule.to_owned(),
            members.len().to_string(),
            reason.to_owned(),
            samples.join(", "),
        ]);
    }
    writeln!(output)?;
    write_columns(output, [false, true, false, false], &rows)
}

fn sample(left_out: &LeftOut) -> String {
    let kernel = &left_out.kernel;
    format!("{} {}", kernel.target, kernel.release)
}

#[derive(Serialize)]
struct PlanJson<'a> {
    schema: u32,
    plan_sha256: crate::digest::Sha256,
    build_count: usize,
    artifact_count: usize,
    duplicate_count: usize,
    builds: BuildsJson<'a>,
    left_out: LeftOutsJson<'a>,
}

/// Written one by one, never collected.
struct BuildsJson<'a>(&'a [Build]);

impl Serialize for BuildsJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(build_json))
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
    id: BuildId,
    target: &'a TargetId,
    kernel_release: &'a KernelRelease,
    kernel_version: &'a KernelVersion,
    architecture: Architecture,
    driver_version: &'a DriverVersion,
    driver_location: &'a DriverLocation,
    module_name: &'a str,
    device_name: &'a str,
    artifacts: &'a [Artifact],
    packages: &'a [Package],
    #[serde(skip_serializing_if = "Option::is_none")]
    config_sha256: Option<crate::digest::Sha256>,
    source: &'a str,
    timeout_seconds: u64,
    memory_bytes: u64,
    processes: u32,
    retries: u32,
    gcc: Option<&'a str>,
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download: Option<DownloadJson>,
}

/// How packages are downloaded that have no addresses: in `image`, by a job that is root and has the network.
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

fn build_json(build: &Build) -> BuildJson<'_> {
    let (kernel, driver, settings) = (&*build.kernel, &*build.driver, &*build.settings);
    BuildJson {
        id: build.id(),
        target: &kernel.target,
        kernel_release: &kernel.release,
        kernel_version: &kernel.version,
        architecture: kernel.architecture,
        driver_version: &driver.version,
        driver_location: &driver.location,
        module_name: &driver.module_name,
        device_name: &driver.device_name,
        artifacts: &build.artifacts,
        packages: &kernel.packages,
        config_sha256: kernel.config_sha256,
        source: &kernel.source,
        timeout_seconds: settings.timeout.as_secs(),
        memory_bytes: settings.memory_bytes,
        processes: settings.processes,
        retries: settings.retries,
        gcc: settings.gcc.as_deref(),
        image: settings.image.as_deref(),
        download: download_json(kernel),
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

fn write_json(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let json = PlanJson {
        schema: SCHEMA,
        plan_sha256: plan.digest(),
        build_count: plan.builds.len(),
        artifact_count: plan.artifact_count(),
        duplicate_count: plan.duplicates,
        builds: BuildsJson(&plan.builds),
        left_out: LeftOutsJson(&plan.left_out),
    };
    serde_json::to_writer_pretty(&mut *output, &json).map_err(io::Error::from)?;
    writeln!(output)
}

/// One row a planned artifact, then one row a thing left out; columns are only ever appended.
fn write_csv(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
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
    ])?;
    for build in &plan.builds {
        let kernel = &build.kernel;
        let id = build.id();
        for artifact in build.artifacts.iter() {
            let path = build.artifact_path(*artifact);
            rows.write_record([
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
            ])?;
        }
    }
    for left_out in &plan.left_out {
        let kernel = &left_out.kernel;
        rows.write_record([
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
        ])?;
    }
    rows.flush()
}
