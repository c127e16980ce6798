//! Estimates the remaining time of a run from the durations of its builds in earlier runs.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::BuildId;

/// The builds of a run that are not finished, with their durations.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    known: HashMap<BuildId, Duration>,
    known_left: Duration,
}

impl Expected {
    /// Creates the estimate for builds with these durations.
    pub fn of(durations: impl IntoIterator<Item = (BuildId, Duration)>) -> Self {
        let known: HashMap<BuildId, Duration> = durations.into_iter().collect();
        Self {
            known_left: known.values().sum(),
            known,
        }
    }

    /// Removes a finished build.
    pub(super) fn finish(&mut self, build: &BuildId) {
        if let Some(took) = self.known.remove(build) {
            self.known_left = self.known_left.saturating_sub(took);
        }
    }

    /// Returns the total time of `left` builds, one after the other; `mean` is the assumed time of builds without a
    /// known duration.
    pub(super) fn remaining(&self, left: usize, mean: Option<Duration>) -> Option<Duration> {
        let unknown = left.saturating_sub(self.known.len());
        let unknown = match (unknown, mean) {
            (0, _) => Duration::ZERO,
            (unknown, Some(mean)) => mean.saturating_mul(u32::try_from(unknown).ok()?),
            (_, None) => return None,
        };
        Some(self.known_left + unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_durations_are_used_and_others_are_estimated() {
        let minute = Duration::from_mins(1);
        let mut expected = Expected::default();
        assert_eq!(expected.remaining(2, None), None);
        assert_eq!(expected.remaining(2, Some(minute)), Some(2 * minute));
        let build: BuildId = serde_json::from_str("\"1/x86_64/debian_6_1\"").unwrap();
        expected.known.insert(build.clone(), 5 * minute);
        expected.known_left = 5 * minute;
        assert_eq!(expected.remaining(1, None), Some(5 * minute));
        assert_eq!(expected.remaining(3, Some(minute)), Some(7 * minute));
        expected.finish(&build);
        assert_eq!(expected.remaining(2, Some(minute)), Some(2 * minute));
    }
}
