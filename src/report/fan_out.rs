//! Distributes the events of one channel to all reporters.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{ReportError, Reporter};
use crate::event::{Event, EventKind};

/// The interval at which reporters redraw and write.
const TICK: Duration = Duration::from_millis(100);

/// The maximum number of events that are reported together.
const TOGETHER: usize = 2048;

/// How long reporters may go without a tick while events wait.
const MOST_BEHIND: Duration = Duration::from_secs(5);

/// The exit code of a run whose report cannot be written.
const REPORT_FAILED: u8 = 3;

/// Is called with the first error of each reporter.
type OnError = Arc<Mutex<dyn FnMut(&ReportError) + Send>>;

/// Feeds `reporters` from `receiver` on its own thread, until the run has finished or every sender is gone. Reporters
/// that wait for the disk get threads of their own, so that a busy disk delays neither the display nor the answer to
/// Ctrl-C. The others hear of the end of the run after these have finished.
///
/// A reporter that fails still receives events: a later write may succeed. `on_error` is called with the first error
/// of each reporter as soon as it happens, so that the run can be stopped; the thread returns the first error of all.
pub fn spawn(
    reporters: Vec<Box<dyn Reporter>>,
    receiver: Receiver<Event>,
    on_error: impl FnMut(&ReportError) + Send + 'static,
) -> JoinHandle<Result<(), ReportError>> {
    let on_error: OnError = Arc::new(Mutex::new(on_error));
    let (slow, fast): (Vec<_>, Vec<_>) = reporters
        .into_iter()
        .partition(|reporter| reporter.waits_for_disk());
    let apart = slow.into_iter().map(|reporter| {
        let (sender, receiver) = mpsc::channel();
        let thread = feed(vec![reporter], Vec::new(), receiver, Arc::clone(&on_error));
        Apart { sender, thread }
    });
    feed(fast, apart.collect(), receiver, on_error)
}

/// A reporter with a thread of its own.
struct Apart {
    sender: Sender<Event>,
    thread: JoinHandle<Result<(), ReportError>>,
}

impl Apart {
    /// Waits until it has reported everything.
    fn join(self) -> Result<(), ReportError> {
        drop(self.sender);
        let ended = self.thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn feed(
    mut reporters: Vec<Box<dyn Reporter>>,
    mut apart: Vec<Apart>,
    receiver: Receiver<Event>,
    on_error: OnError,
) -> JoinHandle<Result<(), ReportError>> {
    thread::spawn(move || {
        let mut errors = Errors {
            has_failed: vec![false; reporters.len()],
            first: None,
            on_error,
        };
        let mut next_tick = Instant::now() + TICK;
        let mut events = Vec::new();
        // An event that was received but has to be reported alone.
        let mut next = None;
        loop {
            let now = Instant::now();
            // Waiting events come before a tick, but only for a limited time. In a tick before the end of the run, the
            // manifest might be written twice.
            let has_more = events.len() >= TOGETHER || next.is_some();
            let is_behind = has_more && now < next_tick + MOST_BEHIND;
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
                    for event in &events {
                        for one in &apart {
                            // Its thread ends only after the last event.
                            drop(one.sender.send(event.clone()));
                        }
                    }
                    if is_last {
                        errors.join(apart.drain(..));
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
        errors.join(apart.into_iter());
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

struct Errors {
    has_failed: Vec<bool>,
    first: Option<ReportError>,
    on_error: OnError,
}

impl Errors {
    fn note(&mut self, index: usize, result: Result<(), ReportError>) {
        let Err(error) = result else { return };
        if !std::mem::replace(&mut self.has_failed[index], true) {
            let mut on_error = self.on_error.lock().unwrap_or_else(PoisonError::into_inner);
            on_error(&error);
        }
        self.first.get_or_insert(error);
    }

    /// Waits for reporters with threads of their own, which have called `on_error` themselves.
    fn join(&mut self, apart: impl Iterator<Item = Apart>) {
        for error in apart.filter_map(|one| one.join().err()) {
            self.first.get_or_insert(error);
        }
    }
}
