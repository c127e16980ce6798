//! Several Docker daemons as one executor.
//!
//! A job goes to the daemon with the most free slots; a daemon has one slot for each of its processors. A daemon that
//! no longer answers gets no jobs and is queried again after a while. Its jobs are restarted on another daemon, so
//! that losing a daemon costs time but no build. If no daemon is left, jobs wait for one to come back, as long as
//! downloads wait for a server. So a daemon that restarts only costs time as well.
//!
//! Attempts never share an output directory: each gets a new one. The container of a lost attempt is removed before
//! its daemon gets another job.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::{Completion, Executor, ExecutorError, Job, Kvm, LogSink};
use super::host::{FreesSlot, Host, Lost, Silence, Slot, State, connect};
use super::{DockerAddress, DockerExecutor};
use crate::digest::Sha256;
use crate::error::chain;
use crate::fs::blocking;

/// How long to wait before a lost daemon is queried again.
const ABSENCE: Duration = Duration::from_secs(30);

/// How long all daemons may be unavailable before jobs fail. Afterwards jobs fail without waiting.
const PATIENCE: Duration = Duration::from_mins(5);

/// The interval at which daemons are queried while none is available.
const RETURN_INTERVAL: Duration = Duration::from_secs(1);

/// The most attempts at a job: if daemons are lost again and again, the cause is something else.
const ATTEMPTS: usize = 6;

/// The error if none of the daemons can be used; a single error is returned unchanged.
fn none_usable(mut errors: Vec<ExecutorError>) -> ExecutorError {
    match errors.pop() {
        Some(error) if errors.is_empty() => error,
        last => {
            let texts: Vec<String> = errors
                .iter()
                .chain(&last)
                .map(|error| chain(error))
                .collect();
            ExecutorError::infrastructure(format!(
                "none of the Docker daemons can be used: {}",
                texts.join("; ")
            ))
        }
    }
}

/// Several Docker daemons.
pub struct DockerPool {
    hosts: Vec<Host>,
    patience: Duration,
    /// Since when no daemon has been available.
    all_gone: Mutex<Option<Instant>>,
    /// Whether this is the default daemon of this machine rather than daemons that the user named.
    is_usual: bool,
}

impl DockerPool {
    /// Connects to the daemons. Also returns a note for each one that cannot be used; fails if that is all of them.
    pub async fn connect(
        addresses: &[DockerAddress],
    ) -> Result<(Self, Vec<String>), ExecutorError> {
        let connected = join_all(addresses.iter().map(connect)).await;
        let mut hosts = Vec::new();
        let mut notes = Vec::new();
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for (address, connected) in addresses.iter().zip(connected) {
            match connected {
                Ok((host, id)) => {
                    if seen.insert(id) {
                        hosts.push(host);
                    } else {
                        notes.push(format!(
                            "{address} is another address of a Docker daemon that is already in use: it counts once"
                        ));
                    }
                }
                Err(error) => {
                    notes.push(format!("not used: {}", chain(&error)));
                    errors.push(error);
                }
            }
        }
        if hosts.is_empty() {
            return Err(none_usable(errors));
        }
        Ok((Self::of(hosts), notes))
    }

    /// Connects to the daemon of `DOCKER_HOST`, or to the one at the default socket.
    pub async fn connect_usual() -> Result<Self, ExecutorError> {
        let (host, _) = connect(&DockerExecutor::usual_address()?).await?;
        Ok(Self {
            is_usual: true,
            ..Self::of(vec![host])
        })
    }

