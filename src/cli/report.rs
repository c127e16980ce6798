//! `report`, and `run --report`: writes a night in other formats.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::destination::Source;
use super::diff::{Baseline, read_baseline, warn_of_different_grids};
use super::output::ignore_broken_pipe;
use super::recorded::reproduce;
use super::{CliError, Context, ExitStatus};
use crate::fs;
use crate::history::{Diff, Night, diff_nights};
use crate::report::{
    Columns, Manifest, earlier_manifests, manifest_file, read_log, read_night, shards_in,
};
use crate::resolve::said_while_reading;
use crate::views::{Format, PastNight, Subject};

/// The maximum number of log lines that a view shows.
const EXCERPT_LINES: usize = 30;

/// Show a run as a page, a summary, test results or metrics
///
/// Reads only the manifests in the output directory; sends no requests.
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// Output directory of the run, or the URL of a destination
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    /// Output format: html, markdown, junit, prometheus, kcidb, cyclonedx or csv
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "html",
        help_heading = "Output"
    )]
    format: Format,
    /// The file to write [default: standard output]
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// The run to compare with: a manifest or an output directory [default: the previous night in OUT]
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
}

impl ReportArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let source = Source::open(context, &self.out)?;
        let night = self.read_baseline(context)?;
        let baseline = match (&self.baseline, &night) {
            (_, Some(night)) => Baseline::Night(night),
            (Some(path), None) if !is_same_folder(path, &self.out) => Baseline::Nothing,
            _ => Baseline::Previous,
        };
        let text = said_while_reading(context, &self.out, || {
            let nights = Nights::read(source.path(), baseline, self.format.columns())?;
            if let Some(diff) = &nights.diff {
                warn_of_different_grids(context, diff);
            }
            let text = nights.draw(self.format);
            // The process ends soon: freeing a large night takes as long as rendering it.
            std::mem::forget(nights);
            text
        })?;
        match &self.output {
            Some(path) => fs::write(path, text)?,
            None => ignore_broken_pipe(|output| output.write_all(&text))?,
        }
        Ok(ExitStatus::Success)
    }

    /// Reads the baseline; returns `None` if none is given, it does not exist, or it is the directory of the run, whose
    /// earlier manifests have the previous night.
    fn read_baseline(&self, context: &Context) -> Result<Option<Night>, CliError> {
        let Some(path) = &self.baseline else {
            return Ok(None);
        };
        if is_same_folder(path, &self.out) {
            return Ok(None);
        }
        let is_url = path.to_string_lossy().contains("://");
        if is_url || is_there(path) {
            return read_baseline(context, path).map(Some);
        }
        context.notice(&format!(
            "baseline {} does not exist: nothing to compare with",
            path.display()
        ));
        Ok(None)
    }
}

/// A `--report`: the format and the path of the file.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    format: Format,
    path: PathBuf,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or("expected FORMAT=PATH, as in html=night.html")?;
        Ok(Self {
            format: format.parse()?,
            path: path.into(),
        })
    }
}

impl Wanted {
    /// The columns of the manifest that the format needs.
    pub(super) fn columns(&self) -> Columns {
        self.format.columns()
    }

    /// Writes the report of a run that has ended. An error is only printed.
    pub(super) fn write(&self, context: &Context, nights: &Nights) {
        let Self { format, path } = self;
        let written = nights
            .draw(*format)
            .and_then(|text| Ok(fs::write(path, text)?));
        if let Err(error) = written {
            context.notice(&format!(
                "failed to write the report {}={}: {error}; drivers and manifest are complete",
                format.as_str(),
                path.display()
            ));
        }
    }
}

/// A night with its baseline and the previous nights.
pub(super) struct Nights {
    out: PathBuf,
    manifest: Manifest,
    diff: Option<Diff>,
    history: Vec<PastNight>,
}

impl Nights {
    /// Reads the night in `out` with the earlier manifests that are stored there.
    pub(super) fn read(
        out: &Path,
        baseline: Baseline<'_>,
        columns: Columns,
    ) -> Result<Self, CliError> {
        let manifest = read_night(out, columns)?;
        let mut before = None;
        let mut history = Vec::new();
        for path in earlier_manifests(out)? {
            // A manifest that cannot be read is skipped.
            let Some(night) = past_night(&path) else {
                continue;
            };
            if night.run.id == manifest.run.id || night.run.started > manifest.run.started {
                continue;
            }
            if before.is_none() && night.run.extent.is_complete() {
                before = Some(path);
            }
            history.push(night);
        }
        history.reverse();
        let diff = match (baseline, before) {
            (Baseline::Night(old), _) => Some(diff_nights(old, &Night::read(out)?)),
            (Baseline::Previous, Some(path)) => {
                let (old, new) = rayon::join(|| Night::read(&path), || Night::read(out));
                Some(diff_nights(&old?, &new?))
            }
            (Baseline::Previous, None) | (Baseline::Nothing, _) => None,
        };
        let diff = diff.filter(|diff| diff.old_run != manifest.run.id);
        Ok(Self {
            out: out.to_owned(),
            manifest,
            diff,
            history,
        })
    }

    /// Renders the night in a format.
    pub(super) fn draw(&self, format: Format) -> Result<Vec<u8>, CliError> {
        let excerpt = |log: &Path| self.excerpt(log);
        let reproduce = reproduce(&self.manifest);
        let subject = Subject {
            manifest: &self.manifest,
            diff: self.diff.as_ref(),
            history: &self.history,
            excerpt: &excerpt,
            reproduce: &|build| reproduce.command(build),
        };
        let mut text = Vec::new();
        let written = format.view().write(&subject, &mut text);
        written.map_err(|error| CliError::infrastructure(error.to_string()))?;
        Ok(text)
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(super) fn history(&self) -> &[PastNight] {
        &self.history
    }

    /// Returns the end of a log. Its path comes from a manifest and must not lead out of the output directory.
    fn excerpt(&self, log: &Path) -> Option<String> {
        let is_inside = log
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let mut places = vec![self.out.clone()];
        places.extend(shards_in(&self.out));
        let text = is_inside.then(|| {
            let mut places = places.iter();
            places.find_map(|place| read_log(&place.join(log)).ok())
        })??;
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let start = lines.len().saturating_sub(EXCERPT_LINES);
        Some(lines[start..].join("\n"))
    }
}

/// Returns true if `path` has a manifest, or shards with manifests.
fn is_there(path: &Path) -> bool {
    manifest_file(path).exists() || !shards_in(path).is_empty()
}

fn is_same_folder(left: &Path, right: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(left).is_some() && real(left) == real(right)
}

/// Reads the run and totals of an earlier manifest, without its builds.
fn past_night(path: &Path) -> Option<PastNight> {
    let bytes = fs::read(&manifest_file(path)).ok()?;
    serde_json::from_slice(&bytes).ok()
}
