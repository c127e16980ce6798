//! Executes a run: looks up the cache first, uses an executor only for missing builds, feeds reporters and handles
//! signals.
//!
//! All commands that build share this code; they differ in the plan, the reporters and the executor.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use super::annotations::Annotations;
use super::shared_store::OpenStore;
use super::toolchains::infrastructure;
use crate::digest::Sha256;
use crate::engine::{Events, Stop, StopReason};
use crate::error::chain;
use crate::event::{Event, EventKind, FindingKind, HostFacts, NO_EXECUTOR, RunFacts};
use crate::executor::Executor;
use crate::exit::ExitStatus;
use crate::fetch::Activity;
use crate::fs::FileError;
use crate::kernel::Architecture;
use crate::plan::Plan;
use crate::recipe::renew_sources;
use crate::report::{self, ReportError, Reporter};
use crate::resolve::{
    Context, ResolveError, said_what_is_asked, said_while_busy, said_while_waiting,
};
use crate::run::{Parts, Run, RunResult, RunSettings};
use crate::text::count;

/// How long an interrupted run may clean up outside of the cache; a later run removes the rest.
const CLEAN_UP: Duration = Duration::from_secs(3);

/// The message while an executor does not answer.
const CONNECTING: fn() -> Option<String> = || Some("waiting for the executor to answer".to_owned());

/// The message while artifacts are downloaded from the shared store.
const BRINGING: fn() -> Option<String> =
    || Some("receiving artifacts from the shared store".to_owned());

/// The message while an executor cleans up.
const CLEANING_UP: &str = "removing leftovers of this run outside of the cache";

/// How long threads may take to stop.
const SHUT_DOWN: Duration = Duration::from_secs(2);

/// A run that is about to begin.
pub struct Session<'a> {
    /// Receives messages about what the run waits for before it starts.
    pub context: &'a Context,
    /// The builds of the run.
    pub plan: &'a Plan,
    /// The components of the run.
    pub parts: Parts,
    /// The settings of the run.
    pub settings: RunSettings,
    /// Receives the events of `parts`.
    pub receiver: Receiver<Event>,
    /// The reporters, which receive the events.
    pub reporters: Vec<Box<dyn Reporter>>,
    /// Whether the user set the number of parallel jobs; otherwise the executor may set it.
    pub jobs_are_given: bool,
    /// `I/N` if only a shard of the plan is built.
    pub shard: Option<String>,
    /// Whether filters select only a part of the plan.
    pub is_partial: bool,
    /// The rules whose findings are reported at the end.
    pub findings: Option<Arc<Annotations>>,
    /// The shared store.
    pub shared: Option<OpenStore>,
    /// The exit status before the run; the final status is no better.
    pub at_least: ExitStatus,
    /// The command line that is recorded, without secrets.
    pub command: Vec<String>,
    /// The matrix files and the digests of their contents.
    pub matrices: Vec<(PathBuf, Sha256)>,
}

/// Returns the version of the executor; empty if the run needs none.
fn version_of(
    context: &Context,
    runtime: &tokio::runtime::Runtime,
    executor: Option<&dyn Executor>,
) -> Result<String, ResolveError> {
    let Some(executor) = executor else {
        return Ok(String::new());
    };
    let version = said_while_waiting(context, CONNECTING, executor.version());
    let version = runtime.block_on(version);
    version.map_err(|error| infrastructure(&error))
}

/// Asks for newer sources of drivers that are branches, unless only what is built is used. Returns notes.
async fn newer_sources(
    context: &Context,
    parts: &Parts,
    settings: &RunSettings,
    plan: &Plan,
) -> Vec<String> {
    if settings.only_built {
        return Vec::new();
    }
    let renewed = renew_sources(&parts.fetcher, plan);
    said_what_is_asked(context, parts.fetcher.activity(), renewed).await
}

/// Returns a note about kernels that are built to prove modules in them.
fn note_of_kernels(run: &Run) -> Option<String> {
    let kernels = run.kernels_to_build();
    (kernels > 0).then(|| {
        format!(
            "modules are proven in {} built from source, which takes minutes for each that is not cached",
            count(kernels, "kernel")
        )
    })
}

