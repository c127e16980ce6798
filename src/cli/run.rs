//! `run`: builds what is missing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::annotations::Annotations;
use super::ci::Step;
use super::diff::BaselineArguments;
use super::execution::Execution;
use super::lock_notes::{fill_in_locks, store_configs};
use super::recorded::rebuild_words;
use super::report::{self as views, Wanted};
use super::session::{Session, new_run_id};
use super::{CliError, Context, ExitStatus, Planned, Selection};
use crate::engine::{Events, Reproduce, RetryClasses, Stop};
use crate::event::Event;
use crate::failure::FailureClass;
use crate::fetch::{Fetcher, Settings};
use crate::kernel::Architecture;
use crate::matrix::parse_time;
use crate::plan::Build;
use crate::recipe::Toolchains;
use crate::report::{self, Durations, ManifestReporter, ReportError, Reporter, Summary, Terminal};
use crate::run::{History, OutFolder, Parts, RunSettings};
use crate::store::Store;

/// Build what is missing of a plan
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// How many compiles run at once [default: the processors that may be used]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Directory that receives the artifacts and the manifest
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub(super) out: PathBuf,
    /// Of how many nights (dates) the manifests of earlier runs are kept
    ///
    /// Runs about a part of the plan and runs with nothing to do push no night out.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3660))]
    keep_nights: u16,
    /// End the run at the first failure; what runs may end
    #[arg(long)]
    fail_fast: bool,
    /// Try failures again that are known from earlier runs: a class, or `failed` for all
    #[arg(long, value_name = "CLASS", value_parser = parse_retry)]
    retry: Vec<Vec<FailureClass>>,
    /// Begin nothing new after this long, such as 90m or 5h
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    deadline: Option<Duration>,
    /// One line for each artifact, also for those that were there already
    #[arg(long, short)]
    verbose: bool,
    /// Write a report of the run at its end: html, markdown, junit, prometheus, kcidb or csv
    ///
    /// May be given several times. A report that cannot be written changes neither what was built nor the exit code.
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Wanted>,
    #[command(flatten)]
    baseline: BaselineArguments,
    #[command(flatten)]
    pub(super) execution: Execution,
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
            "failures of class `{text}` are never kept, so every run tries them again"
        ))
    }
}

impl RunArguments {
    /// The run of one build into `out`.
    pub(super) fn of_one(selection: Selection, out: PathBuf, execution: Execution) -> Self {
        Self {
            selection,
            jobs: Some(1),
            out,
            keep_nights: 30,
            fail_fast: false,
            retry: Vec::new(),
            deadline: None,
            verbose: false,
            report: Vec::new(),
            baseline: BaselineArguments::default(),
            execution,
        }
    }

    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let planned = self.plan(context)?;
        // Before the run replaces it, if it is that of the same directory.
        let baseline = self.baseline.read(context)?;
        // First of all that touches the folder: it refuses one that another run writes to.
        let reporters = self.reporters()?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let parts = self.parts(context, &planned, sender, Arc::new(Stop::default()))?;
        if planned.mirrors.is_offline {
            for missing in super::bundle::out_of_reach(&parts.fetcher, &planned) {
                context.notice(&missing);
            }
        }
        let store = Arc::clone(&parts.store);
        let uses_host = matches!(parts.toolchains, Toolchains::Host { .. });
        let annotations = Arc::new(Annotations::new(&planned));
        let session = Session {
            settings: RunSettings {
                annotations: Some(annotations.clone()),
                ..self.settings(&planned)
            },
            is_partial: self.selection.is_partial(),
            findings: Some(annotations),
            plan: &planned.plan,
            jobs_are_given: self.jobs.is_some(),
            shard: self.selection.shard.map(|shard| shard.to_string()),
            matrices: planned.matrices.clone(),
            parts,
            reporters,
            receiver,
        };
        let connect = async || self.execution.connect(context, uses_host).await;
        let result = session.carry_out(connect)?;
        if !self.selection.locked {
            fill_in_locks(context, &planned, &store, &result.wrong_headers);
        }
        let status = ExitStatus::of(&result);
        let compared = self.baseline.path();
        views::write_all(context, &self.report, &self.out, compared);
        Step::of_environment().tell(context, &self.out, compared);
        match &baseline {
            Some(baseline) => self.baseline.compare(context, baseline, &self.out, status),
            None => Ok(status),
        }
    }

    /// The plan, with the builder image that the command line names.
    pub(super) fn plan(&self, context: &Context) -> Result<Planned, CliError> {
        let image = self.execution.named_image()?;
        self.selection.plan(context, image.as_deref())
    }

    /// What a run of this command is made of; opens the store and the output folder.
    pub(super) fn parts(
        &self,
        context: &Context,
        planned: &Planned,
        sender: std::sync::mpsc::Sender<Event>,
        stop: Arc<Stop>,
    ) -> Result<Parts, CliError> {
        let run_id = new_run_id();
        let store = Arc::new(Store::open(&context.cache, &run_id)?);
        store_configs(&store, planned)?;
        Ok(Parts {
            run_id,
            host: Architecture::of_host(),
            fetcher: Fetcher::new(store.clone(), fetch_settings(planned)),
            store,
            toolchains: self.execution.toolchains(context)?,
            out: OutFolder::open(&self.out)?,
            events: Events::new(sender),
            stop,
        })
    }

    pub(super) fn settings(&self, planned: &Planned) -> RunSettings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        RunSettings {
            jobs: self.jobs.map_or(cores, usize::from),
            fail_fast: self.fail_fast,
            deadline: self.deadline,
            retry: RetryClasses::new(self.retry.iter().flatten().copied()),
            history: history(&self.out, planned),
            reproduce: Reproduce::Rebuild(rebuild_words()),
            annotations: None,
        }
    }

    fn reporters(&self) -> Result<Vec<Box<dyn Reporter>>, CliError> {
        let manifest = ManifestReporter::create(&self.out).map_err(|error| match error {
            ReportError::File(error) => CliError::File(error),
            error => CliError::infrastructure(error.to_string()),
        })?;
        Ok(vec![
            Box::new(manifest.keeping_nights(usize::from(self.keep_nights))),
            report::progress(Terminal::stderr(), self.verbose),
            Box::new(Summary::new(Terminal::stderr(), &self.out)),
        ])
    }
}

pub(super) fn fetch_settings(planned: &Planned) -> Settings {
    Settings {
        mirrors: planned.mirrors.clone(),
        ..Settings::default()
    }
}

/// What earlier runs with the same output folder took.
fn history(out: &std::path::Path, planned: &Planned) -> History {
    let durations = Durations::read(out);
    let mut history = History::default();
    for build in planned.plan.builds.iter().map(Build::id) {
        if let Some(took) = durations.get(&build) {
            history.add(build, took);
        }
    }
    history
}
