//! Ending a run early: first no new builds start, then everything ends.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

/// The reason why a run stops early; a stronger reason replaces a weaker one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// `--deadline` has passed: running work may finish, nothing new starts.
    Deadline,
    /// A build failed with `--fail-fast`: running work may finish, nothing new starts.
    FailFast,
    /// The disk is full, or a similar fault: continuing makes no sense.
    Infrastructure,
    /// A signal arrived: running work is ended.
    Signal,
}

impl StopReason {
    /// Returns the reason as shown on the terminal and in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "the deadline has passed",
            Self::FailFast => "a build failed and --fail-fast was given",
            Self::Infrastructure => "the infrastructure failed",
            Self::Signal => "interrupted by a signal",
        }
    }
}

/// The state of stopping. Every stage checks it before starting work, and any code may set it.
#[derive(Debug, Default)]
pub struct Stop {
    no_new: CancellationToken,
    now: CancellationToken,
    reason: Mutex<Option<StopReason>>,
}

impl Stop {
    /// Stops the run for `reason`.
    pub fn request(&self, reason: StopReason) {
        {
            let mut current = self
                .reason
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *current = (*current).max(Some(reason));
        }
        self.no_new.cancel();
        if reason >= StopReason::Infrastructure {
            self.now.cancel();
        }
    }

    /// Returns the reason why the run stops, if it does.
    pub fn reason(&self) -> Option<StopReason> {
        *self
            .reason
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns the token that is cancelled when nothing new may start.
    pub fn no_new(&self) -> &CancellationToken {
        &self.no_new
    }

    /// Returns the token that is cancelled when running work must end.
    pub fn now(&self) -> &CancellationToken {
        &self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_stop_reason_wins_and_ends_running_jobs() {
        let stop = Stop::default();
        stop.request(StopReason::FailFast);
        assert!(stop.no_new().is_cancelled() && !stop.now().is_cancelled());
        stop.request(StopReason::Signal);
        stop.request(StopReason::Deadline);
        assert!(stop.now().is_cancelled());
        assert_eq!(stop.reason(), Some(StopReason::Signal));
    }
}
