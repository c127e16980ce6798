//! One Docker daemon of a pool: detects whether it is available and whether a job was lost with it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{Completion, Executor as _, ExecutorError, Exit, Job, LogSink};
use super::connection::is_lost;
use super::{DockerAddress, DockerExecutor};

/// How long a daemon may take to answer a ping.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between pings to a daemon with jobs; after two without an answer the daemon counts as gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a daemon is watched after an error that may come from a shutdown: a daemon that shuts down still answers
/// while it stops its containers.
const WATCH: Duration = Duration::from_secs(5);

/// The interval between pings while a daemon is watched.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Exit codes of scripts whose container was stopped from outside, as a daemon does when it shuts down.
const ENDED_FROM_OUTSIDE: [i32; 2] = [137, 143];

/// A daemon of the pool.
pub(super) struct Host {
    pub(super) address: DockerAddress,
    pub(super) executor: DockerExecutor,
    pub(super) version: String,
    pub(super) slots: usize,
    pub(super) silence: Silence,
    pub(super) state: Mutex<State>,
}

/// How often a daemon is pinged, and how long it may take to answer.
#[derive(Clone, Copy)]
pub(super) struct Silence {
    pub(super) heartbeat: Duration,
    pub(super) answer: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) running: usize,
    /// When the daemon stopped answering; `None` while it is available.
    pub(super) gone: Option<Instant>,
    /// How many of its jobs were restarted because it was lost.
    pub(super) moved: usize,
}

/// The daemon was lost while it ran a job; with the error, if there was one.
pub(super) struct Lost(pub(super) Option<ExecutorError>);

/// A slot of a host, occupied until this is dropped.
pub(super) struct Slot<'a>(pub(super) &'a Host);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

/// Frees a slot as soon as the script has ended.
pub(super) struct FreesSlot<'a> {
    pub(super) log: &'a mut dyn LogSink,
    pub(super) slot: Option<Slot<'a>>,
}

impl LogSink for FreesSlot<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
    }

    fn script_succeeded(&mut self) {
        self.slot = None;
        self.log.script_succeeded();
    }
}

impl Host {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn answers(&self) -> bool {
        matches!(
            timeout(self.silence.answer, self.executor.docker.ping()).await,
            Ok(Ok(_))
        )
    }

    /// Waits until the daemon has failed to answer twice in a row.
    async fn is_gone(&self) {
        let mut missed = 0;
        while missed < 2 {
            sleep(self.silence.heartbeat).await;
            missed = if self.answers().await { 0 } else { missed + 1 };
        }
    }

    /// Whether the daemon keeps answering for the duration of [`WATCH`].
    async fn stays(&self) -> bool {
        let end = Instant::now() + WATCH;
        while self.answers().await {
            if Instant::now() >= end {
                return true;
            }
            sleep(WATCH_INTERVAL).await;
        }
        false
    }

    /// Marks the daemon as available if it answers and the leftovers of lost jobs can be removed from it.
    pub(super) async fn welcome_back(&self) {
        if self.answers().await
            && self
                .executor
                .leftovers
                .remove_all(&self.executor.docker)
                .await
                .is_ok()
        {
            self.state().gone = None;
        }
    }

    /// Runs a job. Returns `Err` with the known reason if the daemon was lost meanwhile.
    pub(super) async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Result<Completion, ExecutorError>, Lost> {
        let ended = tokio::select! {
            ended = self.executor.run(job, log, cancel) => ended,
            () = self.is_gone() => return Err(Lost(None)),
        };
        if cancel.is_cancelled() {
            return Ok(ended);
        }
        match ended {
            // Not checked again: the daemon may be back already, without the container.
            Err(error) if is_lost(&error) => Err(Lost(Some(error))),
            Err(error @ (ExecutorError::Infrastructure { .. } | ExecutorError::Lost { .. })) => {
                if self.stays().await {
                    Ok(Err(error))
                } else {
                    Err(Lost(Some(error)))
                }
            }
            Ok(completion)
                if matches!(completion.exit, Exit::Code(code) if ENDED_FROM_OUTSIDE.contains(&code))
                    && !self.stays().await =>
            {
                Err(Lost(None))
            }
            ended => Ok(ended),
        }
    }
}

/// Connects to a daemon. Also returns a string that identifies the daemon, whatever its address.
pub(super) async fn connect(address: &DockerAddress) -> Result<(Host, String), ExecutorError> {
    let executor = DockerExecutor::connect_to(address).await?;
    let info = executor
        .docker
        .info()
        .await
        .map_err(|error| super::connection::failure("describe itself", error))?;
    let host = Host {
        address: address.clone(),
        version: info.server_version.unwrap_or_default(),
        slots: info
            .ncpu
            .and_then(|count| count.try_into().ok())
            .unwrap_or(1),
        executor,
        silence: Silence {
            heartbeat: HEARTBEAT,
            answer: ANSWER_TIMEOUT,
        },
        state: Mutex::default(),
    };
    // The id alone is not unique: several daemons of one machine, or copied machines, share it.
    let facts = [info.id, info.name, info.docker_root_dir].map(Option::unwrap_or_default);
    Ok((host, facts.join(" ")))
}
