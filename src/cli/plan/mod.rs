//! `plan`: shows what would be built, and what was left out.

mod check;
mod counts;
mod machines;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::execution::Execution;
use super::output::{ignore_broken_pipe, packages};
use super::{CliError, Context, ExitStatus};
use super::{Planned, Selection};
use crate::driver::{Artifact, DriverVersion};
use crate::matrix::parse_time;
use crate::plan::{Build, LeftOut, Plan};
use crate::resolve::{LockUse, check_demands, check_directory, export};
use crate::target::Subscription;
use crate::text::{count, separated, write_columns};

use counts::{Counts, TargetCounts};
use machines::{write_csv, write_json};

/// The maximum number of builds that are listed without `--all`.
const LISTED_BUILDS: usize = 40;
/// The number of example kernels that are listed for each rule.
const SAMPLES: usize = 3;

/// Show what would be built, and what was left out by which rule
///
/// Accepts the flags of `run` for executor and images, and reports the same errors; builds and downloads nothing. A
/// builder image that is not built yet is only a warning.
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// Output format; driverkit writes files for dbg-go below the directory of --out
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    format: Format,
    /// Output directory for `--format driverkit`
    #[arg(
        long,
        value_name = "DIR",
        required_if_eq("format", "driverkit"),
        help_heading = "Output"
    )]
    out: Option<PathBuf>,
    /// List every build in the table, however many there are
    #[arg(long)]
    all: bool,
    /// List the kernels whose own name no host requests, with the name that Falco's loader requests instead
    #[arg(long, conflicts_with_all = ["format", "out"])]
    names: bool,
    /// Query servers whether the files exist that no index lists; nothing is downloaded
    ///
    /// These are the files whose URLs are computed, given in the matrix or listed without digests. The exit code is 1
    /// if a file does not exist, 3 if a server gave no definite answer. Answers are cached.
    #[arg(long, conflicts_with_all = ["names", "out", "all"])]
    check: bool,
    /// Maximum age of cached answers of an earlier --check
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_time, requires = "check")]
    check_age: Duration,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    execution: Execution,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Table for people
    Table,
    /// JSON with all fields
    Json,
    /// CSV with one row per artifact
    Csv,
    /// One YAML file per build, for dbg-go
    Driverkit,
}

impl PlanArguments {
    pub(super) fn execute(mut self, context: &Context) -> Result<ExitStatus, CliError> {
        self.selection.lock_use = LockUse::TryStale;
        let image = self.execution.named_image()?;
        let planned = self.selection.plan(context, image.as_deref())?;
        let plan = &planned.plan;
        if plan.builds.iter().any(Build::demands_toolchain)
            && let Some(toolchains) = self.execution.surely_known_toolchains(context)?
        {
            check_demands(context, &planned, &toolchains)?;
        }
        if self.check {
            let is_json = match self.format {
                Format::Table => false,
                Format::Json => true,
                Format::Csv | Format::Driverkit => {
                    return Err(CliError::input(
                        "--check supports only the formats table and json",
                    ));
                }
            };
            return check::check(context, &planned, self.check_age, is_json);
        }
        if let (Format::Driverkit, Some(folder)) = (self.format, &self.out) {
            check_directory(folder, "--out")?;
            let written = export::write(&planned, folder)?;
            let files = count(written, "file");
            context.notice(&format!("{}: {files} written", folder.display()));
            return Ok(planned.availability.status());
        }
        if self.names {
            ignore_broken_pipe(|output| names::write_names(output, plan))?;
            return Ok(planned.availability.status());
        }
        ignore_broken_pipe(|output| match self.format {
            Format::Table => write_table(output, &planned, self.all),
            Format::Json => write_json(output, plan, planned.unconfirmed),
            Format::Csv | Format::Driverkit => write_csv(output, plan),
        })?;
        // The process ends soon: freeing hundreds of thousands of kernels takes as long as reading them.
        let status = planned.availability.status();
        std::mem::forget(planned);
        Ok(status)
    }
}

