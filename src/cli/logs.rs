//! `logs`: shows the output of a build's jobs.

use std::path::PathBuf;

use clap::Args;

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus, completing, ignore_broken_pipe};
use crate::diagnostic::did_you_mean;
use crate::driver::Artifact;
use crate::plan::{BuildId, FilterError, find_name};
use crate::report::{
    BuildRecord, Followed, Manifest, ManifestError, build_logs, follow_log, log_files, log_text,
    manifest_file, read_manifest,
};
use crate::resolve::{filter_error, said_while_reading};

/// Show the log of a build, with its first error on top
#[derive(Debug, Args)]
pub(super) struct LogsArguments {
    /// The build, as the manifest names it, or a unique part of its name
    #[arg(value_name = "BUILD", add = completing::builds_of_run())]
    build: String,
    /// Only the log of this artifact: module or probe
    #[arg(long, value_name = "ARTIFACT")]
    artifact: Option<Artifact>,
    /// Output directory of the run
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Show the log as it grows during a run, until the build has ended
    #[arg(long, short)]
    follow: bool,
    /// Print only the paths of the compressed logs
    #[arg(long, conflicts_with = "follow")]
    path: bool,
    #[command(flatten)]
    format: AnswerFormat,
}

impl LogsArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let is_json = self.format.is_json();
        if self.build.is_empty() {
            return Err(CliError::Input {
                message: "the name of the build is empty".to_owned(),
                help: Some("give it as `status` prints it, or a unique part of it".to_owned()),
            });
        }
        if is_json && (self.follow || self.path) {
            return Err(CliError::input(
                "--follow and --path print text: omit --format json",
            ));
        }
        if self.follow && self.follow(context)? {
            return Ok(ExitStatus::Success);
        }
        let manifest = said_while_reading(context, &self.out, || read_newest(&self.out))?;
        let build = find_build(&manifest, &self.build)?;
        self.check_artifact(build)?;
        if is_json {
            print_json(&build_logs(&self.out, build, self.artifact)?)?;
        } else if self.path {
            for path in log_files(&self.out, build, self.artifact) {
                print(&format!("{}\n", path.display()))?;
            }
        } else {
            print(&log_text(&self.out, build, self.artifact)?)?;
        }
        Ok(ExitStatus::Success)
    }

    /// Fails if the build does not have the wanted artifact.
    fn check_artifact(&self, build: &BuildRecord) -> Result<(), CliError> {
        let mut artifacts = build.artifacts.iter().map(|report| report.artifact);
        let Some(wanted) = self
            .artifact
            .filter(|wanted| !artifacts.any(|one| one == *wanted))
        else {
            return Ok(());
        };
        let names = build
            .artifacts
            .iter()
            .map(|report| report.artifact.to_string());
        let names: Vec<String> = names.collect();
        Err(CliError::Input {
            message: format!("{} has no {wanted}", build.build_id),
            help: Some(format!("it has: {}", names.join(", "))),
        })
    }

    /// Shows the log as it grows. Returns false if no run is in progress; the caller then shows the log of the last
    /// run.
    fn follow(&self, context: &Context) -> Result<bool, CliError> {
        let is_wanted = |id: &BuildId| id.as_str().contains(&self.build);
        context.notice(&format!(
            "waiting for output of the jobs of `{}`",
            self.build
        ));
        let mut followed = None;
        ignore_broken_pipe(|output| {
            followed = Some(follow_log(&self.out, is_wanted, output));
            Ok(())
        })?;
        match followed {
            Some(Ok(Followed::NoRun)) => {
                context.notice("no run in progress: this is the log of the last one");
                Ok(false)
            }
            Some(Ok(Followed::Finished(report))) => {
                for artifact in &report.artifacts {
                    let (id, status) = (&report.build_id, artifact.status);
                    context.notice(&format!("{id}, {}: {status}", artifact.artifact));
                }
                Ok(true)
            }
            Some(Ok(Followed::RunEnded)) => {
                context.notice("the run has ended without this build");
                Ok(true)
            }
            Some(Err(crate::report::FollowError::Io(error)))
                if error.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                Ok(true)
            }
            Some(Err(error)) => Err(CliError::input(error.to_string())),
            None => Ok(true),
        }
    }
}

/// Reads the manifest of the last run, or of the one in progress.
fn read_newest(out: &std::path::Path) -> Result<Manifest, CliError> {
    let path = manifest_file(out);
    read_manifest(&path).map_err(|error| match error {
        ManifestError::File(error) if error.is_not_found() => CliError::Input {
            message: format!("{} does not exist", path.display()),
            help: Some("name the output directory of a run with --out DIR".to_owned()),
        },
        error => error.into(),
    })
}

/// Returns the build called `name`, or the only one whose name contains it.
fn find_build<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a BuildRecord, CliError> {
    let names = || manifest.builds.iter().map(|build| build.build_id.as_str());
    match find_name(name, names) {
        Ok(at) => Ok(&manifest.builds[at]),
        Err(FilterError::NoBuild { .. }) => Err(CliError::Input {
            message: format!("no build of the last run is called `{name}`"),
            help: did_you_mean(name, names()),
        }),
        Err(error) => Err(filter_error(&error, &[])),
    }
}
