//! Describes pending requests while nothing else happens.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a download may run before a line is printed; doubles with each line.
const QUIET: Duration = Duration::from_secs(2);
/// The upper limit of that time.
const LONGEST_QUIET: Duration = Duration::from_secs(30);

/// Returns one line about the pending requests.
type Line = Box<dyn Fn() -> Option<String> + Send>;

/// Describes the requests to servers that are pending.
pub struct Asked {
    line: Line,
    /// The time since which requests are pending, or of the last line about them.
    since: Option<Instant>,
    quiet: Duration,
}

impl Default for Asked {
    fn default() -> Self {
        Self::new(|| None)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl Asked {
    /// `line` describes the pending requests, if there are any.
    pub fn new(line: impl Fn() -> Option<String> + Send + 'static) -> Self {
        Self {
            line: Box::new(line),
            since: None,
            quiet: QUIET,
        }
    }

    /// Describes the pending requests.
    pub(super) fn line(&self) -> Option<String> {
        (self.line)()
    }

    /// Like [`Self::line`], but only after a long silence. `last_line` is the time of the last line about something
    /// else.
    pub(super) fn due(&mut self, now: Instant, last_line: Option<Instant>) -> Option<String> {
        let Some(line) = self.line() else {
            (self.since, self.quiet) = (None, QUIET);
            return None;
        };
        let since = *self.since.get_or_insert(now);
        let since = last_line.map_or(since, |last| since.max(last));
        if now.saturating_duration_since(since) < self.quiet {
            return None;
        }
        self.since = Some(now);
        self.quiet = (self.quiet * 2).min(LONGEST_QUIET);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn long_requests_are_reported_at_growing_intervals() {
        let is_asking = Arc::new(AtomicBool::new(true));
        let asking = Arc::clone(&is_asking);
        let mut asked = Asked::new(move || {
            asking
                .load(Ordering::Relaxed)
                .then(|| "asking h".to_owned())
        });
        let start = Instant::now();
        let mut said = |from: u64, to: u64, last: Option<u64>| -> Vec<u64> {
            let at = |second| start + Duration::from_secs(second);
            (from..to)
                .filter(|&second| asked.due(at(second), last.map(at)).is_some())
                .collect()
        };
        assert_eq!(said(0, 60, None), [2, 6, 14, 30]);
        // Another line was printed meanwhile.
        assert_eq!(said(60, 100, Some(59)), [89]);
        is_asking.store(false, Ordering::Relaxed);
        assert!(said(100, 101, None).is_empty());
        is_asking.store(true, Ordering::Relaxed);
        assert_eq!(said(101, 105, None), [103]);
    }
}
