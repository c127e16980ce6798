//! Running one job of a build: a compile slot, the executor, its log, retries for what is transient.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::pipeline::Pipeline;
use super::step::{Failed, Halt, Mode, backoff};
use super::stop::StopReason;
use super::work::Work;
use crate::cache::{StepResult, TreeRole};
use crate::digest::Sha256;
use crate::error::chain;
use crate::event::EventKind;
use crate::executor::{
    Completion, ExecutorError, Exit, Job, Limits, LogSink, Mount, Network, Toolchain, is_disk_full,
};
use crate::failure::{Failure, FailureClass, Phase};
use crate::plan::Build;
use crate::report::{LogLimits, LogWriter};
use crate::script::{LogClassifier, LogFindings};
use crate::unpack::tree_digest_of_folder;

/// So many infrastructure failures in a row, with no job done in between, end the run.
const INFRASTRUCTURE_FAILURES_IN_A_ROW: u32 = 5;

/// What to run for a build, before the executor's own words.
pub(super) struct JobRequest {
    pub(super) phase: Phase,
    pub(super) toolchain: Toolchain,
    pub(super) script: String,
    pub(super) mounts: Vec<Mount>,
    pub(super) network: Network,
}

/// What a job gave.
pub(super) struct JobResult {
    pub(super) completion: Completion,
    /// The content of `/out`; removed when dropped.
    pub(super) output: tempfile::TempDir,
    /// The compressed log in the store.
    pub(super) log: Sha256,
    /// Why it did not end well, if it did not.
    pub(super) failure: Option<Failure>,
}

impl JobResult {
    /// What the job was worth: its log and what it used, with what came of it.
    pub(super) fn work(&self, result: StepResult) -> Work {
        let used = self.completion.resources;
        Work {
            result,
            log: Some(self.log),
            wall: used.wall,
            cpu: used.cpu,
            peak_memory_bytes: used.peak_memory_bytes,
        }
    }
}

/// A tree that a job leaves in its output.
pub(super) struct LeftTree {
    /// The folder of the output that it is in.
    pub(super) folder: &'static str,
    /// What it is called where it is missing.
    pub(super) what: &'static str,
    pub(super) role: TreeRole,
}

/// Writes a job's output to its log and looks for the first error in it as it comes. Holds the job's compile slot.
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

