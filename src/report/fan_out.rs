//! Distributes the events of one channel to all reporters.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{ReportError, Reporter};
use crate::event::{Event, EventKind};

/// The interval at which reporters redraw and write.
const TICK: Duration = Duration::from_millis(100);

/// The maximum number of events that are reported together.
const TOGETHER: usize = 2048;

/// How long reporters may go without a tick while there are more events than are reported together.
const MOST_BEHIND: Duration = Duration::from_secs(5);

/// The exit code of a run whose report cannot be written.
const REPORT_FAILED: u8 = 3;

/// Feeds `reporters` from `receiver` on its own thread, until the run has finished or every sender is gone.
///
/// A reporter that fails still receives events: a later write may succeed. `on_error` is called with the first error
/// of each reporter as soon as it happens, so that the run can be stopped; the thread returns the first error of all.
pub fn spawn(
    mut reporters: Vec<Box<dyn Reporter>>,
    receiver: Receiver<Event>,
    mut on_error: impl FnMut(&ReportError) + Send + 'static,
) -> JoinHandle<Result<(), ReportError>> {
    thread::spawn(move || {
        let mut errors = Errors {
            has_failed: vec![false; reporters.len()],
            first: None,
            on_error: &mut on_error,
        };
        let mut next_tick = Instant::now() + TICK;
        let mut events = Vec::new();
        // An event that was received but has to be reported alone.
        let mut next = None;
        loop {
            let now = Instant::now();
            // Waiting events come before a tick, but only for a limited time.
            let is_behind = events.len() >= TOGETHER && now < next_tick + MOST_BEHIND;
            if now >= next_tick && !is_behind {
                for (index, reporter) in reporters.iter_mut().enumerate() {
                    errors.note(index, reporter.tick(now));
                }
                next_tick = Instant::now() + TICK;
            }
            let received = match next.take() {
                Some(event) => Ok(event),
                None => receiver.recv_timeout(next_tick.saturating_duration_since(now)),
            };
            events.clear();
            match received {
                Ok(event) => {
                    let is_last = matches!(event.kind, EventKind::RunFinished { .. });
                    events.push(event);
                    if !is_alone(&events[0]) {
                        next = take_more(&receiver, &mut events);
                    }
                    for (index, reporter) in reporters.iter_mut().enumerate() {
                        if let EventKind::RunFinished { exit_code, .. } = &mut events[0].kind
                            && errors.first.is_some()
                        {
                            // The remaining reporters must not report a success.
                            *exit_code = REPORT_FAILED;
                        }
                        errors.note(index, reporter.report_all(&events));
                    }
                    // Does not wait until all senders are gone: an abandoned task may hold one for a while.
                    if is_last {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for (index, reporter) in reporters.iter_mut().enumerate() {
            errors.note(index, reporter.finish());
        }
        errors.first.map_or(Ok(()), Err)
    })
}

/// Returns true if an event is reported alone: the first and the last of a run.
fn is_alone(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::RunStarted(_) | EventKind::RunFinished { .. }
    )
}

/// Adds events that are already waiting; returns the first one that has to be reported alone.
fn take_more(receiver: &Receiver<Event>, events: &mut Vec<Event>) -> Option<Event> {
    while events.len() < TOGETHER {
        let event = receiver.try_recv().ok()?;
        if is_alone(&event) {
            return Some(event);
        }
        events.push(event);
    }
    None
}

struct Errors<'a> {
    has_failed: Vec<bool>,
    first: Option<ReportError>,
    on_error: &'a mut (dyn FnMut(&ReportError) + Send),
}

impl Errors<'_> {
    fn note(&mut self, index: usize, result: Result<(), ReportError>) {
        let Err(error) = result else { return };
        if !std::mem::replace(&mut self.has_failed[index], true) {
            (self.on_error)(&error);
        }
        self.first.get_or_insert(error);
    }
}
