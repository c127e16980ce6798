//! `manifest merge`: merges the manifests of shards.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{AnswerFormat, print_json};
use super::{CliError, Context, ExitStatus};
use crate::report::{ReportError, merge_manifests, read_manifest, write_manifest};
use crate::resolve::{check_directory, said_while_busy, said_while_reading};
use crate::text::count;

/// Work with the manifests of runs
#[derive(Debug, Args)]
pub(super) struct ManifestArguments {
    #[command(subcommand)]
    command: ManifestCommand,
}

#[derive(Debug, Subcommand)]
enum ManifestCommand {
    Merge(MergeArguments),
}

/// Merge the manifests of the shards of a plan
///
/// The order of the shards makes no difference. Shards that contradict each other about a build, or that were built
/// from different matrices, are rejected. `diff`, `report` and `stats` also accept a directory with the output
/// directories of shards.
#[derive(Debug, Args)]
struct MergeArguments {
    /// The manifests, or the output directories of the shards
    #[arg(value_name = "SHARDS", required = true, num_args = 1..)]
    shards: Vec<PathBuf>,
    /// Directory for the merged manifest
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    format: AnswerFormat,
}

impl ManifestArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let ManifestCommand::Merge(MergeArguments {
            shards,
            out,
            format,
        }) = self.command;
        check_directory(&out, "--out")?;
        let read = |path: &PathBuf| said_while_reading(context, path, || read_manifest(path));
        let parts: Result<Vec<_>, _> = shards.iter().map(read).collect();
        let mut merged = merge_manifests(parts?).map_err(|error| CliError::Input {
            message: error.to_string(),
            help: None,
        })?;
        let line = || format!("writing {}", out.display());
        let written = said_while_busy(context, line, || write_manifest(&mut merged, &out));
        written.map_err(|error| match error {
            ReportError::File(error) => CliError::File(error),
            error => CliError::infrastructure(error.to_string()),
        })?;
        if format.is_json() {
            print_json(&json!({
                "schema": 1,
                "out": out,
                "manifest_count": shards.len(),
                "build_count": merged.builds.len(),
                "notes": merged.run.notes,
            }))?;
            return Ok(ExitStatus::Success);
        }
        for note in &merged.run.notes {
            context.notice(note);
        }
        context.notice(&format!(
            "{} of {} in {}",
            count(merged.builds.len(), "build"),
            count(shards.len(), "manifest"),
            out.display()
        ));
        Ok(ExitStatus::Success)
    }
}
