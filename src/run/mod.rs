//! The run: every build of a plan from its packages to its artifacts, asking the cache first.
//!
//! In: a plan, and the [`Parts`] that do the work. Out: events, artifacts in the [`OutFolder`], a [`RunResult`].
//! [`Run::look_up`] asks the cache for everything without opening a connection; [`Run::finish`] does what is missing.
//! The same code computes keys in both. Nothing here formats a line or reads a matrix.

mod builds;
mod needs;
mod order;
mod out_folder;
mod placing;

pub use needs::{Need, needs};
pub use order::{History, longest_first};
pub use out_folder::OutFolder;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rayon::prelude::*;
use tokio::task::JoinSet;

use crate::cache::Outcomes;
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::events::Events;
use crate::engine::halt::Mode;
use crate::engine::jobs::{JobSettings, Jobs};
use crate::engine::reproduce::Reproduce;
use crate::engine::step::{Asked, RetryClasses, StepRunner};
use crate::engine::stop::{Stop, StopReason};
use crate::engine::trees::Trees;
use crate::event::{BuildReport, EventKind};
use crate::executor::Executor;
use crate::failure::{Failure, FailureClass, Phase, Status};
use crate::fetch::Fetcher;
use crate::fs::FileError;
use crate::kernel::Architecture;
use crate::plan::{Build, BuildId, Plan};
use crate::recipe::artifacts::phase_of;
use crate::recipe::toolchain::Toolchains;
use crate::run::builds::Builds;
use crate::store::Store;

/// How long builds may take to end once what runs must end: containers are removed, downloads are dropped. Whoever
/// sends a signal kills the process ten seconds later, or sooner, and the manifest is to be complete by then.
const GRACE: Duration = Duration::from_millis(500);

/// How many artifacts that machines share are fetched at once.
const BROUGHT_AT_ONCE: usize = 16;

/// What a run is made of.
pub struct Parts {
    /// A name that no other run has.
    pub run_id: String,
    /// The architecture of the machine that compiles.
    pub host: Architecture,
    /// The store.
    pub store: Arc<Store>,
    /// Downloads into the store.
    pub fetcher: Fetcher,
    /// Builder images or the machine's compilers.
    pub toolchains: Toolchains,
    /// Receives the artifacts.
    pub out: OutFolder,
    /// Receives the events.
    pub events: Events,
    /// Ends the run early.
    pub stop: Arc<Stop>,
}

/// How a run is done.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// How many jobs run at once.
    pub jobs: usize,
    /// Whether the first failure ends the run.
    pub fail_fast: bool,
    /// After this long nothing new begins.
    pub deadline: Option<Duration>,
    /// Kept failures that are done again.
    pub retry: RetryClasses,
    /// How long builds took in earlier runs.
    pub history: History,
    /// The command that does one build again.
    pub reproduce: Reproduce,
    /// Whether artifacts that machines share are brought here and placed; otherwise they stay where they are.
    pub brings_shared: bool,
    /// What is known of builds beside their results.
    pub annotations: Option<Arc<dyn Annotate>>,
}

/// Adds to the report of a finished build what the run itself does not know: since when there is its kernel, whether its
/// failure is a known one.
pub trait Annotate: std::fmt::Debug + Send + Sync {
    /// Adds it.
    fn annotate(&self, report: &mut BuildReport);
}

/// A run of a plan.
pub struct Run {
    builds: Arc<Builds>,
    settings: RunSettings,
    found: Vec<BuildReport>,
    missing: Vec<Build>,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunResult {
    /// How many artifacts have each status.
    pub statuses: BTreeMap<Status, usize>,
    /// Whether an artifact is missing because of the infrastructure.
    pub has_infrastructure_failure: bool,
    /// Whether servers were asked for packages or sources, and none of them answered.
    pub has_no_network: bool,
    /// Why the run ended early, if it did.
    pub stopped: Option<StopReason>,
    /// Whether the store that machines share lacks something that was made.
    pub is_not_shared: bool,
    /// The builds whose packages turned out to be no headers of their kernel.
    pub wrong_headers: BTreeSet<BuildId>,
}

impl RunResult {
    /// The program's exit code: 0 all artifacts are there, 1 some are not, 3 infrastructure, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self.stopped {
            Some(StopReason::Signal) => 130,
            Some(StopReason::Infrastructure) => 3,
            _ if self.has_infrastructure_failure || self.is_not_shared => 3,
            _ if self.statuses.keys().all(|status| status.is_expected()) => 0,
            _ if self.has_no_network => 3,
            _ => 1,
        }
    }

    fn add(&mut self, report: &BuildReport) {
        for artifact in &report.artifacts {
            *self.statuses.entry(artifact.status).or_default() += 1;
            if artifact.status == Status::Known {
                continue;
            }
            match artifact.failure.as_ref().map(|failure| failure.class) {
                Some(FailureClass::Infrastructure) => self.has_infrastructure_failure = true,
                Some(FailureClass::WrongHeaders) => {
                    self.wrong_headers.insert(report.build_id.clone());
                }
                _ => {}
            }
        }
    }
}

