//! The requests that are under way to each server, for progress displays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::Answer;
use crate::text::{count, size};

/// The most requests that one progress line names.
const NAMED: usize = 3;

/// The requests that are under way; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Mutex<Current>>);

#[derive(Default)]
struct Current {
    next: u64,
    asking: BTreeMap<u64, Asking>,
    waits: BTreeMap<u64, Line>,
}

/// Describes a wait.
type Line = Box<dyn Fn() -> String + Send>;

impl fmt::Debug for Current {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.asking.values())
            .finish()
    }
}

/// A request for a file that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The server.
    pub host: String,
    /// The last part of the file's path.
    pub file: String,
    /// The attempt that is under way or comes next, from 1.
    pub attempt: usize,
    /// The maximum number of attempts.
    pub attempts: usize,
    /// During a wait: when the next attempt starts, and the answer to the last attempt.
    pub waiting: Option<(Instant, String)>,
    /// Bytes received in this attempt.
    pub received_bytes: u64,
    /// When the first byte of this attempt arrived.
    pub receiving_since: Option<Instant>,
}

impl Activity {
    /// The requests that are under way, in the order in which they started.
    pub fn current(&self) -> Vec<Asking> {
        self.lock().asking.values().cloned().collect()
    }

    /// Registers a wait that is not a request for a file, until the guard is dropped. `line`
    /// describes it.
    pub fn wait_for(&self, line: impl Fn() -> String + Send + 'static) -> Wait {
        let mut current = self.lock();
        let id = current.next;
        current.next += 1;
        current.waits.insert(id, Box::new(line));
        drop(current);
        Wait {
            activity: self.clone(),
            id,
        }
    }

    /// Describes the requests under way in one line, naming each server once. Without requests,
    /// describes the wait that started last.
    pub fn line(&self) -> Option<String> {
        let all = self.current();
        if all.is_empty() {
            return self.lock().waits.values().next_back().map(|line| line());
        }
        let mut named: Vec<&Asking> = Vec::new();
        for one in &all {
            if named.iter().all(|other| other.host != one.host) {
                named.push(one);
            }
        }
        let mut parts: Vec<String> = named.iter().take(NAMED).map(ToString::to_string).collect();
        let more = all.len().saturating_sub(parts.len());
        if more > 0 {
            parts.push(count(more, "other request"));
        }
        Some(parts.join("; "))
    }

    /// Registers a request for a file, until the guard is dropped.
    pub(super) fn begin(&self, url: &Url, attempts: usize) -> Underway {
        let file = url.path().rsplit('/').find(|part| !part.is_empty());
        let asking = Asking {
            host: url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
            file: file.unwrap_or("/").to_owned(),
            attempt: 1,
            attempts,
            waiting: None,
            received_bytes: 0,
            receiving_since: None,
        };
        let mut current = self.lock();
        let id = current.next;
        current.next += 1;
        current.asking.insert(id, asking);
        drop(current);
        Underway {
            activity: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // The map is consistent after every statement, even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a wait that is not a request for a file.
#[must_use]
pub struct Wait {
    activity: Activity,
    id: u64,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.activity.lock().waits.remove(&self.id);
    }
}

/// A request that is under way.
pub(super) struct Underway {
    activity: Activity,
    id: u64,
}

impl Underway {
    /// Records that an attempt failed, and that the next one starts after `wait`.
    pub(super) fn wait(&self, answer: &Answer, wait: Duration) {
        self.update(|asking| {
            asking.attempt += 1;
            asking.waiting = Some((Instant::now() + wait, answer.to_string()));
            asking.received_bytes = 0;
            asking.receiving_since = None;
        });
    }

    /// Records that an attempt starts.
    pub(super) fn ask(&self) {
        self.update(|asking| asking.waiting = None);
    }

    /// Records that more bytes arrived.
    pub(super) fn receive(&self, bytes: u64) {
        self.update(|asking| {
            asking.received_bytes += bytes;
            asking.receiving_since.get_or_insert_with(Instant::now);
        });
    }

    fn update(&self, change: impl FnOnce(&mut Asking)) {
        if let Some(asking) = self.activity.lock().asking.get_mut(&self.id) {
            change(asking);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.activity.lock().asking.remove(&self.id);
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, file, .. } = self;
        if let Some(since) = self.receiving_since {
            write!(
                formatter,
                "receiving {file} from {host}: {}",
                size(self.received_bytes)
            )?;
            let milliseconds = since.elapsed().as_millis();
            let rate = u128::from(self.received_bytes) * 1_000 / milliseconds.max(1);
            return match u64::try_from(rate) {
                Ok(rate) if milliseconds >= 1_000 => write!(formatter, ", {}/s", size(rate)),
                _ => Ok(()),
            };
        }
        write!(formatter, "asking {host} for {file}")?;
        if self.attempt > 1 {
            write!(formatter, ", attempt {} of {}", self.attempt, self.attempts)?;
        }
        if let Some((until, answer)) = &self.waiting {
            let wait = until.saturating_duration_since(Instant::now());
            write!(
                formatter,
                ", next in {} s (it {answer})",
                wait.as_secs() + 1
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_while_they_are_under_way() {
        let activity = Activity::default();
        let url = Url::parse("http://h.example.org/dists/InRelease").unwrap();
        let underway = activity.begin(&url, 5);
        let shown = || {
            let current = activity.current();
            current.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(), ["asking h.example.org for InRelease"]);
        let refused = Answer::Connection("connection refused".to_owned());
        underway.wait(&refused, Duration::from_millis(7_900));
        assert_eq!(
            shown(),
            [
                "asking h.example.org for InRelease, attempt 2 of 5, next in 8 s (it could not be reached: connection refused)"
            ]
        );
        underway.ask();
        underway.receive(1_234_567);
        assert_eq!(shown(), ["receiving InRelease from h.example.org: 1.1 MiB"]);
        drop(underway);
        assert!(shown().is_empty());
    }

    #[test]
    fn other_waits_are_said_where_nothing_is_requested() {
        let activity = Activity::default();
        let line = || activity.line();
        let outer = activity.wait_for(|| "sending".to_owned());
        let inner = activity.wait_for(|| "merging".to_owned());
        assert_eq!(line().as_deref(), Some("merging"));
        let url = Url::parse("http://h/a").unwrap();
        let underway = activity.begin(&url, 5);
        assert_eq!(line().as_deref(), Some("asking h for a"));
        drop((underway, inner));
        assert_eq!(line().as_deref(), Some("sending"));
        drop(outer);
        assert_eq!(line(), None);
    }
}
