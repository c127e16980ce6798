//! Sends events with timestamps from the run's clock.

use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::event::{Event, EventKind};
use crate::failure::Phase;
use crate::plan::Build;

/// The sender of a run's events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Event>,
    start: Instant,
}

impl Events {
    /// Returns a sender and starts the run's clock.
    pub fn new(sender: Sender<Event>) -> Self {
        Self {
            sender,
            start: Instant::now(),
        }
    }

    /// Sends an event. Events are dropped once the receiver is gone.
    pub fn send(&self, kind: EventKind) {
        drop(self.sender.send(Event {
            at: jiff::Timestamp::now(),
            elapsed: self.start.elapsed(),
            kind,
        }));
    }

    /// Returns the elapsed time of the run.
    pub fn elapsed(&self) -> std::time::Duration {
        self.start.elapsed()
    }

    pub(crate) fn phase(&self, build: &Build, phase: Phase) {
        self.send(EventKind::PhaseStarted {
            build: build.id(),
            phase,
            live_log: None,
        });
    }
}
