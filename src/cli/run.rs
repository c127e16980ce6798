//! `run`: builds what is missing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::execution::{Execution, infrastructure};
use super::{CliError, Context, ExitStatus, Planned, Selection};
use crate::digest::Sha256;
use crate::event::{Event, EventKind, HostFacts, NO_EXECUTOR, RunFacts};
use crate::executor::Executor;
use crate::failure::FailureClass;
use crate::fetch::{Fetcher, Settings};
use crate::kernel::Architecture;
use crate::matrix::parse_time;
use crate::plan::Build;
use crate::report::{self, Durations, ManifestReporter, ReportError, Reporter, Summary, Terminal};
use crate::scheduler::{
    Events, History, OutFolder, Parts, RetryClasses, Run, RunResult, RunSettings, Stop, StopReason,
    Toolchains,
};
use crate::store::Store;

/// Build what is missing of a plan
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// How many compiles run at once [default: the processors that may be used]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Folder that receives the artifacts and the manifest
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub(super) out: PathBuf,
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
    #[command(flatten)]
    execution: Execution,
}

fn parse_retry(text: &str) -> Result<Vec<FailureClass>, String> {
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
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let planned = self.selection.plan(context)?;
        // First of all that touches the folder: it refuses one that another run writes to.
        let reporters = self.reporters()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::Infrastructure {
                message: format!("failed to start the runtime: {error}"),
            })?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let stop = Arc::new(Stop::default());
        let parts = self.parts(context, &planned, sender, stop.clone())?;
        let events = parts.events.clone();
        let run_id = parts.run_id.clone();
        let images = parts.toolchains.reports();
        let uses_host = matches!(parts.toolchains, Toolchains::Host { .. });
        let settings = self.settings(&planned);
        let jobs = settings.jobs;
        let run = Run::look_up(parts, settings, &planned.plan);
        let is_complete = run.missing() == 0;
        let (executor, notes) = if is_complete {
            (None, Vec::new())
        } else {
            let (executor, notes) = runtime.block_on(self.execution.connect(context, uses_host))?;
            (Some(executor), notes)
        };
        let executor_version = match &executor {
            Some(executor) => runtime
                .block_on(executor.version())
                .map_err(|error| infrastructure(&error))?,
            None => String::new(),
        };
        let facts = RunFacts {
            run_id,
            started: jiff::Timestamp::now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args().collect(),
            host: host_facts(),
            executor: executor
                .as_ref()
                .map_or(NO_EXECUTOR, |executor| executor.name())
                .to_owned(),
            executor_version,
            jobs,
            shard: self.selection.shard.map(|shard| shard.to_string()),
            matrices: planned.matrices.clone(),
            plan_sha256: planned.plan.digest(),
            builds: planned.plan.builds.len(),
            artifacts: planned.plan.artifact_count(),
            left_out: planned.plan.left_out.clone(),
            images,
        };
        let reporting = report::spawn(reporters, receiver, {
            let stop = stop.clone();
            move |error| {
                if error.is_disk_full() {
                    stop.request(StopReason::Infrastructure);
                }
            }
        });
        events.send(EventKind::RunStarted(facts));
        for message in notes {
            events.send(EventKind::Note { message });
        }
        let result = runtime.block_on(async {
            watch_signals(stop.clone());
            if let Some(executor) = &executor {
                sweep(executor.as_ref(), &events).await;
            }
            let result = run.finish(executor.clone()).await;
            if let Some(executor) = &executor
                && let Err(error) = executor.finish().await
            {
                let message =
                    format!("what the run made outside of the cache could not be removed: {error}");
                events.send(EventKind::Note { message });
            }
            result
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        let exit = result
            .as_ref()
            .map_or(ExitStatus::Infrastructure.code(), RunResult::exit_code);
        events.send(EventKind::RunFinished {
            duration: events.elapsed(),
            exit_code: exit,
        });
        drop(events);
        let reported = reporting.join().unwrap_or(Ok(()));
        let result = result?;
        reported.map_err(|error| CliError::Infrastructure {
            message: format!("the artifacts are there, but the report is not: {error}"),
        })?;
        Ok(match result.exit_code() {
            0 => ExitStatus::Success,
            1 => ExitStatus::Incomplete,
            130 => ExitStatus::Interrupted,
            _ => ExitStatus::Infrastructure,
        })
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
            reproduce: self.reproduce(),
        }
    }

    /// The command line without the words that select builds.
    fn reproduce(&self) -> Vec<String> {
        let files = self
            .selection
            .files
            .iter()
            .map(|file| file.display().to_string());
        ["driverkit-matrix".to_owned(), "run".to_owned()]
            .into_iter()
            .chain(files)
            .collect()
    }

    fn reporters(&self) -> Result<Vec<Box<dyn Reporter>>, CliError> {
        let manifest = ManifestReporter::create(&self.out).map_err(|error| match error {
            ReportError::File(error) => CliError::File(error),
            error => CliError::Infrastructure {
                message: error.to_string(),
            },
        })?;
        Ok(vec![
            Box::new(manifest),
            report::progress(Terminal::stderr(), self.verbose),
            Box::new(Summary::new(Terminal::stderr(), &self.out)),
        ])
    }
}

/// Removes what dead runs left behind; that this is not possible now fails nothing.
async fn sweep(executor: &dyn Executor, events: &Events) {
    let message = match executor.sweep().await {
        Ok(0) => return,
        Ok(removed) => format!("removed {removed} leftovers of dead runs"),
        Err(error) => format!("leftovers of dead runs could not be removed: {error}"),
    };
    events.send(EventKind::Note { message });
}

/// First signal: nothing new begins, what runs is ended, the manifest is written. Second: at once.
fn watch_signals(stop: Arc<Stop>) {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        for is_second in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_second {
                #[expect(clippy::exit, reason = "a second signal asks for nothing else")]
                std::process::exit(i32::from(ExitStatus::Interrupted.code()));
            }
            stop.request(StopReason::Signal);
        }
    });
}

fn fetch_settings(planned: &Planned) -> Settings {
    Settings {
        mirrors: planned.mirrors.clone(),
        ..Settings::default()
    }
}

/// Unique among all runs that share a store: the time and the process.
fn new_run_id() -> String {
    let now = jiff::Timestamp::now();
    let digest = Sha256::of(format!("{now:?} {}", std::process::id()));
    format!(
        "{}-{}",
        now.strftime("%Y%m%dT%H%M%SZ"),
        &digest.to_string()[..6]
    )
}

fn host_facts() -> HostFacts {
    let uname = rustix::system::uname();
    HostFacts {
        architecture: Architecture::of_host(),
        system: format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: rustix::system::sysinfo().totalram,
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
