//! The slots of concurrent jobs, and the coordination of machines that share a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::digest::KeyBuilder;
use crate::engine::events::Events;
use crate::engine::halt::{Halt, Mode};
use crate::engine::step::StepRunner;
use crate::engine::stop::Stop;
use crate::event::EventKind;
use crate::failure::Phase;
use crate::store::{Claim, Shared};

/// The slots of concurrent jobs.
pub(crate) struct Slots {
    free: Semaphore,
    /// The number of builds that wait for another machine.
    waiting: AtomicUsize,
    began_to_wait: Notify,
    /// Whether the user was notified that builds may wait.
    is_told: AtomicBool,
}

/// A job that only one machine should run.
pub(crate) struct Once<'a> {
    /// The inputs of the key of the job's step.
    pub(crate) inputs: &'a KeyBuilder,
    /// The store that the machines share.
    pub(crate) shared: &'a Arc<dyn Shared>,
    /// The name of the job, for messages.
    pub(crate) job: &'a str,
    pub(crate) events: &'a Events,
}

impl Slots {
    /// Returns slots for this many jobs.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Semaphore::new(count.max(1)),
            waiting: AtomicUsize::new(0),
            began_to_wait: Notify::new(),
            is_told: AtomicBool::new(false),
        }
    }

    /// Adds this many slots.
    pub(crate) fn add(&self, more: usize) {
        self.free.add_permits(more);
    }

    /// Returns the number of builds that wait for another machine and use no slot here.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns when another build starts to wait.
    pub(crate) async fn one_more_waits(&self) {
        self.began_to_wait.notified().await;
    }

    /// Returns a slot for a job. A job that only one machine should run gets no slot while another machine runs it, and
    /// [`Halt::Elsewhere`] once that has an outcome. The claim is a single request, sent when the job could start, so
    /// that no machine claims a job that it cannot start.
    pub(crate) async fn get(
        &self,
        steps: &StepRunner,
        stop: &Stop,
        phase: Phase,
        once: Option<Once<'_>>,
    ) -> Result<SemaphorePermit<'_>, Halt> {
        loop {
            if self.free.available_permits() == 0 {
                tracing::trace!(%phase, "waiting for a slot");
            }
            let slot = self.free.acquire().await.map_err(|_| Halt::NotRun)?;
            steps.may_begin(Mode::Run)?;
            let Some(Once {
                inputs,
                shared,
                job,
                events,
            }) = &once
            else {
                return Ok(slot);
            };
            let key = inputs.key();
            if shared.claim(key).await == Claim::Granted {
                return Ok(slot);
            }
            drop(slot);
            if !self.is_told.swap(true, Ordering::Relaxed) {
                let message = format!(
                    "{job}: another machine runs this job; waiting for its outcome while other builds continue, also for \
                     later jobs of other machines (--store-lease 0: run them here too)"
                );
                events.send(EventKind::Note { message });
            }
            let _waits = Waits::begin(self);
            tokio::select! {
                () = shared.wait_for(key) => {}
                () = stop.no_new().cancelled() => return Err(Halt::NotRun),
            }
            if steps.find(inputs, phase)?.is_some() {
                return Err(Halt::Elsewhere);
            }
        }
    }
}

/// A guard that counts a build as waiting until it is dropped.
struct Waits<'a>(&'a Slots);

impl<'a> Waits<'a> {
    fn begin(slots: &'a Slots) -> Self {
        slots.waiting.fetch_add(1, Ordering::Relaxed);
        slots.began_to_wait.notify_one();
        Self(slots)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