impl Pipeline {
    /// Runs a job; tries again after transient failures as often as the build's settings allow. A script that ends
    /// with an error is a result; only what is not the script's doing is a [`Halt`].
    pub(super) async fn run_job(
        &self,
        build: &Build,
        request: &JobRequest,
    ) -> Result<JobResult, Halt> {
        let mut waits = backoff(build.settings.retries);
        let mut attempt = 1;
        loop {
            let failed = match Box::pin(self.attempt(build, request)).await {
                Err(Halt::Failed(failed)) if failed.failure.class.is_transient() => failed,
                result => return result,
            };
            let wait = waits.next().filter(|_| !self.stop.no_new().is_cancelled());
            let Some(wait) = wait else {
                return Err(Halt::Failed(failed));
            };
            self.retries.push(build.id(), failed.failure.clone());
            self.events.send(EventKind::Retrying {
                build: build.id(),
                failure: failed.failure.clone(),
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

    async fn attempt(&self, build: &Build, request: &JobRequest) -> Result<JobResult, Halt> {
        let slot = self
            .compile_slots
            .acquire()
            .await
            .map_err(|_| Halt::NotRun)?;
        self.may_begin(Mode::Run)?;
        let phase = request.phase;
        let stored = |error: crate::fs::FileError| self.steps.storage_failure(&error, phase);
        let output = self.store.temporary_folder().map_err(stored)?;
        let job = Job {
            name: format!("{phase} {}", build.id()),
            run_id: self.run_id.clone(),
            toolchain: request.toolchain.clone(),
            script: request.script.clone(),
            mounts: request.mounts.clone(),
            environment: self.environment(build, request),
            network: request.network,
            limits: limits_of(build),
            output: output.path().to_owned(),
        };
        let log_path = PathBuf::from(output.path()).with_extension("log");
        let log = LogWriter::create(
            &log_path,
            &self.reproduce_command(build),
            LogLimits::default(),
        )
        .map_err(stored)?;
        self.events.send(EventKind::PhaseStarted {
            build: build.id(),
            phase,
            live_log: Some(log.live_path().to_owned()),
        });
        let executor = self.executor.get().ok_or(Halt::NotRun)?;
        let mut sink = Tee {
            log,
            classifier: LogClassifier::new(phase),
            slot: Some(slot),
        };
        let completion = executor.run(&job, &mut sink, self.stop.now()).await;
        let Tee {
            log,
            classifier,
            slot,
        } = sink;
        log.finish().map_err(stored)?;
        let mut findings = classifier.finish();
        findings.blame_full_disk([output.path(), &std::env::temp_dir()], is_disk_full);
        let failure = completion.as_ref().ok();
        let failure = failure.and_then(|done| failure_of(done, &findings, phase, limits_of(build)));
        if self.fail_fast
            && let Some(failure) = &failure
            && !failure.class.is_transient()
        {
            // Before the slot is free for the next job.
            self.stop.request(StopReason::FailFast);
        }
        drop(slot);
        let completion = completion.map_err(|error| self.executor_failure(&error, phase))?;
        self.infrastructure_failures
            .store(0, std::sync::atomic::Ordering::Relaxed);
        let (log, _) = std::fs::File::open(&log_path)
            .map_err(crate::fs::FileError::of("read", &log_path))
            .and_then(|file| self.store.put_blob(file))
            .and_then(|blob| crate::fs::remove_file(&log_path).map(|()| blob))
            .map_err(stored)?;
        if let Some(failure) = &failure {
            // Believed only if what the job was shown is what the digests say.
            self.confirmed_job(&request.mounts, StepResult::Failure(failure.clone()))?;
        }
        match failure {
            // What the machine did: tried again, and never what came of the job.
            Some(failure) if failure.class.is_transient() => Err(Halt::Failed(Box::new(Failed {
                failure,
                log: Some(log),
                is_cached: false,
            }))),
            failure => Ok(JobResult {
                completion,
                output,
                log,
                failure,
            }),
        }
    }

    /// The work of a job that leaves a tree: the tree is in the store, or the job's failure is what came of it.
    pub(super) fn tree_work(
        &self,
        request: &JobRequest,
        result: &JobResult,
        left: &LeftTree,
    ) -> Result<Work, Halt> {
        let phase = request.phase;
        if let Some(failure) = &result.failure {
            return Ok(result.work(StepResult::Failure(failure.clone())));
        }
        let tree = result.output.path().join(left.folder);
        let sha256 = match tree_digest_of_folder(&tree) {
            Ok(sha256) => sha256,
            Err(error) => {
                let message = format!("the script left no {}: {error}", left.what);
                let failure = Failure::new(FailureClass::OutputMissing, phase, message);
                let failure = StepResult::Failure(failure);
                return Ok(result.work(self.confirmed_job(&request.mounts, failure)?));
            }
        };
        let stored = |error: crate::fs::FileError| self.steps.storage_failure(&error, phase);
        self.store.put_tree(&tree, sha256).map_err(stored)?;
        let role = left.role;
        Ok(result.work(StepResult::Tree { sha256, role }))
    }

    fn environment(&self, build: &Build, request: &JobRequest) -> Vec<(String, String)> {
        let mut environment = match request.phase {
            Phase::Module | Phase::Probe | Phase::Fetch => build.settings.environment.clone(),
            _ => Vec::new(),
        };
        if let (Network::Host, Some(proxy)) = (request.network, self.fetcher.proxy()) {
            let variables = ["http_proxy", "https_proxy"];
            environment.extend(variables.map(|name| (name.to_owned(), proxy.to_owned())));
        }
        environment
    }

    pub(super) fn executor_failure(&self, error: &ExecutorError, phase: Phase) -> Halt {
        let class = match error {
            ExecutorError::Image { .. } => FailureClass::Image,
            // Many at once say nothing of the next: a node that went away takes all its jobs along.
            ExecutorError::Lost { .. } => FailureClass::Infrastructure,
            ExecutorError::Infrastructure { .. } => {
                let before = self
                    .infrastructure_failures
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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

/// The failure of a job that did not end with exit code 0, if it is one.
fn failure_of(
    completion: &Completion,
    findings: &LogFindings,
    phase: Phase,
    limits: Limits,
) -> Option<Failure> {
    let failure = match completion.exit {
        Exit::Code(0) => return None,
        Exit::Code(code) => findings.clone().into_failure(phase, code),
        Exit::TimedOut => Failure::new(
            FailureClass::Timeout,
            phase,
            format!(
                "took longer than {} s; raise `timeout` in the matrix",
                limits.timeout.as_secs()
            ),
        ),
        Exit::OutOfMemory => Failure::new(
            FailureClass::OutOfMemory,
            phase,
            out_of_memory(limits, completion.resources.peak_memory_bytes),
        ),
        Exit::TooMuchOutput => Failure::new(
            FailureClass::TooMuchOutput,
            phase,
            format!(
                "wrote more than {} MiB or {} files to /out; raise `output` or `output_files` in the matrix, of which \
                 /out and /tmp may take half each",
                (limits.output_bytes / 2) >> 20,
                limits.output_files / 2
            ),
        ),
        Exit::Cancelled => Failure::new(FailureClass::Cancelled, phase, "interrupted"),
    };
    Some(failure)
}

fn out_of_memory(limits: Limits, peak_bytes: Option<u64>) -> String {
    let limit = limits.memory_bytes >> 20;
    let seen = peak_bytes.map_or_else(String::new, |bytes| {
        format!(" (highest use seen: {} MiB)", bytes >> 20)
    });
    format!("needed more than {limit} MiB; raise `memory` in the matrix{seen}")
}

/// The limits of a build's jobs.
fn limits_of(build: &Build) -> Limits {
    let settings = &build.settings;
    Limits {
        timeout: settings.timeout.max(Duration::from_secs(1)),
        memory_bytes: settings.memory_bytes,
        output_bytes: settings.output_bytes.unwrap_or(settings.memory_bytes),
        output_files: settings.output_files,
        processes: settings.processes,
    }
}
