//! The course of a run: when builds and proofs start, and how their results are handled.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use crate::driver::Artifact;
use crate::engine::halt::Mode;
use crate::engine::stop::StopReason;
use crate::event::{BuildReport, EventKind};
use crate::failure::{Failure, FailureClass, Phase, Status};
use crate::plan::Build;
use crate::recipe::artifacts::phase_of;
use crate::run::builds::Builds;
use crate::run::proving::{Ended, Proving, Waiting};
use crate::run::sample::Sampled;
use crate::run::settings::{RunResult, RunSettings};
use crate::run::settling::{NOT_BEGUN, not_doubled, not_proven};

/// How long builds may take to end after the run is stopped: containers are removed, downloads are dropped. The sender
/// of a signal kills the process after ten seconds or less, and the manifest must be complete by then.
const GRACE: Duration = Duration::from_millis(500);

/// The maximum number of builds waiting for other machines for which additional builds are started.
const MOST_WAITING: usize = 256;

/// A run in progress.
pub(super) struct Course {
    builds: Arc<Builds>,
    settings: RunSettings,
    proving: Proving,
    sampled: Sampled,
    /// Builds that have not started.
    queue: std::vec::IntoIter<Build>,
    waiting: Waiting,
    /// Kernels with new builds that have ended, and whose proofs have not started.
    proofs: VecDeque<Vec<Ended>>,
    /// Kernels whose builds were all in the cache, and whose proofs have not started.
    old_proofs: VecDeque<Vec<Ended>>,
    /// Finished builds that are to be repeated.
    doubles: VecDeque<Ended>,
    running: JoinSet<Task>,
    names: HashMap<Id, Named>,
    result: RunResult,
}

/// The result of a task of a run.
enum Task {
    /// A build.
    Built(Box<Ended>),
    /// The builds of a kernel, whose modules were proven; `None` if their reports are unchanged.
    Proven(Option<Vec<BuildReport>>),
    /// A repeated build; `None` if its report is unchanged.
    Doubled(Option<Box<BuildReport>>),
}

/// The work of a task.
enum Named {
    Build(Build),
    Proof(Vec<Ended>),
    OldProof(Vec<Ended>),
    Double(Box<Ended>),
}

impl Course {
    /// Returns a run that has not started.
    pub(super) fn new(
        builds: Arc<Builds>,
        settings: RunSettings,
        proving: Proving,
        sampled: Sampled,
    ) -> Self {
        Self {
            builds,
            settings,
            proving,
            sampled,
            queue: Vec::new().into_iter(),
            waiting: Waiting::default(),
            proofs: VecDeque::new(),
            old_proofs: VecDeque::new(),
            doubles: VecDeque::new(),
            running: JoinSet::new(),
            names: HashMap::new(),
            result: RunResult::default(),
        }
    }

    /// Adds missing builds, builds whose modules are not yet proven, and builds that have not been repeated.
    pub(super) fn take(
        &mut self,
        missing: Vec<Build>,
        unproven: Vec<Ended>,
        undoubled: Vec<Ended>,
    ) {
        self.doubles = undoubled.into();
        for build in missing.iter().filter(|build| self.proving.has(build)) {
            self.waiting.expect(build);
        }
        for ended in unproven {
            self.waiting.add_known(ended);
        }
        self.old_proofs = self.waiting.take_complete().into();
        self.queue = missing.into_iter();
    }

    /// Reports a finished build.
    pub(super) fn note(&mut self, report: impl Into<Arc<BuildReport>>) {
        let mut report = report.into();
        if let Some(annotations) = &self.settings.annotations {
            annotations.annotate(Arc::make_mut(&mut report));
        }
        self.result.add(&report);
        let has_failure = report
            .artifacts
            .iter()
            .any(|artifact| artifact.failure.is_some() && artifact.status != Status::Known);
        let engine = self.builds.engine();
        if self.settings.fail_fast && has_failure {
            engine.stop.request(StopReason::FailFast);
        }
        engine.events.send(EventKind::BuildFinished(report));
    }