impl Run {
    /// Takes the builds of a plan, and asks the cache for each; opens no connection and starts nothing.
    pub fn look_up(parts: Parts, settings: RunSettings, plan: &Plan) -> Self {
        let steps = steps(&parts);
        if settings.retry.compiles_again() {
            steps.retry(settings.retry.clone());
        }
        let builds = Arc::new(builds_of(parts, &settings, plan, steps));
        // Builds of one kernel follow one another; what they share is looked up once and then forgotten.
        let of_one_kernel = |left: &Build, right: &Build| Arc::ptr_eq(&left.kernel, &right.kernel);
        let look_up = |of_kernel: &[Build]| -> Vec<Option<BuildReport>> {
            let look_up_one = |build| {
                let report = builds.build(build, Mode::Lookup).now_or_never().flatten()?;
                if has_failure_of(&report, &settings.retry) {
                    builds.doubt(build);
                    return None;
                }
                Some(report)
            };
            let found = of_kernel.iter().map(look_up_one).collect();
            if let Some(build) = of_kernel.first() {
                builds.forget_kernel(build);
            }
            found
        };
        let looked_up: Vec<Option<BuildReport>> = plan
            .builds
            .par_chunk_by(of_one_kernel)
            .flat_map_iter(look_up)
            .collect();
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (build, report) in plan.builds.iter().zip(looked_up) {
            match report {
                Some(report) => found.push(report),
                None => missing.push(build.clone()),
            }
        }
        builds.engine().steps.forget_shared();
        builds.engine().steps.retry(settings.retry.clone());
        // They hold failures that may be done again.
        builds.forget_sources();
        longest_first(&mut missing, &settings.history);
        Self {
            builds,
            settings,
            found,
            missing,
        }
    }

    /// Brings what was found and machines share, and places it. What cannot be had is missing then.
    pub async fn bring_shared(&mut self, plan: &Plan) {
        let store = &self.builds.engine().store;
        let mut wanted = Vec::new();
        for report in &self.found {
            for artifact in &report.artifacts {
                if let (None, Some(sha256), Some(key)) =
                    (&artifact.path, artifact.sha256, artifact.key)
                {
                    wanted.push((report.build_id.clone(), sha256, key));
                }
            }
        }
        if wanted.is_empty() || !self.settings.brings_shared {
            return;
        }
        let brought = futures_util::stream::iter(wanted)
            .map(async |(build, sha256, key)| (build, key, store.fetch_shared(sha256).await));
        let brought: Vec<_> = brought.buffer_unordered(BROUGHT_AT_ONCE).collect().await;
        let mut again = BTreeSet::new();
        for (build, key, is_here) in brought {
            if !is_here {
                let steps = &self.builds.engine().steps;
                // What cannot be forgotten fails when it is placed.
                drop(steps.forget(key, Mode::Run, Phase::Store).await);
            }
            again.insert(build);
        }
        self.found
            .retain(|report| !again.contains(&report.build_id));
        for build in plan
            .builds
            .iter()
            .filter(|build| again.contains(&build.id()))
        {
            let found = self.builds.build(build, Mode::Lookup).now_or_never();
            match found.flatten() {
                Some(report) => self.found.push(report),
                None => self.missing.push(build.clone()),
            }
        }
        longest_first(&mut self.missing, &self.settings.history);
    }

    /// Allows more jobs at once than the settings do.
    pub fn allow_jobs(&mut self, jobs: usize) {
        let more = jobs.saturating_sub(self.settings.jobs.max(1));
        self.builds.engine().jobs.add_slots(more);
        self.settings.jobs = self.settings.jobs.max(jobs);
    }

