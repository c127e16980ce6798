//! `compilers`: finds out which compiler builds which kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::ci::Step;
use super::execution::Execution;
use super::output::{print, print_json};
use super::run::RunArguments;
use super::{CliError, Context, ExitStatus, Selection};
use crate::history::CompilerTable;
use crate::image::GccVersion;
use crate::matrix::Pattern;
use crate::plan::{Build, BuildSettings};
use crate::report::{Manifest, read_manifest};
use crate::resolve::check_directory;
use crate::text::count;

/// Build each kernel with every available compiler
///
/// Prints a table of kernels and compilers, and an `[[override]]` for each group of kernels that the chosen compiler
/// fails to build and another one builds. Modules and logs are in one directory per compiler below OUT. Exit code 1
/// if there is a kernel that no compiler builds. A CI job's summary and annotations are about the chosen compilers only.
#[derive(Debug, Args)]
pub(super) struct CompilersArguments {
    /// Maximum number of concurrent compiles
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Only these versions of gcc [default: all that builder images have]
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    gcc: Vec<GccVersion>,
    /// Directory for modules, logs and manifests
    #[arg(long, value_name = "DIR", default_value = "compilers")]
    out: PathBuf,
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    format: Format,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    execution: Execution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The table, and the rules as TOML
    Text,
    /// The table and the rules as JSON
    Json,
}

impl CompilersArguments {
    /// Runs the command.
    pub(super) fn execute(mut self, context: &Context) -> Result<ExitStatus, CliError> {
        check_directory(&self.out, "--out")?;
        if self.selection.artifact.is_empty() {
            // gcc makes modules only.
            let module =
                Pattern::for_names("module").map_err(|error| CliError::input(error.to_string()))?;
            self.selection.artifact.push(module);
        }
        let (jobs, format, wanted, out) = (self.jobs, self.format, self.gcc, self.out);
        let run = RunArguments::of_part(self.selection, jobs, out.clone(), self.execution);
        let mut planned = run.plan(context)?;
        let toolchains = run.execution.toolchains(context)?;
        let architectures: BTreeSet<_> = planned
            .plan
            .builds
            .iter()
            .map(|build| build.kernel.architecture)
            .collect();
        let versions: BTreeSet<GccVersion> = toolchains
            .compilers()
            .filter(|(architecture, _)| architectures.contains(architecture))
            .map(|(_, gcc)| gcc)
            .filter(|gcc| wanted.is_empty() || wanted.iter().any(|one| one.agrees_with(gcc)))
            .collect();
        if versions.is_empty() {
            return Err(CliError::Input {
                message: "no compiler found".to_owned(),
                help: Some("build images with `driverkit-matrix images build`".to_owned()),
            });
        }
        let all = std::mem::take(&mut planned.plan.builds);
        let mut build_with = |gcc: Option<&GccVersion>, place: &Path| {
            let demanding = all.iter().map(|build| Build {
                settings: Arc::new(BuildSettings {
                    gcc: gcc.map(ToString::to_string),
                    ..BuildSettings::clone(&build.settings)
                }),
                ..build.clone()
            });
            // Skips architectures and targets for which no image has this compiler.
            let possible = demanding.filter(|build| toolchains.refuses(build).is_none());
            planned.plan.builds = possible.collect();
            if planned.plan.builds.is_empty() {
                return Ok(None);
            }
            let builds = count(planned.plan.builds.len(), "build");
            let with = gcc.map_or("the chosen compilers".to_owned(), |gcc| {
                format!("gcc {gcc}")
            });
            context.notice(&format!("\n{builds} with {with}, into {}", place.display()));
            // Failures with the other compilers are expected.
            let step = match gcc {
                Some(_) => Step::default(),
                None => Step::of_environment(),
            };
            attempt(&run, context, &planned, place, &step).map(Some)
        };
        let chosen = build_with(None, &out.join("chosen"))?;
        let chosen = chosen.ok_or_else(|| CliError::input("the plan has no build"))?;
        let mut demanded = Vec::new();
        for gcc in versions {
            let place = out.join(format!("gcc-{gcc}"));
            if let Some(manifest) = build_with(Some(&gcc), &place)? {
                demanded.push((gcc, manifest));
            }
        }
        let table = CompilerTable::new(&chosen, &demanded);
        let rules = table.rules();
        match format {
            Format::Json => print_json(&serde_json::json!({
                "schema": 1, "table": table, "rules": rules,
            }))?,
            Format::Text if rules.is_empty() => {
                print(&(table.draw() + "\n# no [[override]] is needed\n"))?;
            }
            Format::Text => print(&format!(
                "{}\n{}",
                table.draw(),
                rules.trim_end().to_owned() + "\n"
            ))?,
        }
        Ok(if table.all_can_be_built() {
            ExitStatus::Success
        } else {
            ExitStatus::Incomplete
        })
    }
}

/// Builds the plan in the directory `place`. Returns an error if the run is interrupted or its infrastructure fails.
fn attempt(
    run: &RunArguments,
    context: &Context,
    planned: &super::Planned,
    place: &Path,
    step: &Step,
) -> Result<Manifest, CliError> {
    match run.carry_out(context, planned, place, step)? {
        ExitStatus::Interrupted => Err(CliError::infrastructure("interrupted".to_owned())),
        ExitStatus::Infrastructure => Err(CliError::infrastructure(format!(
            "the run failed, see {}",
            place.display()
        ))),
        _ => Ok(read_manifest(place)?),
    }
}
