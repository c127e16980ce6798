//! `run`: builds the missing artifacts of a plan.

mod parts;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::attest::attest;
use super::checks::Checks;
use super::ci::Step;
use super::diff::{Baseline, BaselineArguments};
use super::execution::Execution;
use super::publish::{RunPublishArguments, unpublished};
use super::recorded::recorded_command;
use super::report::{Nights, Wanted};
use super::shared_store::{Place, StoreArguments};
use super::{CliError, Context, ExitStatus, Planned, Selection};
use crate::engine::SecondExecutor;
use crate::executor::Executor;
use crate::failure::FailureClass;
use crate::fs;
use crate::matrix::parse_time;
use crate::plan::{BuildId, LeftOut, Plan};
use crate::recipe::Toolchains;
use crate::report::{Columns, Durations, KEEP_NIGHTS, STATE_FOLDER};
use crate::resolve::{
    LockUse, check_attestation, check_out, check_proofs, check_room, check_signing,
    check_toolchains, fill_in_locks, said_while_busy,
};
use crate::run::{History, RunSettings};
use crate::session::{Annotations, Session, check_images, new_run_id, out_of_reach};
use crate::text::count;

/// The output on standard output during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MessageFormat {
    /// Nothing: messages are on standard error
    Human,
    /// The events of the run, one line of JSON each
    Json,
}

/// The number of files missing without a network that are listed on the terminal.
const NAMED_MISSING: usize = 3;

/// Flags about the manifests that a run writes and keeps.
#[derive(Debug, Args)]
pub(super) struct ManifestArguments {
    /// Number of nights (dates) for which manifests of earlier runs are kept
    ///
    /// Runs of a part of the plan and runs with nothing to do displace no other night.
    #[arg(
        long,
        value_name = "N",
        default_value_t = KEEP_NIGHTS,
        value_parser = clap::value_parser!(u16).range(1..=3660),
        help_heading = "Output"
    )]
    keep_nights: u16,
    /// Write no manifest.json, which holds what run.json and builds.jsonl.zst hold, for readers of version 1
    #[arg(long, help_heading = "Output")]
    no_manifest_json: bool,
}

/// Build the missing artifacts of a plan
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Maximum number of concurrent compiles [default: the number of usable CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Refresh all locks first, as `lock` does; if a source is down, its lock stays as it is
    #[arg(long, conflicts_with = "locked")]
    refresh: bool,
    /// Directory for the artifacts and the manifest
    #[arg(
        long,
        value_name = "DIR",
        default_value = "out",
        help_heading = "Output"
    )]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) manifest: ManifestArguments,
    /// End the run at the first failure; running jobs may finish
    #[arg(long)]
    fail_fast: bool,
    /// Retry cached failures of earlier runs: a class, or `failed` for all
    #[arg(long, value_name = "CLASS", value_parser = parse_retry)]
    pub(super) retry: Vec<Vec<FailureClass>>,
    /// Start no new work after this time, such as 90m or 5h
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    deadline: Option<Duration>,
    /// Output on standard output: nothing, or each event of the run as a line of JSON
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "human",
        help_heading = "Output"
    )]
    message_format: MessageFormat,
    /// Write a report at the end of the run: html, markdown, junit, prometheus, kcidb, cyclonedx or csv
    ///
    /// May be given several times. A report that cannot be written affects neither the artifacts nor the exit code.
    #[arg(long, value_name = "FORMAT=PATH", help_heading = "Output")]
    report: Vec<Wanted>,
    #[command(flatten)]
    baseline: BaselineArguments,
    /// Which artifacts are placed in the output directory, if machines share a store
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "all",
        hide_short_help = true,
        help_heading = "Output"
    )]
    place: Place,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) store: StoreArguments,
    #[command(flatten)]
    pub(super) checks: Checks,
    #[command(flatten)]
    publish: RunPublishArguments,
    #[command(flatten)]
    pub(super) execution: Execution,
    /// Whether artifacts that are not built yet are left out, for `prove`.
    #[arg(skip)]
    pub(super) only_built: bool,
}

