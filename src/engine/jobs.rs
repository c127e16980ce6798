//! Runs a single job of a build: compile slot, executor, log, and retries of transient failures.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::SemaphorePermit;

use crate::cache::StepResult;
use crate::digest::KeyBuilder;
use crate::engine::ended::{failure_of, limits_of, trace_end};
use crate::engine::events::Events;
use crate::engine::halt::Halt;
use crate::engine::job::{JobRequest, JobResult, LeftTree};
use crate::engine::memo::Retries;
use crate::engine::second::SecondExecutor;
use crate::engine::slots::{Once, Slots};
use crate::engine::step::{StepRunner, backoff};
use crate::engine::stop::{Stop, StopReason};
use crate::engine::work::Work;
use crate::error::chain;
use crate::event::{EventKind, Reproduce};
use crate::executor::{Executor, ExecutorError, Job, LogSink, Network, is_disk_full};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::{FileError, blocking};
use crate::plan::{Build, BuildId};
use crate::report::{LogLimits, LogWriter};
use crate::script::{self, LogClassifier};
use crate::store::Store;
use crate::unpack::tree_digest_of_folder;

/// This many infrastructure failures in a row, without a successful job in between, end the run.
const INFRASTRUCTURE_FAILURES_IN_A_ROW: u32 = 5;

/// Writes a job's output to its log and searches the output for the first error as it arrives. Holds the job's compile
/// slot.
struct Tee<'a> {
    log: LogWriter,
    classifier: LogClassifier,
    slot: Option<SemaphorePermit<'a>>,
}

impl LogSink for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.classifier.feed(bytes);
    }

    fn script_succeeded(&mut self) {
        self.slot = None;
    }
}

/// The settings for the jobs of a run.
pub(crate) struct JobSettings {
    /// The unique name of the run.
    pub(crate) run_id: String,
    /// The maximum number of concurrent jobs.
    pub(crate) slots: usize,
    /// Whether the first failure ends the run.
    pub(crate) fail_fast: bool,
    /// The proxy of jobs with network access.
    pub(crate) proxy: Option<String>,
    /// The command in the first line of job logs.
    pub(crate) reproduce: Reproduce,
    /// The executor of second builds, if it is a different one.
    pub(crate) second: SecondExecutor,
}

/// Runs jobs, one per slot at a time.
pub(crate) struct Jobs {
    settings: JobSettings,
    slots: Slots,
    /// The executor, which is set before the first job runs.
    executor: OnceLock<Arc<dyn Executor>>,
    store: Arc<Store>,
    steps: Arc<StepRunner>,
    events: Events,
    stop: Arc<Stop>,
    /// Retried failures, until the report of their build takes them.
    retries: Retries,
    infrastructure_failures: AtomicU32,
}

impl Jobs {
    /// Returns a runner of jobs that stores logs and trees in `store`.
    pub(crate) fn new(
        settings: JobSettings,
        store: Arc<Store>,
        steps: Arc<StepRunner>,
        events: Events,
        stop: Arc<Stop>,
    ) -> Self {
        Self {
            slots: Slots::new(settings.slots),
            settings,
            executor: OnceLock::new(),
            store,
            steps,
            events,
            stop,
            retries: Retries::default(),
            infrastructure_failures: AtomicU32::new(0),
        }
    }

    /// Sets the executor. Only the first call has an effect.
    pub(crate) fn set_executor(&self, executor: Arc<dyn Executor>) {
        drop(self.executor.set(executor));
    }

    /// Returns the executor, if it is set.
    pub(crate) fn executor(&self) -> Result<&dyn Executor, Halt> {
        self.executor
            .get()
            .map(|executor| &**executor)
            .ok_or(Halt::NotRun)
    }

    /// Adds slots for this many more jobs.
    pub(crate) fn add_slots(&self, more: usize) {
        self.slots.add(more);
    }

    /// Returns the slots of jobs.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Takes the retried failures of a build.
    pub(crate) fn take_retries(&self, build: &BuildId) -> Vec<Failure> {
        self.retries.take(build)
    }

    /// Runs a job; retries transient failures as often as the build's settings allow. A script that exits with an error
    /// is a failure of the step itself.
    pub(crate) async fn run(&self, build: &Build, request: &JobRequest) -> Result<JobResult, Halt> {
        self.run_on(build, request, None, None).await
    }

