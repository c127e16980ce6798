//! `rebuild`: compiles one build again and compares the result with the previous one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::attest::attest;
use super::checks::Checks;
use super::execution::Execution;
use super::output::{AnswerFormat, print, print_json};
use super::recorded::recorded_command;
use super::run::RunArguments;
use super::{CliError, Context, ExitStatus, Selection, completing};
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::engine::RetryClasses;
use crate::event::ArtifactReport;
use crate::failure::{Failure, Status};
use crate::plan::BuildId;
use crate::recipe::Toolchains;
use crate::report::{self, Asked, ManifestUpdate, REBUILT_FOLDER, Terminal, UpdateError};
use crate::resolve::{check_attestation, check_proofs, check_signing};
use crate::run::RunSettings;
use crate::session::{Recorder, Session, new_run_id};
use crate::sign::unsigned;
use crate::verify::first_differing_section;

/// Compile one build again and compare the results
///
/// Ignores cached results of the build, including failures. Without --keep, the output directory and the cache do not
/// change: the new files are placed below OUT/.driverkit-matrix/rebuilt. Exit code 1 if an artifact cannot be built,
/// or differs from the one in the output directory.
#[derive(Debug, Args)]
pub(super) struct RebuildArguments {
    /// The build, as `plan` prints it (<driver version>/<machine>/<target>_<release>_<version>), or a unique part of its
    /// name
    #[arg(value_name = "BUILD", add = completing::builds())]
    build: String,
    /// Matrix files [default: matrices/*.toml]
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Output directory of the run
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Replace the result in the cache, the output directory and its manifest
    #[arg(long)]
    keep: bool,
    /// Fail if a lock is missing or stale instead of refreshing it
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    format: AnswerFormat,
    #[command(flatten)]
    execution: Execution,
}

/// The new and the previous state of an artifact.
#[derive(Debug, Serialize)]
struct Comparison {
    artifact: Artifact,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    /// The digest of the previous file in the output directory; for a module, without its signature.
    before: Option<Sha256>,
    /// The digest of the new file; for a module, without its signature.
    now: Option<Sha256>,
    /// The first section that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<String>,
    /// The path of the new file.
    path: Option<PathBuf>,
    log: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Rebuilt {
    build_id: BuildId,
    artifacts: Vec<Comparison>,
}

impl RebuildArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if self.build.is_empty() {
            return Err(CliError::input("the name of the build is empty"));
        }
        let (keep, is_json, out) = (self.keep, self.format.is_json(), self.out.clone());
        let name = self.build.clone();
        let run = self.into_run();
        let planned = run.plan(context)?;
        let build = planned
            .plan
            .builds
            .first()
            .ok_or_else(|| CliError::input("the plan has no such build"))?;
        if build.id().as_str() != name {
            context.notice(&format!("building {}", build.id()));
        }
        // Locks the manifest before the build, and until the end.
        let update = if keep {
            Some(open_manifest(&out)?)
        } else {
            None
        };
        let artifacts = build.artifacts.iter();
        let before: Vec<Option<Vec<u8>>> = artifacts
            .map(|&artifact| std::fs::read(out.join(build.artifact_path(artifact))).ok())
            .collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        let parts = run.parts(context, &planned, sender, new_run_id(), Arc::new, &run.out)?;
        check_proofs(&planned, &parts.toolchains, run.checks.prove)?;
        // Artifacts that are only compared need no signature.
        let (signer, attester) = if keep {
            (check_signing(&planned)?, check_attestation(&planned)?)
        } else {
            (None, None)
        };
        let uses_host = matches!(parts.toolchains, Toolchains::Host { .. });
        let recorder = Recorder::default();
        let activity = planned.activity.clone();
        let asked = Asked::new(move || activity.line());
        let settings = run.settings();
        let second = settings.second.clone();
        let session = Session {
            context,
            settings: RunSettings {
                retry: RetryClasses::rebuild(keep),
                signer,
                ..settings
            },
            plan: &planned.plan,
            jobs_are_given: true,
            shard: None,
            is_partial: true,
            findings: None,
            command: recorded_command(),
            matrices: planned.matrices.clone(),
            shared: None,
            at_least: ExitStatus::Success,
            parts,
            reporters: vec![
                report::progress(
                    Terminal::stderr(context.style),
                    context.verbosity > 0,
                    report::Expected::default(),
                    asked,
                ),
                Box::new(recorder.clone()),
            ],
            receiver,
        };
        let connect = async |_| run.connect(context, uses_host, &second).await;
        let status = ExitStatus::of_run(session.carry_out(connect)?.exit_code());
        let Some(report) = recorder.report() else {
            return Ok(status);
        };
        if let Some(update) = update {
            update
                .replace(report)
                .map_err(|error| update_error(&error))?;
            if let Some(attester) = attester {
                attest(context, &attester, &out)?;
            }
        }
        let rebuilt = Rebuilt {
            build_id: report.build_id.clone(),
            artifacts: report
                .artifacts
                .iter()
                .zip(&before)
                .map(|(now, before)| compare(&run.out, now, before.as_deref()))
                .collect(),
        };
        if is_json {
            print_json(&rebuilt)?;
        } else {
            print(&draw(&rebuilt, &out))?;
        }
        let is_different = |artifact: &Comparison| {
            artifact.now.is_some() && artifact.before.is_some() && artifact.now != artifact.before
        };
        if status == ExitStatus::Success && rebuilt.artifacts.iter().any(is_different) {
            return Ok(ExitStatus::Incomplete);
        }
        Ok(status)
    }

    /// Returns the run of the build. Without --keep it has a separate output directory.
    fn into_run(self) -> RunArguments {
        let out = if self.keep {
            self.out
        } else {
            self.out.join(REBUILT_FOLDER)
        };
        let selection = Selection {
            files: self.files,
            only: vec![self.build],
            takes_parts: true,
            locked: self.locked,
            ..Selection::default()
        };
        let mut run = RunArguments::of_one(selection, out, self.execution);
        run.checks = self.checks;
        run
    }
}