    /// Executes all tasks until they are finished or the run is stopped.
    pub(super) async fn run(mut self) -> RunResult {
        let builds = self.builds.clone();
        let engine = builds.engine();
        let deadline = self.settings.deadline;
        let over = tokio::time::sleep(deadline.unwrap_or(Duration::MAX));
        tokio::pin!(over);
        let mut is_announced = false;
        let given_up = async {
            engine.stop.now().cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(given_up);
        loop {
            if !engine.stop.no_new().is_cancelled() {
                self.begin();
            }
            tokio::select! {
                joined = self.running.join_next_with_id() => match joined {
                    Some(Ok((id, task))) => self.ended(id, task),
                    // The other tasks continue.
                    Some(Err(error)) => self.broke(&error),
                    None => break,
                },
                () = engine.stop.no_new().cancelled(), if !is_announced => {
                    is_announced = true;
                    let reason = engine.stop.reason().map_or("stopped", StopReason::as_str);
                    engine.events.send(EventKind::Stopping { reason: reason.to_owned() });
                }
                () = &mut over, if deadline.is_some() && !engine.stop.no_new().is_cancelled() => {
                    engine.stop.request(StopReason::Deadline);
                }
                // Another build may start instead.
                () = engine.jobs.slots().one_more_waits() => {}
                () = &mut given_up => break,
            }
        }
        self.leave();
        self.result
    }

    /// Starts as many builds as the limit allows: enough ahead that packages are fetched and unpacked while others
    /// compile. New builds and their proofs come first; then proofs of old builds and second builds, which get the slots
    /// that no new build needs.
    fn begin(&mut self) {
        let jobs = self.settings.jobs;
        let waiting = self.builds.engine().jobs.slots().waiting();
        let waiting = waiting.min(MOST_WAITING);
        let window = jobs * 3 + 6 + waiting;
        while self.running.len() < window {
            if let Some(ended) = self.proofs.pop_front() {
                self.begin_proof(ended, Named::Proof);
            } else if let Some(build) = self.queue.next() {
                self.begin_build(build);
            } else if self.running.len() >= jobs.max(1) + waiting && self.has_new_running() {
                break;
            } else if let Some(ended) = self.old_proofs.pop_front() {
                self.begin_proof(ended, Named::OldProof);
            } else if let Some(ended) = self.doubles.pop_front() {
                self.begin_double(ended);
            } else {
                break;
            }
        }
    }

    /// Whether new builds or their proofs are under way.
    fn has_new_running(&self) -> bool {
        let mut named = self.names.values();
        named.any(|named| matches!(named, Named::Build(_) | Named::Proof(_)))
    }

    fn begin_build(&mut self, build: Build) {
        let builds = self.builds.clone();
        let events = &self.builds.engine().events;
        events.send(EventKind::BuildStarted { build: build.id() });
        let name = build.clone();
        let task = self.running.spawn(async move {
            let report = builds.build(&build, Mode::Run).await;
            let report = report.unwrap_or_else(|| BuildReport::not_run(&build));
            Task::Built(Box::new((build, report)))
        });
        self.names.insert(task.id(), Named::Build(name));
    }

    fn begin_proof(&mut self, ended: Vec<Ended>, named: fn(Vec<Ended>) -> Named) {
        let builds = self.builds.clone();
        let of_kernel = ended.clone();
        let scope = ended
            .first()
            .and_then(|(build, _)| self.proving.scope(build));
        let task = self.running.spawn(async move {
            let proven = builds.prove(of_kernel, scope.unwrap_or_default(), Mode::Run);
            Task::Proven(proven.await)
        });
        self.names.insert(task.id(), named(ended));
    }

    fn begin_double(&mut self, ended: Ended) {
        let builds = self.builds.clone();
        let double = ended.clone();
        let task = self.running.spawn(async move {
            let report = builds.double(double, Mode::Run).await;
            Task::Doubled(report.map(Box::new))
        });
        self.names.insert(task.id(), Named::Double(Box::new(ended)));
    }

    fn ended(&mut self, id: Id, task: Task) {
        let named = self.names.remove(&id);
        match (task, named) {
            (Task::Built(ended), _) => self.built(*ended),
            (Task::Proven(proven), Some(Named::Proof(ended) | Named::OldProof(ended))) => {
                let (builds, before): (Vec<Build>, Vec<BuildReport>) = ended.into_iter().unzip();
                let reports = proven.unwrap_or(before);
                for ended in builds.into_iter().zip(reports) {
                    self.settled(ended);
                }
            }
            (Task::Doubled(doubled), Some(Named::Double(ended))) => {
                self.note(doubled.map_or(ended.1, |report| *report));
            }
            // Results always match the work of their task.
            (Task::Proven(_) | Task::Doubled(_), _) => {}
        }
    }

    /// Reports a build, or queues it until the modules of its kernel are proven.
    fn built(&mut self, ended: Ended) {
        if self.proving.has(&ended.0) {
            self.proofs.extend(self.waiting.add(ended));
        } else {
            self.settled(ended);
        }
    }

    /// Reports a build whose proof, if any, is finished, or queues it for its second build.
    fn settled(&mut self, ended: Ended) {
        let mut artifacts = ended.1.artifacts.iter();
        if self.sampled.has(&ended.1.build_id) && artifacts.any(|one| one.status.is_success()) {
            self.doubles.push_back(ended);
        } else {
            self.note(ended.1);
        }
    }

    fn broke(&mut self, error: &JoinError) {
        match self.names.remove(&error.id()) {
            Some(Named::Build(build)) => {
                let report = defect(&build, error);
                self.built((build, report));
            }
            Some(Named::Proof(ended) | Named::OldProof(ended)) => {
                for (build, _) in ended {
                    self.note(defect(&build, error));
                }
            }
            Some(Named::Double(ended)) => self.note(defect(&ended.0, error)),
            None => {}
        }
    }

    /// Reports builds that did not end in time; executors clean up after dropped jobs.
    fn leave(&mut self) {
        self.running.abort_all();
        for task in std::mem::take(&mut self.names).into_values() {
            match task {
                Named::Build(build) => self.note(cancelled(&build)),
                Named::Proof(ended) | Named::OldProof(ended) => self.proofs.push_back(ended),
                Named::Double(ended) => self.doubles.push_back(*ended),
            }
        }
        let unproven = std::mem::take(&mut self.proofs);
        let waiting = std::mem::take(&mut self.waiting);
        let unproven = unproven
            .into_iter()
            .chain(std::mem::take(&mut self.old_proofs));
        let unproven = unproven.flatten().chain(waiting.into_ended());
        let proving = std::mem::take(&mut self.proving);
        let unproven = unproven.map(|(build, report)| {
            not_proven(report, proving.scope(&build).unwrap_or_default(), NOT_BEGUN)
        });
        let undoubled = std::mem::take(&mut self.doubles);
        let undoubled = undoubled.into_iter().map(|(_, report)| report);
        for report in unproven.chain(undoubled) {
            if self.sampled.has(&report.build_id) {
                self.note(not_doubled(report, NOT_BEGUN));
            } else {
                self.note(report);
            }
        }
        for build in std::mem::take(&mut self.queue) {
            self.note(BuildReport::not_run(&build));
        }
    }
}

/// Returns the report of a build that failed because of an internal error.
fn defect(build: &Build, error: &tokio::task::JoinError) -> BuildReport {
    let message = format!("driverkit-matrix itself has a defect: {error}");
    let failure = Failure::new(FailureClass::Infrastructure, Phase::Store, message);
    failed(build, |_| failure.clone())
}

/// Returns the report of a build that was running when the run was stopped, and did not end in time.
fn cancelled(build: &Build) -> BuildReport {
    let message = "interrupted, and did not end in time";
    failed(build, |artifact| {
        Failure::new(FailureClass::Cancelled, phase_of(artifact), message)
    })
}

/// Returns a report that contains only the failures of a build's artifacts.
fn failed(build: &Build, failure_of: impl Fn(Artifact) -> Failure) -> BuildReport {
    let mut report = BuildReport::not_run(build);
    for artifact in &mut report.artifacts {
        let failure = failure_of(artifact.artifact);
        artifact.status = failure.class.status();
        artifact.failure = Some(failure);
    }
    report
}