    fn of(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            patience: PATIENCE,
            all_gone: Mutex::default(),
            is_usual: false,
        }
    }

    /// Sets how long to wait for a daemon to come back if none is left.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the credentials for pulling images from the registry `host`.
    #[must_use]
    pub fn with_login(mut self, host: &str, user: &str, password: &str) -> Self {
        let with_login = |mut one: Host| {
            one.executor = one.executor.with_login(host, user, password);
            one
        };
        self.hosts = self.hosts.into_iter().map(with_login).collect();
        self
    }

    /// Sets the interval of pings to daemons with jobs, and how long to wait for an answer.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration, answer: Duration) -> Self {
        for host in &mut self.hosts {
            host.silence = Silence { heartbeat, answer };
        }
        self
    }

    /// Occupies a slot of the available daemon with the most free slots; the first one on a tie.
    async fn slot(&self) -> Option<Slot<'_>> {
        self.welcome_back().await;
        let free = |host: &Host, state: &State| {
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            number(host.slots) - number(state.running)
        };
        let mut best: Option<(&Host, i64)> = None;
        for host in &self.hosts {
            let state = host.state();
            let free = free(host, &state);
            if state.gone.is_none() && best.is_none_or(|(_, most)| free > most) {
                best = Some((host, free));
            }
        }
        let (host, _) = best?;
        host.state().running += 1;
        Some(Slot(host))
    }

    /// Queries lost daemons again if they are due or if no other daemon is left.
    async fn welcome_back(&self) {
        let is_gone = |host: &&Host| host.state().gone.is_some();
        let is_none_left = self.hosts.iter().all(|host| is_gone(&host));
        for host in self.hosts.iter().filter(is_gone) {
            let is_due = {
                let mut state = host.state();
                let is_due = state.gone.is_some_and(|since| since.elapsed() > ABSENCE);
                if is_due {
                    // So that other jobs do not query the daemon at the same time.
                    state.gone = Some(Instant::now());
                }
                is_due
            };
            if is_due || is_none_left {
                host.welcome_back().await;
            }
        }
    }

    /// Occupies a slot as soon as a daemon is available. Fails if none has come back for too long.
    async fn patient_slot(&self, log: &mut dyn LogSink) -> Result<Slot<'_>, ExecutorError> {
        let mut is_told = false;
        loop {
            let slot = self.slot().await;
            let since = {
                let mut all_gone = self.all_gone.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = slot {
                    *all_gone = None;
                    return Ok(slot);
                }
                *all_gone.get_or_insert_with(Instant::now)
            };
            let addresses: Vec<&str> = self
                .hosts
                .iter()
                .map(|host| host.address.as_str())
                .collect();
            let (addresses, patience) = (addresses.join(", "), self.patience.as_secs());
            if since.elapsed() >= self.patience {
                return Err(ExecutorError::infrastructure(format!(
                    "no Docker daemon has answered for {patience} s: {addresses}; start it and run again"
                )));
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(
                    "no Docker daemon answers ({addresses}); waiting up to {patience} s"
                );
                let line = format!(
                    "\n[driverkit-matrix: no Docker daemon answers ({addresses}); waiting up to {patience} s]\n"
                );
                log.write(line.as_bytes());
            }
            sleep(RETURN_INTERVAL.min(self.patience)).await;
        }
    }

    async fn run_somewhere(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        let mut attempt = 1;
        loop {
            let slot = cancel.run_until_cancelled(self.patient_slot(log)).await;
            let Some(slot) = slot.transpose()? else {
                return Ok(super::container::cancelled());
            };
            let host = slot.0;
            let mut log_with_slot = FreesSlot {
                log,
                slot: Some(slot),
            };
            let lost = match host.run(job, &mut log_with_slot, cancel).await {
                Ok(ended) => return ended,
                Err(lost) => lost,
            };
            drop(log_with_slot);
            {
                let mut state = host.state();
                state.gone.get_or_insert_with(Instant::now);
                state.moved += 1;
            }
            log.write(
                format!(
                    "\n[driverkit-matrix: lost the Docker daemon at {}; restarting this job]\n",
                    host.address
                )
                .as_bytes(),
            );
            attempt += 1;
            if let (true, Lost(Some(error))) = (attempt > ATTEMPTS, lost) {
                return Err(error);
            }
            let output = job.output.clone();
            blocking(move || replace(&output)).await?;
        }
    }
}

/// Replaces the output directory of a lost attempt with an empty one. The old directory is moved and then deleted, so
/// that the container of the lost attempt, which may still run, cannot write to the new one.
fn replace(folder: &std::path::Path) -> Result<(), ExecutorError> {
    let parent = folder.parent().unwrap_or(folder);
    let aside = tempfile::Builder::new()
        .prefix("lost-")
        .tempdir_in(parent)
        .map_err(crate::fs::FileError::of("create a directory in", parent))?;
    crate::fs::rename(folder, &aside.path().join("out"))?;
    crate::fs::create_folder(folder)?;
    Ok(())
}

#[async_trait]
impl Executor for DockerPool {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        if self.is_usual {
            let version: String = self
                .hosts
                .iter()
                .map(|host| host.version.as_str())
                .collect();
            return Ok(version);
        }
        let versions: Vec<String> = self
            .hosts
            .iter()
            .map(|host| format!("{} at {}", host.version, host.address))
            .collect();
        Ok(versions.join(", "))
    }

    fn slots(&self) -> Option<usize> {
        (!self.is_usual).then(|| self.hosts.iter().map(|host| host.slots).sum())
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.run_somewhere(job, log, cancel).await
    }

    /// Pulls the image on all available daemons, since a job may go to any. Fails if they get different images.
    async fn pull(&self, image: &str, anew: bool) -> Result<Sha256, ExecutorError> {
        // Waits for a daemon as long as a job does; the slot itself is not needed.
        drop(self.patient_slot(&mut Vec::new()).await?);
        let is_there = |host: &&Host| host.state().gone.is_none();
        let hosts = self.hosts.iter().filter(is_there);
        let pulled = join_all(hosts.map(|host| host.executor.pull(image, anew))).await;
        let mut found: BTreeSet<Sha256> =
            pulled.into_iter().collect::<Result<_, ExecutorError>>()?;
        match (found.pop_first(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => Err(ExecutorError::Image {
                image: image.to_owned(),
                message:
                    "the Docker daemons have different images under this name; pull it again with \
                          `driverkit-matrix images update`"
                        .to_owned(),
            }),
            (None, _) => Err(ExecutorError::infrastructure(
                "none of the Docker daemons answers any more",
            )),
        }
    }

    /// Allows KVM on the daemons of this machine. Fails only if no daemon accepts it.
    fn allow_kvm(&self, kvm: Kvm) -> Result<(), String> {
        let allowed = self
            .hosts
            .iter()
            .map(|host| host.executor.allow_kvm(kvm.clone()));
        let refused: Vec<String> = allowed.filter_map(Result::err).collect();
        if refused.len() < self.hosts.len() {
            return Ok(());
        }
        Err(refused.join("; "))
    }

    async fn sweep(&self) -> Result<usize, ExecutorError> {
        let swept = join_all(self.hosts.iter().map(|host| host.executor.sweep())).await;
        swept.into_iter().sum()
    }

    async fn finish(&self) -> Result<(), ExecutorError> {
        self.welcome_back().await;
        let is_there = |host: &&Host| host.state().gone.is_none();
        for host in self.hosts.iter().filter(is_there) {
            host.executor.finish().await?;
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let note = |host: &Host| {
            let moved = host.state().moved;
            (moved > 0).then(|| {
                format!(
                    "lost the Docker daemon at {}; jobs restarted: {moved}",
                    host.address
                )
            })
        };
        self.hosts.iter().filter_map(note).collect()
    }
}