fn open_manifest(out: &Path) -> Result<ManifestUpdate, CliError> {
    ManifestUpdate::open(out).map_err(|error| update_error(&error))
}

fn update_error(error: &UpdateError) -> CliError {
    let help = match error {
        UpdateError::Manifest(_) => "--keep replaces a build of a manifest: use `run` first",
        UpdateError::Unfinished { .. } => "repeat that `run` first",
        UpdateError::Report(_) => "omit --keep to only compare",
    };
    CliError::Input {
        message: error.to_string(),
        help: Some(help.to_owned()),
    }
}

/// Compares an artifact in the directory `made` with its previous content.
fn compare(made: &Path, report: &ArtifactReport, before: Option<&[u8]>) -> Comparison {
    let path = report.path.as_ref().map(|path| made.join(path));
    // Signatures are ignored: some keys sign differently each time.
    let before = before.map(unsigned);
    let digest = before.map(Sha256::of);
    let now = path.as_ref().and_then(|path| std::fs::read(path).ok());
    let now = now.as_deref().map(unsigned);
    let first_difference = match (before, now) {
        (Some(before), Some(now)) => first_differing_section(before, now),
        _ => None,
    };
    Comparison {
        artifact: report.artifact,
        status: report.status,
        failure: report.failure.clone(),
        before: digest,
        now: now.map(Sha256::of).or(report.sha256),
        first_difference,
        path,
        log: report.log.as_ref().map(|log| made.join(log)),
    }
}

fn draw(rebuilt: &Rebuilt, out: &Path) -> String {
    let mut text = String::new();
    for artifact in &rebuilt.artifacts {
        let name = artifact.artifact;
        let result = match (artifact.before, artifact.now) {
            (Some(before), Some(now)) if before == now => {
                format!(
                    "identical to the one in {} ({})",
                    out.display(),
                    now.short()
                )
            }
            (Some(before), Some(now)) => {
                let section = artifact.first_difference.as_deref();
                let section = section.map_or_else(String::new, |section| {
                    format!(", first difference in section {section}")
                });
                let (before, now) = (before.short(), now.short());
                format!(
                    "different from the one in {}: {before} before, {now} now{section}",
                    out.display()
                )
            }
            (None, Some(now)) => {
                let out = out.display();
                format!(
                    "built ({}); nothing in {out} to compare it with",
                    now.short()
                )
            }
            (before, None) => {
                let what = artifact.failure.as_ref();
                let what = what.map_or_else(|| artifact.status.to_string(), ToString::to_string);
                let before = if before.is_some() {
                    format!("; the one in {} was not changed", out.display())
                } else {
                    String::new()
                };
                format!("not built: {what}{before}")
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {result}");
        let files = [("file", &artifact.path), ("log", &artifact.log)];
        for (what, path) in files {
            if let Some(path) = path {
                let _ = writeln!(text, "  {what}: {}", path.display());
            }
        }
    }
    text
}