/// Sends the findings of the matrices' rules, if any, and the end of the run.
fn tell_end(events: &Events, findings: Option<&Annotations>, is_whole: bool, exit_code: u8) {
    for finding in findings.iter().flat_map(|rules| rules.findings()) {
        // Only the whole plan shows that nothing fails as a rule expects.
        let is_certain = is_whole || finding.kind == FindingKind::Expired;
        events.send(if is_certain {
            EventKind::Found(finding)
        } else {
            EventKind::FoundInPart(finding)
        });
    }
    events.send(EventKind::RunFinished {
        duration: events.elapsed(),
        exit_code,
    });
}

impl Session<'_> {
    /// Executes the run. `connect` returns the executor and notices for the user; it is called only if builds are
    /// missing, with their number.
    pub fn carry_out(
        self,
        connect: impl AsyncFnOnce(usize) -> Result<(Arc<dyn Executor>, Vec<String>), ResolveError>,
    ) -> Result<RunResult, ResolveError> {
        let runtime = new_runtime()?;
        let Self {
            context,
            plan,
            parts,
            settings,
            receiver,
            reporters,
            jobs_are_given,
            shard,
            is_partial,
            findings,
            command,
            matrices,
            shared,
            at_least,
        } = self;
        let (events, stop) = (parts.events.clone(), parts.stop.clone());
        let run_id = parts.run_id.clone();
        let images = parts.toolchains.reports();
        let mut jobs = settings.jobs;
        let second = settings.second.clone();
        let reproduce = Some(settings.reproduce.clone());
        let mut notes = runtime.block_on(newer_sources(context, &parts, &settings, plan));
        let activity = parts.fetcher.activity().clone();
        let mut run = look_up(context, parts, settings, plan);
        let brought = said_while_waiting(context, BRINGING, run.bring_shared(plan));
        runtime.block_on(brought);
        let mut plan = Cow::Borrowed(plan);
        // In this order: filters do not change what is left out.
        let is_partial = run.skip_unbuilt(&mut plan) > 0 || is_partial;
        notes.extend(note_of_kernels(&run));
        let (executor, more) = runtime.block_on(connected(context, run.missing(), connect))?;
        notes.extend(more);
        let slots = executor.as_ref().and_then(|executor| executor.slots());
        if let Some(slots) = slots.filter(|_| !jobs_are_given) {
            jobs = jobs.max(slots);
            run.allow_jobs(jobs);
        }
        let executor_version = version_of(context, &runtime, executor.as_deref())?;
        let facts = RunFacts {
            run_id,
            started: jiff::Timestamp::now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            reproduce,
            host: host_facts(),
            executor: name_of(executor.as_deref()),
            executor_version,
            jobs,
            shard,
            is_partial,
            matrices,
            plan_sha256: plan.digest(),
            builds: plan.builds.len(),
            artifacts: plan.artifact_count(),
            left_out: plan.left_out.clone(),
            images,
        };
        let reporting = start_reporting(reporters, receiver, stop.clone());
        events.send(EventKind::RunStarted(Box::new(facts)));
        for message in notes {
            events.send(EventKind::Note { message });
        }
        let mut result = runtime.block_on(async {
            watch_signals(stop.clone());
            for executor in executor.iter().chain(second.get()) {
                sweep(executor.as_ref(), &events, &activity).await;
            }
            run.finish(executor.clone()).await
        });
        let is_interrupted = is_interrupted(&result);
        let clean_up = async || {
            for executor in executor.iter().chain(second.get()) {
                finish(executor.as_ref(), &events, &activity).await;
            }
        };
        if !is_interrupted {
            runtime.block_on(clean_up());
        }
        if let (Some(shared), Ok(result)) = (&shared, &mut result) {
            let _wait = activity.wait_for(shared.sending());
            shared.finish(&events, &stop, result);
        }
        let exit = exit_code(&result, at_least);
        let is_whole = !is_partial && matches!(&result, Ok(result) if result.stopped.is_none());
        tell_end(&events, findings.as_deref(), is_whole, exit);
        let reported = reporting.join();
        if is_interrupted {
            // Clean up last: the sender of the signal may not wait for long, and the manifest has priority.
            runtime.block_on(in_short(context, clean_up()));
            send_rest(context, shared.as_ref());
        }
        // Threads that unpack or hash stop at the next chunk, or die with the process.
        runtime.shutdown_timeout(SHUT_DOWN);
        let result = result?;
        let reported = reported.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        reported.map_err(|error| {
            ResolveError::infrastructure(format!("failed to write the report of the run: {error}"))
        })?;
        Ok(result)
    }
}

