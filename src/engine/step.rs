//! One cached step: looks up the cache, does the work if necessary, and caches the outcome.
//!
//! This is the only code that decides between using a cached outcome and doing the work; every step of a build goes
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
use crate::fs::{FileError, Lock, blocking};

use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::Memo;
use crate::engine::stop::{Stop, StopReason};
use crate::engine::work::{Done, Work};

/// The maximum number of outcomes held in memory because several consecutive builds request them.
const SHARED_OUTCOMES: usize = 256;

/// The cached outcomes that are retried: `--retry`, `rebuild`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryClasses {
    classes: BTreeSet<FailureClass>,
    /// Whether cached artifacts are compiled again.
    compiles_again: bool,
    /// Whether a cached outcome stays in the cache, regardless of the new result.
    keeps_known: bool,
}

impl RetryClasses {
    /// Retries failures of these classes.
    pub fn new(classes: impl IntoIterator<Item = FailureClass>) -> Self {
        Self {
            classes: classes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Retries every cached failure and rebuilds every artifact. The new result is cached only if `replaces_known` is
    /// set.
    pub fn rebuild(replaces_known: bool) -> Self {
        let classes = FailureClass::ALL.into_iter();
        Self {
            compiles_again: true,
            keeps_known: !replaces_known,
            ..Self::new(classes.filter(|class| class.is_deterministic()))
        }
    }

    /// Whether cached outcomes of a build are ignored, so that no look-up is needed.
    pub(crate) fn compiles_again(&self) -> bool {
        self.compiles_again
    }

    /// Whether failures of this class are retried.
    pub(crate) fn has(&self, class: FailureClass) -> bool {
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

/// Runs steps, each key at most once at a time in this process and among the processes that share the store.
pub(crate) struct StepRunner {
    outcomes: Outcomes,
    /// The run that is recorded in new outcomes.
    run_id: Arc<str>,
    flights: SingleFlight<Sha256, Done, Halt>,
    /// Set after the cache look-up, which finds cached failures of any class.
    retry: OnceLock<RetryClasses>,
    /// The steps that this run has done; their failures are not retried within the run.
    made: Mutex<HashSet<Sha256>>,
    stop: Arc<Stop>,
    trace: Option<Mutex<Vec<Asked>>>,
    shared: Memo<Sha256, Arc<Outcome>>,
}

/// A step whose outcome was requested, for `explain`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Asked {
    /// The inputs of the key.
    pub inputs: KeyBuilder,
    /// The key of the step.
    pub key: Sha256,
    /// The result, if it is known.
    pub result: Option<StepResult>,
}

impl StepRunner {
    /// Returns a runner for steps of the run `run_id`, with their outcomes in `outcomes`.
    pub(crate) fn new(outcomes: Outcomes, run_id: &str, stop: Arc<Stop>) -> Self {
        Self {
            outcomes,
            run_id: run_id.into(),
            flights: SingleFlight::default(),
            retry: OnceLock::new(),
            made: Mutex::default(),
            stop,
            trace: None,
            shared: Memo::default(),
        }
    }

    /// Returns an error if nothing new may start.
    pub(crate) fn may_begin(&self, mode: Mode) -> Result<(), Halt> {
        match mode {
            Mode::Lookup => Err(Halt::Missing),
            Mode::Run if self.stop.no_new().is_cancelled() => Err(Halt::NotRun),
            Mode::Run => Ok(()),
        }
    }

    /// Retries cached failures of these classes from now on.
    pub(crate) fn retry(&self, classes: RetryClasses) {
        // Only the first call has an effect.
        drop(self.retry.set(classes));
    }

    /// Enables the trace, which records every requested step.
    pub(crate) fn with_trace(mut self) -> Self {
        self.trace = Some(Mutex::default());
        self
    }

    /// Returns the requested steps in order.
    pub(crate) fn trace(&self) -> Vec<Asked> {
        let lock = |trace: &Mutex<Vec<Asked>>| {
            trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.trace.as_ref().map(lock).unwrap_or_default()
    }

    /// Returns the cached outcomes.
    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Whether an outcome exists under a key, even if it is to be retried.
    pub(crate) fn has(&self, key: Sha256, phase: Phase) -> Result<bool, Halt> {
        Ok(self.read(key, phase)?.is_some())
    }

    /// Removes the cached outcome of a key.
    pub(crate) async fn forget(&self, key: Sha256, mode: Mode, phase: Phase) -> Result<(), Halt> {
        let outcomes = self.outcomes.clone();
        let removed = mode.blocking(move || outcomes.remove(key)).await;
        removed.map_err(self.stored(phase))
    }

    /// Returns the outcome under the key of `inputs`, from the cache or from `work`. Failures of the cache itself are
    /// reported under `phase`. An `Err` from `work` is never cached: it means that the step's inputs could not be
    /// prepared. Failures of the step itself are outcomes ([`crate::engine::trees::Trees::settle`]).
    pub(crate) async fn step(
        &self,
        mode: Mode,
        phase: Phase,
        inputs: KeyBuilder,
        work: impl Future<Output = Result<Work, Halt>> + Send,
    ) -> Result<Done, Halt> {
        let key = inputs.key();
        if let Some(done) = self.find_under(key, &inputs, phase)? {
            return Ok(done);
        }
        if mode == Mode::Lookup {
            return Err(Halt::Missing);
        }
        let is_own = AtomicBool::new(false);
        let flight = async || {
            is_own.store(true, Ordering::Relaxed);
            let _lock = self.lock(&inputs, phase).await?;
            tracing::debug!(step = inputs.step(), key = %inputs.key(), "starting");
            // Another build or process may have run the step in the meantime.
            if let Some(done) = self.find(&inputs, phase)? {
                return Ok(done);
            }
            let key = inputs.key();
            let done = match work.await {
                Ok(work) => self.keep(inputs, work, phase).await,
                Err(Halt::Elsewhere) => self.find(&inputs, phase)?.ok_or(Halt::NotRun),
                Err(halt) => Err(halt),
            };
            self.outcomes.release(key);
            done
        };
        // On the heap, because steps depend on steps recursively.
        let mut done = Box::pin(self.flights.run(key, flight)).await?;
        done.is_own &= is_own.load(Ordering::Relaxed);
        Ok(done)
    }

    /// Waits until no other process works on the step with these inputs, or the run stops. The holder of a step's lock
    /// may take the locks of steps that it depends on, which are of other kinds.
    pub(crate) async fn lock(&self, inputs: &KeyBuilder, phase: Phase) -> Result<Lock, Halt> {
        let (outcomes, inputs) = (self.outcomes.clone(), inputs.clone());
        let locked = blocking(move || outcomes.lock(&inputs));
        tokio::select! {
            locked = locked => locked.map_err(self.stored(phase)),
            () = self.stop.no_new().cancelled() => Err(Halt::NotRun),
        }
    }

    /// Caches the result of a step, unless it is a transient failure.
    pub(crate) async fn keep(
        &self,
        inputs: KeyBuilder,
        work: Work,
        phase: Phase,
    ) -> Result<Done, Halt> {
        let key = inputs.key();
        let outcome = Arc::new(Outcome {
            inputs,
            result: work.result,
            log: work.log,
            wall: work.used.wall,
            cpu: work.used.cpu,
            peak_memory_bytes: work.used.peak_memory_bytes,
            failure_rules: FAILURE_RULES,
            run_id: Some(Arc::clone(&self.run_id)),
            done_at: Some(jiff::Timestamp::now()),
        });
        let is_kept = match &outcome.result {
            StepResult::Failure(failure) => failure.class.is_deterministic(),
            _ => true,
        };
        tracing::debug!(step = outcome.inputs.step(), %key, outcome = %outcome.result, is_kept, "ended");
        if is_kept {
            let is_known = self.retry.get().is_some_and(|retry| retry.keeps_known)
                && self.read(key, phase)?.is_some();
            if !is_known {
                let (outcomes, outcome) = (self.outcomes.clone(), outcome.clone());
                let kept = blocking(move || outcomes.put(&outcome)).await;
                kept.map_err(self.stored(phase))?;
                self.made().insert(key);
            }
        }
        Ok(Done {
            outcome,
            key,
            is_cached: false,
            is_own: true,
        })
    }

    pub(crate) fn find(&self, inputs: &KeyBuilder, phase: Phase) -> Result<Option<Done>, Halt> {
        self.find_under(inputs.key(), inputs, phase)
    }

    /// Like [`Self::find`], with the key of the inputs.
    fn find_under(
        &self,
        key: Sha256,
        inputs: &KeyBuilder,
        phase: Phase,
    ) -> Result<Option<Done>, Halt> {
        let found = self.read_with(key, inputs, phase)?;
        Ok(self.usable(inputs, key, found))
    }

    /// Like [`Self::find`], during the cache look-up, for an outcome that several consecutive builds request: it is
    /// read only once.
    pub(crate) fn find_shared(
        &self,
        inputs: &KeyBuilder,
        phase: Phase,
    ) -> Result<Option<Done>, Halt> {
        let key = inputs.key();
        let mut found = self.shared.get(&key);
        if found.is_none() {
            found = self.read_with(key, inputs, phase)?;
            if self.shared.len() >= SHARED_OUTCOMES {
                self.forget_shared();
            }
            if let Some(outcome) = &found {
                self.shared.put(key, outcome.clone());
            }
        }
        Ok(self.usable(inputs, key, found))
    }

    /// Ends the look-up, the phase in which [`Self::find_shared`] may be called; drops the outcomes that it holds.
    pub(crate) fn end_look_up(&self) {
        self.outcomes.end_look_up();
        self.forget_shared();
    }

    fn forget_shared(&self) {
        self.shared.clear();
    }

    /// Whether a temporary negative outcome is requested again: retries are enabled, and this run has not produced the
    /// outcome.
    pub(crate) fn is_in_doubt(&self, key: Sha256) -> bool {
        let retry = self.retry.get();
        retry.is_some_and(|retry| !retry.classes.is_empty()) && !self.made().contains(&key)
    }

    fn read(&self, key: Sha256, phase: Phase) -> Result<Option<Arc<Outcome>>, Halt> {
        self.current(self.outcomes.find(key), phase)
    }

    fn read_with(
        &self,
        key: Sha256,
        inputs: &KeyBuilder,
        phase: Phase,
    ) -> Result<Option<Arc<Outcome>>, Halt> {
        self.current(self.outcomes.find_with(key, inputs), phase)
    }

    /// Returns the outcome that was found, unless it is outdated.
    fn current(
        &self,
        found: Result<Option<Outcome>, FileError>,
        phase: Phase,
    ) -> Result<Option<Arc<Outcome>>, Halt> {
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
        let usable = found.filter(|outcome| {
            let is_retried = is_retried(outcome);
            tracing::trace!(step = inputs.step(), %key, outcome = %outcome.result, is_retried, "found");
            !is_retried
        });
        if usable.is_none() {
            tracing::trace!(step = inputs.step(), %key, "no usable outcome");
        }
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

    /// Returns [`Self::storage_failure`] for one phase, for use with `map_err`.
    pub(crate) fn stored(&self, phase: Phase) -> impl Fn(FileError) -> Halt + Copy {
        move |error| self.storage_failure(&error, phase)
    }

    /// Returns the failure of a build whose files could not be read or written; a full disk stops the run.
    pub(crate) fn storage_failure(&self, error: &FileError, phase: Phase) -> Halt {
        if error.is_disk_full() {
            self.stop.request(StopReason::Infrastructure);
        }
        Failure::new(FailureClass::Infrastructure, phase, error.to_string()).into()
    }
}

/// Returns the delays between attempts after transient failures: half a second, doubling, with jitter, at most 30
/// seconds.
pub(crate) fn backoff(retries: u32) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .with_max_times(retries as usize)
        .build()
}

#[cfg(test)]
mod tests;
