//! Lines that say the same: the first few are shown, the others counted.

use std::collections::HashMap;

use super::signature::signature;
use super::text::failure_text;
use crate::event::BuildReport;
use crate::failure::{Failure, FailureClass};

/// How many lines of a kind are shown.
const SHOWN: usize = 3;

/// What was shown, and how much was not.
#[derive(Default)]
pub(super) struct Alike {
    seen: HashMap<String, usize>,
    hidden: usize,
}

impl Alike {
    /// Whether a line of this kind is still to be shown; it is counted otherwise.
    pub(super) fn shows(&mut self, kind: String) -> bool {
        let seen = self.seen.entry(kind).or_default();
        *seen += 1;
        let shows = *seen <= SHOWN;
        self.hidden += usize::from(!shows);
        shows
    }

    /// How many lines were counted in place of being shown, since it was last asked.
    pub(super) fn take_hidden(&mut self) -> usize {
        std::mem::take(&mut self.hidden)
    }
}

/// What lines about a failure have in common. Of downloads it does not matter which server is down.
pub(super) fn kind_of_failure(failure: &Failure) -> String {
    match failure.class {
        FailureClass::Download => "download".to_owned(),
        _ => failure_text(failure),
    }
}

/// What the lines about a finished build have in common with those about others; nothing where no artifact failed.
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