pub(super) fn parse_retry(text: &str) -> Result<Vec<FailureClass>, String> {
    if text == "failed" {
        return Ok(FailureClass::ALL
            .into_iter()
            .filter(|class| class.is_deterministic())
            .collect());
    }
    let class: FailureClass = text.parse()?;
    if class.is_deterministic() {
        Ok(vec![class])
    } else {
        Err(format!(
            "failures of class `{text}` are never cached, so every run retries them"
        ))
    }
}

impl RunArguments {
    /// Returns the run of one build into `out`.
    pub(super) fn of_one(selection: Selection, out: PathBuf, execution: Execution) -> Self {
        Self::of_part(selection, Some(1), out, execution)
    }

    /// Returns the run of the selected builds into `out`.
    pub(super) fn of_part(
        selection: Selection,
        jobs: Option<u16>,
        out: PathBuf,
        execution: Execution,
    ) -> Self {
        Self {
            selection,
            refresh: false,
            jobs,
            out,
            manifest: ManifestArguments {
                keep_nights: KEEP_NIGHTS,
                no_manifest_json: false,
            },
            fail_fast: false,
            retry: Vec::new(),
            deadline: None,
            report: Vec::new(),
            message_format: MessageFormat::Human,
            baseline: BaselineArguments::default(),
            place: Place::All,
            store: StoreArguments::default(),
            checks: Checks::default(),
            publish: RunPublishArguments::none(),
            execution,
            only_built: false,
        }
    }

    /// Runs the command.
    pub(super) fn execute(mut self, context: &Context) -> Result<ExitStatus, CliError> {
        if self.refresh {
            self.selection.lock_use = LockUse::RefreshAll;
        }
        let mut planned = self.plan(context)?;
        self.publish.skip_published(context, &mut planned.plan)?;
        self.carry_out(context, &planned, &self.out, &Step::of_environment())
    }

    /// Builds the missing artifacts of a plan in the directory `out`, and reports the result to the CI system's `step`.
    pub(super) fn carry_out(
        &self,
        context: &Context,
        planned: &Planned,
        out: &Path,
        step: &Step,
    ) -> Result<ExitStatus, CliError> {
        check_out(planned, out)?;
        let destination = self.publish.open()?;
        // The run may replace the baseline, so it is read first.
        let baseline = self.baseline.read(context)?;
        // This is the first access to the directory, and fails if another run writes to it.
        let durations = Durations::read(out).of_builds(&planned.plan.builds);
        let reporters = self.reporters(context, planned, &durations, out)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let run_id = new_run_id();
        let shared = self.store.open(context, planned.matrix_files(), &run_id)?;
        let share = |store| match &shared {
            Some(shared) => shared.share(store),
            None => Arc::new(store),
        };
        let parts = self.parts(context, planned, sender, run_id, share, out)?;
        if planned.mirrors.is_offline {
            let line = || "checking that the plan's files are cached".to_owned();
            let missing = said_while_busy(context, line, || out_of_reach(&parts.fetcher, planned));
            tell_missing(context, out, &missing)?;
        }
        check_toolchains(planned, &parts.toolchains)?;
        check_proofs(planned, &parts.toolchains, self.checks.prove)?;
        let signer = check_signing(planned)?;
        let attester = check_attestation(planned)?;
        let images = check_images(&parts.toolchains);
        let store = Arc::clone(&parts.store);
        let mut settings = self.settings();
        if let (Place::New, Some(destination)) = (self.place, &destination) {
            // This machine also publishes what other machines built but did not publish.
            settings.brings = unpublished(context, destination)?;
        }
        let uses_host = matches!(parts.toolchains, Toolchains::Host { .. });
        let second = settings.second.clone();
        let annotations = Arc::new(Annotations::new(planned));
        let session = Session {
            context,
            settings: RunSettings {
                annotations: Some(annotations.clone()),
                history: history(durations, &planned.plan),
                signer,
                ..settings
            },
            is_partial: self.selection.is_partial() || is_skipping(&planned.plan),
            findings: Some(annotations),
            plan: &planned.plan,
            jobs_are_given: self.jobs.is_some(),
            shard: self.selection.shard.map(|shard| shard.to_string()),
            command: recorded_command(),
            matrices: planned.matrices.clone(),
            shared,
            at_least: planned.availability.status(),
            parts,
            reporters,
            receiver,
        };
        let connect = async |missing| {
            check_room(planned, missing, &context.cache, out)?;
            if !self.execution.has_images() {
                images?;
                return self.connect(context, uses_host, &second).await;
            }
            // For a cluster, a failed connection is reported before missing images.
            let connected = self.connect(context, uses_host, &second).await?;
            images.map(|()| connected)
        };
        let result = session.carry_out(connect)?;
        if !self.selection.locked {
            fill_in_locks(context, planned, &store, &result.wrong_headers);
        }
        let mut status =
            ExitStatus::of_run(result.exit_code()).worse(planned.availability.status());
        // The next run attests the artifacts of an interrupted one.
        let attester = attester.filter(|_| status != ExitStatus::Interrupted);
        let attested = attester
            .map(|attester| attest(context, &attester, out))
            .transpose();
        if let Err(error) = &attested {
            context.notice(&format!(
                "attestations are missing, so nothing is published: {error}"
            ));
            status = status.worse(ExitStatus::Infrastructure);
        }
        let destination = destination.filter(|_| attested.is_ok());
        if let Some(destination) = destination.filter(|_| status != ExitStatus::Interrupted) {
            let published = self.publish.execute(context, &destination, out);
            status = status.worse(published?);
        }
        let compared = self.baseline.of_reports(baseline.as_ref());
        let line = || "writing reports".to_owned();
        said_while_busy(context, line, || {
            self.write_reports(context, compared, out, step);
        });
        match &baseline {
            Some(baseline) => self.baseline.compare(context, baseline, out, status),
            None => Ok(status),
        }
    }

