//! Limits similar lines: the first few are shown, the others are counted.

use std::collections::HashMap;

use super::signature::signature;
use super::text::failure_text;
use crate::event::BuildReport;
use crate::failure::{Failure, FailureClass};

/// The number of lines that are shown of each kind.
const SHOWN: usize = 3;

/// The number of lines seen of each kind, and the number of hidden lines.
#[derive(Default)]
pub(super) struct Alike {
    seen: HashMap<String, usize>,
    hidden: usize,
}

impl Alike {
    /// Returns true if a line of this kind should be shown; otherwise counts it as hidden.
    pub(super) fn shows(&mut self, kind: String) -> bool {
        let seen = self.seen.entry(kind).or_default();
        *seen += 1;
        let shows = *seen <= SHOWN;
        self.hidden += usize::from(!shows);
        shows
    }

    /// Returns the number of lines hidden since the last call.
    pub(super) fn take_hidden(&mut self) -> usize {
        std::mem::take(&mut self.hidden)
    }
}

/// Returns the text that groups lines about a failure. All failed downloads are one kind, whichever server is down.
pub(super) fn kind_of_failure(failure: &Failure) -> String {
    match failure.class {
        FailureClass::Download => "download".to_owned(),
        _ => failure_text(failure),
    }
}

/// Returns the text that groups the lines about finished builds; `None` if no artifact failed.
pub(super) fn kind_of_build(report: &BuildReport) -> Option<String> {
    let failures = report.artifacts.iter().filter_map(|artifact| {
        let failure = artifact.failure.as_ref()?;
        Some(match failure.class {
            FailureClass::Download => kind_of_failure(failure),
            _ => signature(failure, report.into()),
        })
    });
    let kinds: Vec<String> = failures.collect();
    (!kinds.is_empty()).then(|| kinds.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_shown_three_times_and_then_counted() {
        let mut alike = Alike::default();
        let shown: Vec<bool> = (0..5).map(|_| alike.shows("a".to_owned())).collect();
        assert_eq!(shown, [true, true, true, false, false]);
        assert!(alike.shows("b".to_owned()));
        assert_eq!((alike.take_hidden(), alike.take_hidden()), (2, 0));
    }
}