fn write_table(output: &mut dyn Write, planned: &Planned, all: bool) -> io::Result<()> {
    let (plan, matrices) = (&planned.plan, planned.matrices.len());
    let Counts {
        targets,
        unasked,
        subscriptions,
    } = Counts::of(plan);
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
            " ({} listed more than once)",
            count(plan.duplicates, "build")
        )?;
    }
    if planned.unconfirmed > 0 {
        write!(
            output,
            "\n{} unconfirmed: no longer in their sources, which lost too many kernels at once",
            count(planned.unconfirmed, "kernel")
        )?;
    }
    writeln!(output)?;
    names::write_count(output, unasked)?;
    writeln!(output)?;
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
            [*kernels, drivers.len(), *builds, *modules, *probes].map(separated);
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
    write_downloads(output, &subscriptions)?;
    write_taken_names(output, plan)?;
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
            packages(kernel),
            kernel.source.to_string(),
        ]
    }));
    writeln!(output)?;
    write_columns(output, [false, false, true, false], &rows)
}

/// Writes the builds whose packages a package manager downloads, in a user's image with network access.
fn write_downloads(
    output: &mut dyn Write,
    subscriptions: &[(&Build, Subscription)],
) -> io::Result<()> {
    let mut groups: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for (build, subscription) in subscriptions {
        let image = build.settings.image.as_deref().unwrap_or_default();
        let kernel = &build.kernel;
        groups
            .entry((subscription.manager.as_str(), image))
            .or_default()
            .insert(format!("{} {}", kernel.target, kernel.release));
    }
    if groups.is_empty() {
        return Ok(());
    }
    let head = [
        "PACKAGES FROM",
        "KERNELS",
        "WITH NETWORK ACCESS, IN",
        "FOR EXAMPLE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(groups.into_iter().map(|((manager, image), kernels)| {
        [
            manager.to_owned(),
            separated(kernels.len()),
            image.to_owned(),
            kernels.first().cloned().unwrap_or_default(),
        ]
    }));
    writeln!(output)?;
    write_columns(output, [false, true, false, false], &rows)
}

/// Writes the kernels whose loader name belongs to another kernel.
fn write_taken_names(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    if !plan.names.has_conflicts() {
        return Ok(());
    }
    let mut losers: BTreeMap<String, [String; 2]> = BTreeMap::new();
    let builds = plan.builds.iter();
    let artifacts = builds.flat_map(|build| build.artifacts.iter().map(move |one| (build, *one)));
    for (build, artifact) in artifacts {
        if let Some(alias) = plan.names.alias(build, artifact)
            && let Some(winner) = &alias.taken_by
        {
            let name = format!("{} {}", alias.name.target, alias.name.release);
            losers.insert(build.kernel.to_string(), [name, winner.to_string()]);
        }
    }
    if losers.is_empty() {
        return Ok(());
    }
    let head = ["WITHOUT LOADER NAME", "NAME", "TAKEN BY"];
    let mut rows = vec![head.map(str::to_owned)];
    let more = losers.len().saturating_sub(LISTED_BUILDS);
    let listed = losers.into_iter().take(LISTED_BUILDS);
    rows.extend(listed.map(|(kernel, [name, winner])| [kernel, name, winner]));
    writeln!(output)?;
    write_columns(output, [false, false, false], &rows)?;
    if more > 0 {
        let kernels = count(more, "kernel");
        writeln!(output, "and {kernels} more: --format json lists all")?;
    }
    Ok(())
}

/// Writes what was left out, by rule and reason.
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
            separated(members.len()),
            reason.to_owned(),
            samples.join(", "),
        ]);
    }
    writeln!(output)?;
    write_columns(output, [false, true, false, false], &rows)
}

fn sample(left_out: &LeftOut) -> String {
    if &*left_out.rule == LeftOut::SOURCE_UNAVAILABLE {
        return left_out.subject();
    }
    let kernel = &left_out.kernel;
    format!("{} {}", kernel.target, kernel.release)
}