    /// How many builds are not in the cache.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Reports what was found and does the rest with `executor`, which is only needed when something is missing.
    pub async fn finish(self, executor: Option<Arc<dyn Executor>>) -> Result<RunResult, FileError> {
        let Self {
            builds,
            settings,
            found,
            missing,
        } = self;
        let engine = builds.engine();
        let mut result = RunResult::default();
        let note = |result: &mut RunResult, mut report: BuildReport| {
            if let Some(annotations) = &settings.annotations {
                annotations.annotate(&mut report);
            }
            let report = Arc::new(report);
            result.add(&report);
            let has_failure = report
                .artifacts
                .iter()
                .any(|artifact| artifact.failure.is_some() && artifact.status != Status::Known);
            if settings.fail_fast && has_failure {
                engine.stop.request(StopReason::FailFast);
            }
            engine.events.send(EventKind::BuildFinished(report));
        };
        for report in found {
            note(&mut result, report);
        }
        if let Some(executor) = executor {
            engine.jobs.set_executor(executor);
        }
        let mut queue = missing.into_iter();
        let mut running = JoinSet::new();
        let mut names = HashMap::new();
        // Enough ahead that packages are fetched and unpacked while others compile.
        let window = settings.jobs * 3 + 6;
        let deadline = tokio::time::sleep(settings.deadline.unwrap_or(Duration::MAX));
        tokio::pin!(deadline);
        let mut is_announced = false;
        let given_up = async {
            engine.stop.now().cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(given_up);
        loop {
            while running.len() < window && !engine.stop.no_new().is_cancelled() {
                let Some(build) = queue.next() else { break };
                engine
                    .events
                    .send(EventKind::BuildStarted { build: build.id() });
                let builds = builds.clone();
                let name = build.clone();
                let task = running.spawn(async move {
                    let report = builds.build(&build, Mode::Run).await;
                    report.unwrap_or_else(|| BuildReport::not_run(&build))
                });
                names.insert(task.id(), name);
            }
            tokio::select! {
                joined = running.join_next_with_id() => match joined {
                    Some(Ok((id, report))) => {
                        names.remove(&id);
                        note(&mut result, report);
                    }
                    // The others go on.
                    Some(Err(error)) => {
                        if let Some(build) = names.remove(&error.id()) {
                            note(&mut result, defect(&build, &error));
                        }
                    }
                    None => break,
                },
                () = engine.stop.no_new().cancelled(), if !is_announced => {
                    is_announced = true;
                    let reason = engine.stop.reason().map_or("stopped", StopReason::as_str);
                    engine.events.send(EventKind::Stopping { reason: reason.to_owned() });
                }
                () = &mut deadline, if settings.deadline.is_some() && !engine.stop.no_new().is_cancelled() => {
                    engine.stop.request(StopReason::Deadline);
                }
                () = &mut given_up => break,
            }
        }
        // What did not end by itself in time; executors clean up after jobs that are dropped.
        running.abort_all();
        for build in names.into_values() {
            note(&mut result, cancelled(&build));
        }
        for build in queue {
            note(&mut result, BuildReport::not_run(&build));
        }
        result.stopped = engine.stop.reason();
        result.has_no_network = engine.fetcher.has_no_network();
        builds.save()?;
        Ok(result)
    }
}

/// Whether an artifact failed in one of the classes.
fn has_failure_of(report: &BuildReport, classes: &RetryClasses) -> bool {
    let mut failures = report
        .artifacts
        .iter()
        .filter_map(|artifact| artifact.failure.as_ref());
    failures.any(|failure| classes.has(failure.class))
}

/// The report of a build in which this program itself failed.
fn defect(build: &Build, error: &tokio::task::JoinError) -> BuildReport {
    let message = format!("driverkit-matrix itself has a defect: {error}");
    let failure = Failure::new(FailureClass::Infrastructure, Phase::Store, message);
    failed(build, |_| failure.clone())
}

/// The report of a build that was under way when the run was stopped, and did not end in time.
fn cancelled(build: &Build) -> BuildReport {
    let message = "interrupted, and did not end in time";
    failed(build, |artifact| {
        Failure::new(FailureClass::Cancelled, phase_of(artifact), message)
    })
}

/// The report of a build of which nothing is known but its artifacts' failures.
fn failed(build: &Build, failure_of: impl Fn(Artifact) -> Failure) -> BuildReport {
    let mut report = BuildReport::not_run(build);
    for artifact in &mut report.artifacts {
        let failure = failure_of(artifact.artifact);
        artifact.status = failure.class.status();
        artifact.failure = Some(failure);
    }
    report
}

fn builds_of(parts: Parts, settings: &RunSettings, plan: &Plan, steps: StepRunner) -> Builds {
    let steps = Arc::new(steps);
    let trees = Arc::new(Trees::new(parts.store.clone(), steps.clone()));
    let jobs = Jobs::new(
        JobSettings {
            run_id: parts.run_id,
            slots: settings.jobs,
            fail_fast: settings.fail_fast,
            proxy: parts.fetcher.proxy().map(str::to_owned),
            reproduce: settings.reproduce.clone(),
        },
        parts.store.clone(),
        steps.clone(),
        parts.events.clone(),
        parts.stop.clone(),
    );
    let engine = Engine {
        host: parts.host,
        store: parts.store,
        steps,
        trees,
        jobs,
        fetcher: parts.fetcher,
        events: parts.events,
        stop: parts.stop,
    };
    // Unpacking is bound by the disk as much as by processors.
    let unpack_slots = settings.jobs.clamp(1, 4);
    let placing = (parts.out, plan.names.clone(), settings.brings_shared);
    Builds::new(Arc::new(engine), parts.toolchains, placing, unpack_slots)
}

fn steps(parts: &Parts) -> StepRunner {
    let outcomes = Outcomes::of(&parts.store);
    StepRunner::new(outcomes, &parts.run_id, parts.stop.clone())
}

/// The steps of one build, each with what goes into its key and what is known of it; opens no connection and starts
/// nothing. Where a step is not known, those that depend on it cannot be named and are missing from the list.
pub fn explain(parts: Parts, settings: &RunSettings, plan: &Plan, build: &Build) -> Vec<Asked> {
    let steps = steps(&parts).with_trace();
    let builds = builds_of(parts, settings, plan, steps);
    // It waits for nothing, since nothing may begin.
    let _ = builds.ask_only(build).now_or_never();
    builds.engine().steps.trace()
}

#[cfg(test)]
mod tests;
