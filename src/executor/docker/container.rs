//! One job as one container, from its start to its removal.

use std::time::{Duration, Instant};

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, InspectContainerOptionsBuilder,
    KillContainerOptions, StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::super::{
    Completion, ExecutorError, Exit, Job, Limits, LogSink, Network, Resources, output, scratch,
    writes,
};
use super::DockerExecutor;
use super::connection::{HungUp, failure};
use super::leftovers::Created;

/// How long to wait for the rest of the output after the container has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The exit code of a script that was killed, or that ended because a child was killed.
const KILLED: i32 = 137;

/// How often and at what interval to poll the daemon for the reason why a script was killed.
const REASON_ATTEMPTS: u32 = 10;
const REASON_INTERVAL: Duration = Duration::from_millis(50);

/// The shortest interval between two measurements of what a job added to its image. The interval is at least
/// `SIZE_SHARE_OF_TIME` times as long as a measurement takes.
const SIZE_INTERVAL: Duration = Duration::from_secs(1);
const SIZE_SHARE_OF_TIME: u32 = 20;

impl DockerExecutor {
    /// Runs one job, see [`super::super::Executor::run`].
    pub(super) async fn run_container(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        let ready = cancel.run_until_cancelled(self.ready_image(&job.toolchain));
        let Some(image) = ready.await else {
            return Ok(cancelled());
        };
        // Not cancellable: an abandoned request may still create a container that nobody would remove.
        let container = self.create(&image?, job).await?;
        let ended = self.supervise(&container, job, log, cancel).await;
        // Also after a failure: a retry must not find anything of this attempt.
        let removed = container.remove().await;
        let completion = ended?;
        removed?;
        Ok(output::take_over(job, completion)?)
    }

    /// Starts the container, follows it until it ends, and collects its output.
    async fn supervise(
        &self,
        container: &Created,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        // Attached before the start, so that no output is lost.
        let options = AttachContainerOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let AttachContainerResults { mut output, .. } = self
            .docker
            .attach_container(container.id(), Some(options))
            .await
            .map_err(|error| failure("attach to a container", error))?;
        if cancel.is_cancelled() {
            return Ok(cancelled());
        }
        let start = Instant::now();
        let started = self
            .docker
            .start_container(container.id(), None::<StartContainerOptions>);
        started
            .await
            .map_err(|error| failure("start a container", error))?;
        let mut log = Killed {
            log,
            is_said: false,
        };
        let mut exit = self
            .follow(container, job, &mut output, &mut log, cancel)
            .await?;
        if exit == Exit::Code(0) {
            log.script_succeeded();
        }
        if matches!(exit, Exit::TimedOut | Exit::TooMuchOutput) {
            // An error is ignored: the container may have ended by itself meanwhile.
            let killed = self
                .docker
                .kill_container(container.id(), None::<KillContainerOptions>);
            drop(killed.await);
        }
        let wall = start.elapsed();
        if exit != Exit::Cancelled {
            let rest = async {
                while let Some(Ok(chunk)) = output.next().await {
                    log.write(chunk.as_ref());
                }
            };
            // If the stream does not end in time, only the end of the log is lost.
            drop(tokio::time::timeout(DRAIN_TIMEOUT, rest).await);
        }
        if let Some(output) = &container.output_volume
            && matches!(exit, Exit::Code(_))
            && !self.download_output(&output.holder, job).await?
        {
            exit = Exit::TooMuchOutput;
        }
        Ok(Completion {
            exit: self.explain(container, exit, log.is_said).await?,
            resources: Resources {
                wall,
                ..Resources::default()
            },
        })
    }