/// Feeds the reporters on a thread of their own. If one of them fails because the disk is full, the run is stopped.
fn start_reporting(
    reporters: Vec<Box<dyn Reporter>>,
    receiver: Receiver<Event>,
    stop: Arc<Stop>,
) -> JoinHandle<Result<(), ReportError>> {
    report::spawn(reporters, receiver, move |error| {
        if error.is_disk_full() {
            stop.request(StopReason::Infrastructure);
        }
    })
}

/// Looks up all builds of a plan in the cache.
fn look_up(context: &Context, parts: Parts, settings: RunSettings, plan: &Plan) -> Run {
    let builds = count(plan.builds.len(), "build");
    let line = || format!("looking for {builds} in the cache");
    said_while_busy(context, line, || Run::look_up(parts, settings, plan))
}

/// Cleans up for a short time.
async fn in_short(context: &Context, clean_up: impl Future<Output = ()>) {
    let cleaning = async { tokio::time::timeout(CLEAN_UP, clean_up).await };
    let line = || Some(CLEANING_UP.to_owned());
    // A later run removes what remains.
    drop(said_while_waiting(context, line, cleaning).await);
}

/// Returns the executor for a run with missing builds, and notices for the user.
async fn connected(
    context: &Context,
    missing: usize,
    connect: impl AsyncFnOnce(usize) -> Result<(Arc<dyn Executor>, Vec<String>), ResolveError>,
) -> Result<(Option<Arc<dyn Executor>>, Vec<String>), ResolveError> {
    if missing == 0 {
        return Ok((None, Vec::new()));
    }
    let (executor, notes) = said_while_waiting(context, CONNECTING, connect(missing)).await?;
    Ok((Some(executor), notes))
}

/// Uploads what an interrupted run can still upload to the shared store.
fn send_rest(context: &Context, shared: Option<&OpenStore>) {
    if let Some(shared) = shared {
        said_while_busy(context, shared.sending(), || shared.try_finish(CLEAN_UP));
    }
}

/// Returns the name of the executor, or a placeholder if the run needs none.
fn name_of(executor: Option<&dyn Executor>) -> String {
    let name = executor.map_or(NO_EXECUTOR, |executor| executor.name());
    name.to_owned()
}

/// Returns the exit code of a run, which is no better than `at_least`.
fn exit_code(result: &Result<RunResult, FileError>, at_least: ExitStatus) -> u8 {
    let status = result
        .as_ref()
        .map_or(ExitStatus::Infrastructure, |result| {
            ExitStatus::of_run(result.exit_code())
        });
    status.worse(at_least).code()
}

fn is_interrupted(result: &Result<RunResult, FileError>) -> bool {
    matches!(result, Ok(result) if result.stopped == Some(StopReason::Signal))
}

fn new_runtime() -> Result<tokio::runtime::Runtime, ResolveError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            ResolveError::infrastructure(format!("failed to start the runtime: {error}"))
        })
}

/// Removes the leftovers of crashed runs; an error here does not fail the run.
async fn sweep(executor: &dyn Executor, events: &Events, activity: &Activity) {
    let _wait = activity.wait_for(|| "looking for leftovers of dead runs".to_owned());
    let message = match executor.sweep().await {
        Ok(0) => return,
        Ok(removed) => format!("removed {} of dead runs", count(removed, "leftover")),
        Err(error) => format!("failed to remove leftovers of dead runs: {}", chain(&error)),
    };
    events.send(EventKind::Note { message });
}

/// Reports the executor's notes, and removes what it kept between jobs.
async fn finish(executor: &dyn Executor, events: &Events, activity: &Activity) {
    let _wait = activity.wait_for(|| CLEANING_UP.to_owned());
    for message in executor.notes() {
        events.send(EventKind::Note { message });
    }
    if let Err(error) = executor.finish().await {
        let message = format!(
            "failed to remove leftovers of this run outside of the cache: {}",
            chain(&error)
        );
        events.send(EventKind::Note { message });
    }
}

/// On the first signal, no new jobs start, running jobs are ended and the manifest is written. On the second signal,
/// the program exits immediately.
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
                #[expect(clippy::exit, reason = "the second signal asks for an immediate exit")]
                std::process::exit(i32::from(ExitStatus::Interrupted.code()));
            }
            stop.request(StopReason::Signal);
        }
    });
}

/// Returns an ID that is unique among all runs that share a store, derived from the time and the process.
pub fn new_run_id() -> String {
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
