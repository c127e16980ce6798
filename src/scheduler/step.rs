//! One cached step: asks the cache, does the work if it must, keeps the outcome.
//!
//! This is the one piece of code that decides between "there already" and "do it"; every step of the pipeline goes
//! through [`StepRunner::step`].

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::cache::{FAILURE_RULES, Outcome, Outcomes, StepResult};
use crate::digest::{KeyBuilder, Sha256};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::SingleFlight;
use crate::fs::{FileError, Lock};

use super::memo::Memo;
use super::stop::{Stop, StopReason};
use super::work::{Done, Work};

/// How many outcomes are remembered that several builds in a row ask for.
const SHARED_OUTCOMES: usize = 4096;

/// Why a step gave no outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    /// Only a look into the cache was allowed, and the outcome is not there.
    Missing,
    /// The step failed.
    Failed(Box<Failed>),
    /// The run stops; the step did not begin.
    NotRun,
}

/// A failed step.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// What went wrong.
    pub failure: Failure,
    /// The digest of the compressed log of the job that failed.
    pub log: Option<Sha256>,
    /// Whether it failed in an earlier run.
    pub is_cached: bool,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(Failed {
            failure,
            log: None,
            is_cached: false,
        }))
    }
}

/// Whether steps that are not in the cache are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Run,
    /// The cache is only asked: nothing is fetched, started or kept. Artifacts that the store holds are put to where
    /// they belong.
    Lookup,
}

/// Which kept outcomes are done again: `--retry`, `rebuild`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryClasses {
    classes: BTreeSet<FailureClass>,
    /// Whether artifacts that are in the cache are compiled again.
    compiles_again: bool,
    /// Whether an outcome that is in the cache stays there, whatever comes of doing it again.
    keeps_known: bool,
}

impl RetryClasses {
    /// Failures of these classes.
    pub fn new(classes: impl IntoIterator<Item = FailureClass>) -> Self {
        Self {
            classes: classes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Every kept failure and every artifact. The cache takes what comes of it only if `replaces_known`.
    pub fn rebuild(replaces_known: bool) -> Self {
        let classes = FailureClass::ALL.into_iter();
        Self {
            compiles_again: true,
            keeps_known: !replaces_known,
            ..Self::new(classes.filter(|class| class.is_deterministic()))
        }
    }

    /// Whether nothing of a build counts that is in the cache, so that it need not be looked for.
    pub(super) fn compiles_again(&self) -> bool {
        self.compiles_again
    }

    /// Whether failures of this class are among them.
    pub(super) fn has(&self, class: FailureClass) -> bool {
        self.classes.contains(&class)
    }

    fn wants(&self, outcome: &Outcome) -> bool {
        match &outcome.result {
            StepResult::Failure(failure) => self.has(failure.class),
            StepResult::Artifact(_) => self.compiles_again,
            _ => false,
        }
    }
}

/// Does steps, each key at most once at a time in this process and among the processes that share the store.
pub(super) struct StepRunner {
    outcomes: Outcomes,
    flights: SingleFlight<Sha256, Done, Halt>,
    /// Set once the look into the cache is over, which finds kept failures whatever their class.
    retry: OnceLock<RetryClasses>,
    /// The steps that this run has done: what failed among them is not tried again within the run.
    made: Mutex<HashSet<Sha256>>,
    stop: Arc<Stop>,
    trace: Option<Mutex<Vec<Asked>>>,
    shared: Memo<Sha256, Arc<Outcome>>,
}

/// A step whose outcome was asked for, for `explain`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Asked {
    /// What goes into its key.
    pub inputs: KeyBuilder,
    /// Its key.
    pub key: Sha256,
    /// What came of it, if that is known.
    pub result: Option<StepResult>,
}

impl StepRunner {
    /// Steps with their outcomes in `outcomes`.
    pub(super) fn new(outcomes: Outcomes, stop: Arc<Stop>) -> Self {
        Self {
            outcomes,
            flights: SingleFlight::default(),
            retry: OnceLock::new(),
            made: Mutex::default(),
            stop,
            trace: None,
            shared: Memo::default(),
        }
    }

    /// Does kept failures of these classes again from now on.
    pub(super) fn retry(&self, classes: RetryClasses) {
        // Set once.
        drop(self.retry.set(classes));
    }

    /// Writes down every step that is asked for from now on.
    pub(super) fn start_trace(&mut self) {
        self.trace = Some(Mutex::default());
    }