    /// Returns the executor, and notes about it. Sets the executor of second builds if they are wanted.
    pub(super) async fn connect(
        &self,
        context: &Context,
        uses_host: bool,
        second: &SecondExecutor,
    ) -> Result<(Arc<dyn Executor>, Vec<String>), CliError> {
        let execution = &self.execution;
        self.checks
            .connect(context, execution, uses_host, second)
            .await
    }

    /// Writes the reports that flags or the CI system request. An error is only printed.
    fn write_reports(&self, context: &Context, baseline: Baseline<'_>, out: &Path, step: &Step) {
        if self.report.is_empty() && !step.wants_anything() {
            return;
        }
        let mut columns = self.report.iter().map(Wanted::columns);
        let columns = columns.find(|columns| *columns == Columns::All);
        match Nights::read(out, baseline, columns.unwrap_or(Columns::Outcomes)) {
            Ok(nights) => {
                for wanted in &self.report {
                    wanted.write(context, &nights);
                }
                step.tell(context, &nights);
            }
            Err(error) => context.notice(&format!("failed to write reports: {error}")),
        }
    }

    /// Returns the plan with the builder image that the command line names.
    pub(super) fn plan(&self, context: &Context) -> Result<Planned, CliError> {
        let image = self.execution.named_image()?;
        self.selection.plan(context, image.as_deref())
    }
}

/// Prints the first missing files, and writes all of them to a file if there are more.
fn tell_missing(context: &Context, out: &Path, missing: &[String]) -> Result<(), CliError> {
    for line in missing.iter().take(NAMED_MISSING) {
        context.notice(line);
    }
    let path = out.join(STATE_FOLDER).join("missing.txt");
    if missing.len() > NAMED_MISSING {
        fs::write(&path, missing.join("\n") + "\n")?;
        context.notice(&format!(
            "{} are missing for an offline run: {} lists all",
            count(missing.len(), "file"),
            path.display()
        ));
    }
    Ok(())
}

/// Returns true if published builds were left out: the manifest has no content for them.
fn is_skipping(plan: &Plan) -> bool {
    let mut rules = plan.left_out.iter().map(|left_out| &*left_out.rule);
    rules.any(|rule| rule == LeftOut::PUBLISHED)
}

/// Returns the history of builds from the duration of each build of a plan.
fn history(durations: Vec<Option<(BuildId, Duration)>>, plan: &Plan) -> History {
    let mut history = History::default();
    for (build, known) in plan.builds.iter().zip(durations) {
        if let Some((id, took)) = known {
            history.add(id, build.driver.version.clone(), took);
        }
    }
    history
}
