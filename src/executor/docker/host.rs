//! One Docker daemon of a pool: whether it is there, and whether a job was lost with it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{Completion, Executor as _, ExecutorError, Exit, Job, LogSink};
use super::connection::is_lost;
use super::{DockerAddress, DockerExecutor};

/// How long a daemon may take to say that it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a daemon with jobs is asked whether it is there; twice without an answer, and it is not.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a daemon is watched after something went wrong that may be the begin of its end: one that shuts down
/// still answers while it ends its containers.
const WATCH: Duration = Duration::from_secs(5);

/// How often it is asked meanwhile.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Exit codes of scripts whose container was ended from outside, which a daemon that is stopped does.
const ENDED_FROM_OUTSIDE: [i32; 2] = [137, 143];

/// One of the daemons.
pub(super) struct Host {
    pub(super) address: DockerAddress,
    pub(super) executor: DockerExecutor,
    pub(super) version: String,
    pub(super) slots: usize,
    pub(super) silence: Silence,
    pub(super) state: Mutex<State>,
}

/// How long a daemon may be silent.
#[derive(Clone, Copy)]
pub(super) struct Silence {
    pub(super) heartbeat: Duration,
    pub(super) answer: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) running: usize,
    /// Since when it has not answered.
    pub(super) gone: Option<Instant>,
    /// How many jobs began anew elsewhere.
    pub(super) moved: usize,
}

/// The daemon went away while it had a job, which it may have said in its way.
pub(super) struct Lost(pub(super) Option<ExecutorError>);

/// A slot of a host that is taken until this is dropped.
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

    /// Ends when the daemon has not answered twice in a row.
    async fn is_gone(&self) {
        let mut missed = 0;
        while missed < 2 {
            sleep(self.silence.heartbeat).await;
            missed = if self.answers().await { 0 } else { missed + 1 };
        }
    }

    /// Whether the daemon answers for a while, also when it seems to be there.
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

    /// Takes it in again if it is back, without what it had of jobs that are lost.
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

    /// Runs a job; `Err` with what is known of the reason when the daemon went away over it.
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
            // It may be back already, without the container.
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

/// Connects to a daemon; also gives what tells it from others.
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
    // The id alone does not tell daemons apart that share a key: several of one machine, or copies of machines.
    let facts = [info.id, info.name, info.docker_root_dir].map(Option::unwrap_or_default);
    Ok((host, facts.join(" ")))
}