    /// The steps that were asked for, in order.
    pub(super) fn trace(&self) -> Vec<Asked> {
        let lock = |trace: &Mutex<Vec<Asked>>| {
            trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.trace.as_ref().map(lock).unwrap_or_default()
    }

    /// The outcomes.
    pub(super) fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The outcome under the key of `inputs`, from the cache or from `work`. `phase` is what a failure of the
    /// cache itself is reported under. A deterministic failure of the step's own is an outcome like any other: `work`
    /// returns it as `Ok` with [`StepResult::Failure`] inside, and it is kept. What `work` returns as `Err` never is:
    /// it says that the step's inputs could not be made ready.
    pub(super) async fn step(
        &self,
        mode: Mode,
        phase: Phase,
        inputs: KeyBuilder,
        work: impl Future<Output = Result<Work, Halt>> + Send,
    ) -> Result<Done, Halt> {
        let key = inputs.key();
        if let Some(done) = self.find(&inputs, phase)? {
            return Ok(done);
        }
        if mode == Mode::Lookup {
            return Err(Halt::Missing);
        }
        let is_own = AtomicBool::new(false);
        let flight = async || {
            is_own.store(true, Ordering::Relaxed);
            let _lock = self.lock(key, phase).await?;
            // Another build or process may have done it meanwhile.
            if let Some(done) = self.find(&inputs, phase)? {
                return Ok(done);
            }
            let work = work.await?;
            self.keep(inputs, key, work, phase)
        };
        let mut done = self.flights.run(key, flight).await?;
        done.is_own &= is_own.load(Ordering::Relaxed);
        Ok(done)
    }

    /// Waits until no other process works on the step with this key, or the run stops. Never take two at once.
    pub(super) async fn lock(&self, key: Sha256, phase: Phase) -> Result<Lock, Halt> {
        let outcomes = self.outcomes.clone();
        let locked = tokio::task::spawn_blocking(move || outcomes.lock(key));
        tokio::select! {
            locked = locked => match locked {
                Ok(lock) => lock.map_err(|error| self.storage_failure(&error, phase)),
                Err(_) => Err(Halt::NotRun),
            },
            () = self.stop.no_new().cancelled() => Err(Halt::NotRun),
        }
    }

    pub(super) fn keep(
        &self,
        inputs: KeyBuilder,
        key: Sha256,
        work: Work,
        phase: Phase,
    ) -> Result<Done, Halt> {
        let outcome = Outcome {
            inputs,
            result: work.result,
            log: work.log,
            wall: work.wall,
            cpu: work.cpu,
            peak_memory_bytes: work.peak_memory_bytes,
            failure_rules: FAILURE_RULES,
        };
        let is_kept = match &outcome.result {
            StepResult::Failure(failure) => failure.class.is_deterministic(),
            _ => true,
        };
        if is_kept {
            let is_known = self.retry.get().is_some_and(|retry| retry.keeps_known)
                && self.read(key, phase)?.is_some();
            if !is_known {
                self.outcomes
                    .put(&outcome)
                    .map_err(|error| self.storage_failure(&error, phase))?;
                self.made().insert(key);
            }
        }
        Ok(Done {
            outcome: Arc::new(outcome),
            key,
            is_cached: false,
            is_own: true,
        })
    }

    pub(super) fn find(&self, inputs: &KeyBuilder, phase: Phase) -> Result<Option<Done>, Halt> {
        let key = inputs.key();
        let found = self.read(key, phase)?;
        Ok(self.usable(inputs, key, found))
    }

    /// The same while the cache is only asked, for an outcome that several builds in a row ask for: read once.
    pub(super) fn find_shared(
        &self,
        inputs: &KeyBuilder,
        phase: Phase,
    ) -> Result<Option<Done>, Halt> {
        let key = inputs.key();
        let mut found = self.shared.get(&key);
        if found.is_none() {
            found = self.read(key, phase)?;
            if self.shared.len() >= SHARED_OUTCOMES {
                self.forget_shared();
            }
            if let Some(outcome) = &found {
                self.shared.put(key, outcome.clone());
            }
        }
        Ok(self.usable(inputs, key, found))
    }

    /// Ends the time in which [`Self::find_shared`] may be asked.
    pub(super) fn forget_shared(&self) {
        self.shared.clear();
    }

    fn read(&self, key: Sha256, phase: Phase) -> Result<Option<Arc<Outcome>>, Halt> {
        let found = self.outcomes.find(key);
        let found = found.map_err(|error| self.storage_failure(&error, phase))?;
        Ok(found.filter(|outcome| !outcome.is_outdated()).map(Arc::new))
    }

    fn usable(
        &self,
        inputs: &KeyBuilder,
        key: Sha256,
        found: Option<Arc<Outcome>>,
    ) -> Option<Done> {
        if let Some(trace) = &self.trace {
            trace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Asked {
                    inputs: inputs.clone(),
                    key,
                    result: found.as_ref().map(|outcome| outcome.result.clone()),
                });
        }
        let is_retried = |outcome: &Outcome| {
            let retry = self.retry.get();
            retry.is_some_and(|retry| retry.wants(outcome)) && !self.made().contains(&key)
        };
        let usable = found.filter(|outcome| !is_retried(outcome));
        usable.map(|outcome| Done {
            outcome,
            key,
            is_cached: true,
            is_own: false,
        })
    }

    fn made(&self) -> MutexGuard<'_, HashSet<Sha256>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure of a build whose files could not be read or written; a full disk stops the run.
    pub(super) fn storage_failure(&self, error: &FileError, phase: Phase) -> Halt {
        if error.is_disk_full() {
            self.stop.request(StopReason::Infrastructure);
        }
        Failure::new(FailureClass::Infrastructure, phase, error.to_string()).into()
    }
}

/// The waits between attempts at something that failed for a transient reason: half a second, doubling, with
/// jitter, at most 30 seconds.
pub(super) fn backoff(retries: u32) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .with_max_times(retries as usize)
        .build()
}

#[cfg(test)]
mod tests;
