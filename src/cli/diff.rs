//! `diff`: shows what changed from one run to another.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::destination::Source;
use super::output::{print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::history::{Change, Diff, Night, diff_nights, draw_markdown, draw_text};
use crate::report::{manifest_file, shards_in};
use crate::resolve::said_while_reading;
use crate::text::separated;

/// Compare two runs, artifact by artifact
///
/// A change is one of: regressed, new-failure, lost, still-failing, known-failure (it fails as a `[[known_failure]]`
/// expects), fixed, new, renamed, gone, unknown (one of the runs was interrupted, or about a part of its plan), unchanged. Failures are grouped by what they have in common.
#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The baseline: a manifest, the output directory of a run, a directory with those of its shards, or the URL of a
    /// destination; if the last run there is incomplete, its newest complete one
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The run to compare with the baseline
    #[arg(value_name = "NEW", default_value = "out")]
    new: PathBuf,
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    format: Format,
    /// End with exit code 1 if an artifact has one of these changes: regressed, new-failure, lost, ...
    #[arg(long, value_name = "CHANGE", value_delimiter = ',')]
    fail_on: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for a terminal
    Text,
    /// Markdown, such as for the summary of a CI job
    Markdown,
    /// JSON with every artifact that changed
    Json,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    schema: u32,
    #[serde(flatten)]
    diff: &'a Diff,
}

impl DiffArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let (old, new) = rayon::join(
            || read_baseline(context, &self.old),
            || read(context, &self.new),
        );
        let found = diff_nights(&old?, &new?);
        warn_of_different_grids(context, &found);
        match self.format {
            Format::Text => print(&draw_text(&found))?,
            Format::Markdown => print(&draw_markdown(&found))?,
            Format::Json => print_json(&Answer {
                schema: 1,
                diff: &found,
            })?,
        }
        if has_any(context, &found, &self.fail_on) {
            return Ok(ExitStatus::Incomplete);
        }
        Ok(ExitStatus::Success)
    }
}

/// Prints a notice if the two runs have no artifact in common.
pub(super) fn warn_of_different_grids(context: &Context, diff: &Diff) {
    if diff.is_of_different_grids() {
        context.notice(&format!(
            "run {} and run {} have no artifact in common: they are of different plans",
            diff.old_run, diff.new_run
        ));
    }
}

/// Returns true if the difference has one of the `wanted` changes, and prints those that it has.
fn has_any(context: &Context, diff: &Diff, wanted: &[Change]) -> bool {
    let found: Vec<String> = wanted
        .iter()
        .filter(|&&change| diff.count(change) > 0)
        .map(|&change| format!("{change}: {}", separated(diff.count(change))))
        .collect();
    if !found.is_empty() {
        context.notice(&format!(
            "failing because of --fail-on: {}",
            found.join(", ")
        ));
    }
    !found.is_empty()
}

/// Flags of `run` that compare its result with a baseline.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct BaselineArguments {
    /// At the end, print what changed since this run: a manifest, an output directory, or the URL of a destination
    ///
    /// The baseline is read before the run begins, so it may be the output directory itself. If the last run there was
    /// stopped or covers only a part of its plan, its newest complete one is used. It may be missing.
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
    /// Let the exit code say whether an artifact has one of these changes since the baseline, instead of whether all
    /// artifacts were built: regressed, new-failure, lost, ...
    #[arg(
        long,
        value_name = "CHANGE",
        value_delimiter = ',',
        requires = "baseline"
    )]
    fail_on: Vec<Change>,
}

/// The run that a night is compared with.
#[derive(Clone, Copy)]
pub(super) enum Baseline<'a> {
    /// The newest complete night before it in the same output directory.
    Previous,
    /// This night.
    Night(&'a Night),
    /// The given one does not exist, or none is needed.
    Nothing,
}

impl BaselineArguments {
    /// Returns what reports compare a run with, given the baseline that was read before.
    pub(super) fn of_reports<'a>(&self, read: Option<&'a Night>) -> Baseline<'a> {
        match read {
            Some(night) => Baseline::Night(night),
            None if self.baseline.is_some() => Baseline::Nothing,
            None => Baseline::Previous,
        }
    }

    /// Reads the baseline; returns `None` if none is given or it does not exist.
    pub(super) fn read(&self, context: &Context) -> Result<Option<Night>, CliError> {
        let Some(path) = &self.baseline else {
            return Ok(None);
        };
        let is_there = |source: &Source| {
            let path = source.path();
            manifest_file(path).exists() || !shards_in(path).is_empty()
        };
        let source = Source::find(context, path)?;
        let Some(source) = source.filter(is_there) else {
            let path = path.display();
            context.notice(&format!(
                "baseline {path} does not exist: nothing to compare with"
            ));
            return Ok(None);
        };
        night_of_baseline(context, path, &source).map(Some)
    }

    /// Prints what changed from `baseline` to the manifest in `out`, and returns the exit status of the program.
    pub(super) fn compare(
        &self,
        context: &Context,
        baseline: &Night,
        out: &Path,
        status: ExitStatus,
    ) -> Result<ExitStatus, CliError> {
        let found = diff_nights(baseline, &read(context, out)?);
        warn_of_different_grids(context, &found);
        context.notice(&format!("\n{}", draw_text(&found).trim_end()));
        if self.fail_on.is_empty() {
            return Ok(status);
        }
        let is_worse = has_any(context, &found, &self.fail_on);
        Ok(match status {
            ExitStatus::Success | ExitStatus::Incomplete if is_worse => ExitStatus::Incomplete,
            ExitStatus::Success | ExitStatus::Incomplete => ExitStatus::Success,
            other => other,
        })
    }
}

/// Reads the run that others are compared with, and prints a notice if it is not the last one at `path`.
pub(super) fn read_baseline(context: &Context, path: &Path) -> Result<Night, CliError> {
    let source = Source::open(context, path)?;
    night_of_baseline(context, path, &source)
}

fn night_of_baseline(context: &Context, path: &Path, source: &Source) -> Result<Night, CliError> {
    let read = || Night::read_baseline(source.path());
    let (night, notice) = said_while_reading(context, path, read)?;
    if let Some(notice) = notice {
        context.notice(&format!("baseline {}: {notice}", path.display()));
    }
    Ok(night)
}

fn read(context: &Context, path: &Path) -> Result<Night, CliError> {
    let source = Source::open(context, path)?;
    Ok(said_while_reading(context, path, || {
        Night::read(source.path())
    })?)
}