    /// Like [`Self::run`], for the job of the step with these inputs, which only one of the machines that share a store
    /// should run: this one, unless another is running it. If the step already has an outcome here, the job is repeated
    /// without consulting other machines.
    pub(crate) async fn run_once(
        &self,
        build: &Build,
        request: &JobRequest,
        inputs: &KeyBuilder,
    ) -> Result<JobResult, Halt> {
        let is_known = self.steps.has(inputs.key(), request.phase)?;
        self.run_on(build, request, None, (!is_known).then_some(inputs))
            .await
    }

    /// Runs the job of a second build: with another host name, and with another executor if there is one that has the
    /// image. Also returns the name of the executor.
    pub(crate) async fn run_double(
        &self,
        build: &Build,
        request: &JobRequest,
    ) -> Result<(JobResult, &'static str), Halt> {
        if let Some(other) = self.settings.second.get() {
            let result = self.run_on(build, request, Some(&**other), None).await;
            let lacks_image = matches!(
                &result,
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Image
            );
            if !lacks_image {
                return result.map(|result| (result, other.name()));
            }
        }
        let executor = self.executor()?;
        let result = self.run_on(build, request, Some(executor), None).await?;
        Ok((result, executor.name()))
    }

    /// Runs a job. `second` is the executor of a second build; `once` are the inputs of a step that only one machine
    /// should run.
    async fn run_on(
        &self,
        build: &Build,
        request: &JobRequest,
        second: Option<&dyn Executor>,
        once: Option<&KeyBuilder>,
    ) -> Result<JobResult, Halt> {
        let mut waits = backoff(build.settings.retries);
        let mut attempt = 1;
        loop {
            let failed = match Box::pin(self.attempt(build, request, second, once)).await {
                Err(Halt::Failed(failed)) if failed.failure.class.is_transient() => failed,
                result => return result,
            };
            let wait = waits.next().filter(|_| !self.stop.no_new().is_cancelled());
            let Some(wait) = wait else {
                return Err(Halt::Failed(failed));
            };
            tracing::debug!(
                build = %build.id(), phase = %request.phase, attempt, ?wait, failure = %failed.failure,
                "retrying a job after a transient failure"
            );
            self.retries.push(build.id(), failed.failure.clone());
            self.events.send(EventKind::Retrying {
                build: build.id(),
                failure: Box::new(failed.failure.clone()),
                attempt,
                wait,
            });
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.no_new().cancelled() => return Err(Halt::Failed(failed)),
            }
        }
    }

    async fn attempt(
        &self,
        build: &Build,
        request: &JobRequest,
        second: Option<&dyn Executor>,
        once: Option<&KeyBuilder>,
    ) -> Result<JobResult, Halt> {
        let phase = request.phase;
        let shared = self.store.shared();
        let name = match second {
            None => format!("{phase} {}", build.id()),
            Some(_) => format!("double {phase} {}", build.id()),
        };
        let once = once.zip(shared).map(|(inputs, shared)| Once {
            inputs,
            shared,
            job: &name,
            events: &self.events,
        });
        let slot = self.slots.get(&self.steps, &self.stop, phase, once).await?;
        let stored = self.steps.stored(phase);
        let store = self.store.clone();
        let command = self.settings.reproduce.command(&build.id());
        let prepare = move || -> Result<_, FileError> {
            let output = store.temporary_folder()?;
            let log_path = PathBuf::from(output.path()).with_extension("log");
            let log = LogWriter::create(&log_path, &command, LogLimits::default())?;
            Ok((output, log_path, log))
        };
        let (output, log_path, log) = blocking(prepare).await.map_err(stored)?;
        let job = Job {
            name,
            run_id: self.settings.run_id.clone(),
            toolchain: request.toolchain.clone(),
            script: script::telling_full(&request.script),
            mounts: request.mounts.clone(),
            environment: self.environment(build, request, second.is_some()),
            network: request.network,
            kvm: request.kvm,
            limits: limits_of(build),
            output: output.path().to_owned(),
        };
        self.events.send(EventKind::PhaseStarted {
            build: build.id(),
            phase,
            live_log: Some(log.live_path().to_owned()),
        });
        let executor = match second {
            Some(executor) => executor,
            None => self.executor()?,
        };
        let mut sink = Tee {
            log,
            classifier: LogClassifier::new(phase),
            slot: Some(slot),
        };
        tracing::debug!(job = job.name, executor = executor.name(), "starting a job");
        let completion = executor.run(&job, &mut sink, self.stop.now()).await;
        let Tee {
            log,
            classifier,
            slot,
        } = sink;
        // Compresses what is left of the log, and writes it durably.
        blocking(move || log.finish()).await.map_err(stored)?;
        let mut findings = classifier.finish();
        findings.blame_full_disk([output.path(), &std::env::temp_dir()], is_disk_full);
        let failure = completion.as_ref().ok();
        let failure = failure.and_then(|done| failure_of(done, &findings, phase, limits_of(build)));
        trace_end(&job.name, &completion);
        // Failures of other jobs are not final: checks run again alone, and a missing proof does not fail a build.
        let is_last_word = matches!(phase, Phase::Module | Phase::Probe);
        if self.settings.fail_fast
            && is_last_word
            && let Some(failure) = &failure
            && !failure.class.is_transient()
        {
            // Stop before the slot is free for the next job.
            self.stop.request(StopReason::FailFast);
        }
        drop(slot);
        let completion = completion.map_err(|error| self.executor_failure(&error, phase))?;
        self.infrastructure_failures.store(0, Ordering::Relaxed);
        let store = self.store.clone();
        let keep_log = move || {
            let file = std::fs::File::open(&log_path).map_err(FileError::of("read", &log_path))?;
            let (log, _) = store.put_blob(file)?;
            crate::fs::remove_file(&log_path).map(|()| log)
        };
        let log = blocking(keep_log).await.map_err(stored)?;
        let trees = request.mounts.iter();
        let trees = trees.filter_map(|mount| self.store.tree_of(&mount.source));
        let result = JobResult {
            output,
            log,
            used: completion.resources,
            trees: trees.collect(),
        };
        match failure {
            // A failure of the machine is retried, and is never the outcome of the job.
            Some(failure) if failure.class.is_transient() => {
                Err(result.failed(failure).of_inputs())
            }
            Some(failure) => Err(result.failed(failure)),
            None => Ok(result),
        }
    }

    /// Returns the work of a job that produces a tree, which is put into the store.
    pub(crate) async fn tree_work(
        &self,
        phase: Phase,
        result: JobResult,
        left: LeftTree,
    ) -> Result<Work, Halt> {
        let tree = result.output.path().join(left.folder);
        let store = self.store.clone();
        let kept = blocking(move || {
            let sha256 = match tree_digest_of_folder(&tree) {
                Ok(sha256) => sha256,
                Err(error) => return Ok(Err(error)),
            };
            store.put_tree(&tree, sha256).map(|()| Ok(sha256))
        });
        match kept.await.map_err(self.steps.stored(phase))? {
            Ok(sha256) => {
                let role = left.role;
                Ok(result.work(StepResult::Tree { sha256, role }))
            }
            Err(error) => {
                let message = format!("the script left no {}: {error}", left.what);
                let failure = Failure::new(FailureClass::OutputMissing, phase, message);
                Err(result.failed(failure))
            }
        }
    }

    fn environment(
        &self,
        build: &Build,
        request: &JobRequest,
        is_second: bool,
    ) -> Vec<(String, String)> {
        let mut environment = match request.phase {
            Phase::Module | Phase::Probe | Phase::Fetch => build.settings.environment.clone(),
            _ => Vec::new(),
        };
        if is_second {
            environment.push(("HOSTNAME".to_owned(), script::SECOND_HOST.to_owned()));
        }
        if let (Network::Host, Some(proxy)) = (request.network, &self.settings.proxy) {
            let variables = ["http_proxy", "https_proxy"];
            environment.extend(variables.map(|name| (name.to_owned(), proxy.clone())));
        }
        environment
    }

    pub(crate) fn executor_failure(&self, error: &ExecutorError, phase: Phase) -> Halt {
        let class = match error {
            ExecutorError::Image { .. } => FailureClass::Image,
            // Many such failures at once do not predict the next job: a lost node takes all its jobs with it.
            ExecutorError::Lost { .. } => FailureClass::Infrastructure,
            // The artifact exists without its proof.
            ExecutorError::Infrastructure { .. } if phase == Phase::Prove => {
                FailureClass::Infrastructure
            }
            ExecutorError::Infrastructure { .. } => {
                let before = self.infrastructure_failures.fetch_add(1, Ordering::Relaxed);
                if before + 1 >= INFRASTRUCTURE_FAILURES_IN_A_ROW {
                    self.stop.request(StopReason::Infrastructure);
                }
                FailureClass::Infrastructure
            }
        };
        let message = match error.help() {
            Some(help) => format!("{}; {help}", chain(error)),
            None => chain(error),
        };
        Failure::new(class, phase, message).into()
    }
}
