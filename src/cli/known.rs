//! `known`: shows the known failures of the last run, and suggests rules for the others.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::destination::no_run;
use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::driver::Artifact;
use crate::event::{FindingKind, KnownBy};
use crate::failure::Status;
use crate::history::{Night, suggest};
use crate::plan::BuildId;
use crate::report::{Columns, manifest_file, read_night, shards_in};
use crate::resolve::said_while_reading;
use crate::text::separated;

/// Show the failures of the last run that `[[known_failure]]` rules expect, and which rules are outdated
///
/// The exit code is a sum: 4 if a rule has expired, 8 if one matches nothing, 16 if an artifact was built although a
/// rule expects it to fail.
#[derive(Debug, Args)]
pub(super) struct KnownArguments {
    /// Output directory of the run, or a directory with those of its shards
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    /// Print rules for the failures that no rule expects, to be edited and added to the matrix
    #[arg(long)]
    suggest: bool,
    #[command(flatten)]
    format: AnswerFormat,
}

/// A failure that a rule expects.
#[derive(Serialize)]
struct KnownFailure<'a> {
    build_id: &'a BuildId,
    artifact: Artifact,
    #[serde(flatten)]
    by: &'a KnownBy,
}

impl KnownArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if !manifest_file(&self.out).exists() && shards_in(&self.out).is_empty() {
            return Err(no_run(
                &self.out,
                "name the output directory of a run, or its manifest",
            ));
        }
        if self.suggest {
            let night = said_while_reading(context, &self.out, || Night::read(&self.out))?;
            let rules = suggest(&night);
            if self.format.is_json() {
                print_json(&json!({ "schema": 1, "rules": rules }))?;
            } else {
                print(&rules)?;
            }
            return Ok(ExitStatus::Success);
        }
        let manifest =
            said_while_reading(context, &self.out, || read_night(&self.out, Columns::All))?;
        let builds = manifest.builds.iter();
        let known: Vec<KnownFailure<'_>> = builds
            .flat_map(|build| build.artifacts.iter().map(move |one| (build, one)))
            .filter(|(_, artifact)| artifact.status == Status::Known)
            .filter_map(|(build, artifact)| {
                let by = artifact.known.as_ref()?;
                Some(KnownFailure {
                    build_id: &build.build_id,
                    artifact: artifact.artifact,
                    by,
                })
            })
            .collect();
        let bits = manifest.findings.iter().fold(0, |bits, finding| {
            bits | match finding.kind {
                FindingKind::Expired => 4,
                FindingKind::Unused => 8,
                FindingKind::UnexpectedPass => 16,
            }
        });
        if self.format.is_json() {
            print_json(&json!({
                "schema": 1,
                "known_failures": known,
                "findings": manifest.findings,
            }))?;
            return Ok(ExitStatus::from_findings(bits));
        }
        let mut text = format!("known failures: {}\n", separated(known.len()));
        for KnownFailure {
            build_id,
            artifact,
            by,
        } in &known
        {
            let (reason, place) = (&by.reason, &by.place);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{build_id} ({artifact}): {reason} ({place})");
        }
        for finding in &manifest.findings {
            let _ = writeln!(text, "{}: {}", finding.place, finding.message);
        }
        print(&text)?;
        Ok(ExitStatus::from_findings(bits))
    }
}