    /// Copies output to the log until the container ends, reaches a limit, or is cancelled.
    async fn follow(
        &self,
        container: &Created,
        job: &Job,
        output: &mut (impl futures_util::Stream<Item = Result<LogOutput, Error>> + Unpin),
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Exit, ExecutorError> {
        let options = WaitContainerOptionsBuilder::new()
            .condition("not-running")
            .build();
        // The container has been started, so "not running" can only mean that it has ended.
        let mut waiting = Box::pin(self.docker.wait_container(container.id(), Some(options)));
        let deadline = tokio::time::sleep(job.limits.timeout);
        // An output volume has its own size limit.
        let is_watched = container.output_volume.is_none();
        let too_much = writes::exceed(&job.output, job.limits);
        let too_much_elsewhere = self.exceed_elsewhere(container.id(), job);
        tokio::pin!(deadline, too_much, too_much_elsewhere);
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(Exit::Cancelled),
                () = &mut deadline => return Ok(Exit::TimedOut),
                () = &mut too_much, if is_watched => return Ok(Exit::TooMuchOutput),
                () = &mut too_much_elsewhere => return Ok(Exit::TooMuchOutput),
                chunk = output.next(), if is_open => match chunk {
                    Some(Ok(chunk)) => log.write(chunk.as_ref()),
                    Some(Err(_)) | None => is_open = false,
                },
                ended = waiting.next() => {
                    let code = match ended {
                        Some(Ok(response)) => response.status_code,
                        // Any exit code but 0 arrives as an error.
                        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
                        Some(Err(error)) => return Err(failure("wait for a container", error)),
                        None => return Err(ExecutorError::caused_by("the Docker daemon closed the connection", HungUp)),
                    };
                    return Ok(Exit::Code(i32::try_from(code).unwrap_or(i32::MAX)));
                }
            }
        }
    }

    /// Waits until the job has exceeded its limits in a directory that the daemon cannot limit. Otherwise it waits
    /// forever.
    async fn exceed_elsewhere(&self, container: &str, job: &Job) {
        match job.network {
            Network::Host => self.exceed_image(container, job.limits).await,
            Network::None if self.is_podman => self.exceed_files(container, job.limits).await,
            Network::None => std::future::pending().await,
        }
    }

    /// Waits until a job with network access has added more than its limit to its image, which it may write to.
    async fn exceed_image(&self, container: &str, limits: Limits) {
        let mut interval = SIZE_INTERVAL;
        loop {
            tokio::time::sleep(interval).await;
            let start = Instant::now();
            let options = InspectContainerOptionsBuilder::new().size(true).build();
            let inspected = self
                .docker
                .inspect_container(container, Some(options))
                .await;
            let added = inspected.ok().and_then(|container| container.size_rw);
            if added.is_some_and(|bytes| u64::try_from(bytes).unwrap_or(0) > limits.output_bytes) {
                return;
            }
            // To compute the size, the daemon reads the whole directory.
            interval = SIZE_INTERVAL.max(start.elapsed() * SIZE_SHARE_OF_TIME);
        }
    }

    /// Waits until there are too many files in `/tmp`, whose number Podman cannot limit. Works only if the container
    /// runs on this machine.
    async fn exceed_files(&self, container: &str, limits: Limits) {
        let inspected = self
            .docker
            .inspect_container(container, None::<InspectContainerOptions>)
            .await;
        let process = inspected
            .ok()
            .and_then(|container| container.state?.pid)
            .and_then(|process| u32::try_from(process).ok())
            .filter(|&process| process > 0);
        match process {
            Some(process) => scratch::exceed(process, limits).await,
            None => std::future::pending().await,
        }
    }

    /// Distinguishes a script that failed from one that ran out of memory.
    async fn explain(
        &self,
        container: &Created,
        exit: Exit,
        says_killed: bool,
    ) -> Result<Exit, ExecutorError> {
        let attempts = match exit {
            Exit::Code(0) | Exit::Cancelled | Exit::TimedOut | Exit::TooMuchOutput => {
                return Ok(exit);
            }
            // The daemon may learn of the end before it learns of the reason.
            Exit::Code(KILLED) => REASON_ATTEMPTS,
            _ if says_killed => REASON_ATTEMPTS,
            _ => 1,
        };
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(REASON_INTERVAL).await;
            }
            let inspected = self
                .docker
                .inspect_container(container.id(), None::<InspectContainerOptions>)
                .await
                .map_err(|error| failure("inspect a container", error))?;
            if inspected.state.and_then(|state| state.oom_killed) == Some(true) {
                return Ok(Exit::OutOfMemory);
            }
        }
        Ok(exit)
    }
}

/// Forwards a log, and notes whether it contains "killed".
struct Killed<'a> {
    log: &'a mut dyn LogSink,
    is_said: bool,
}

impl LogSink for Killed<'_> {
    fn write(&mut self, bytes: &[u8]) {
        let is_word = |word: &[u8]| word.eq_ignore_ascii_case(b"killed");
        self.is_said |= bytes.windows(b"killed".len()).any(is_word);
        self.log.write(bytes);
    }

    fn script_succeeded(&mut self) {
        self.log.script_succeeded();
    }
}

pub(super) fn cancelled() -> Completion {
    Completion {
        exit: Exit::Cancelled,
        resources: Resources::default(),
    }
}
