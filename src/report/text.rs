//! Formats durations, names and failures for the terminal.

use std::fmt::Display;
use std::time::Duration;

use super::clean;
use crate::failure::{Failure, FailureClass};

/// Returns text such as `14.2s`, `3m 20s`, `1h 05m`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => {
            let tenths = duration.as_millis() / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Shortens a long name in the middle to at most `width` characters: names mostly differ at their ends.
pub(super) fn shorten(name: &impl Display, width: usize) -> String {
    let name = name.to_string();
    let length = name.chars().count();
    if length <= width {
        return name;
    }
    let kept = width.saturating_sub(1);
    let head = kept / 2;
    let tail = kept - head;
    let start = name.chars().take(head);
    let end = name.chars().skip(length - tail);
    start.chain(['…']).chain(end).collect()
}

/// Returns the class and the first error of a failure in one line.
pub(super) fn failure_text(failure: &Failure) -> String {
    match &failure.first_error {
        Some(error) => {
            let error = error.to_string();
            format!("{}: {}", failure.class, shorten(&clean(&error), 300))
        }
        // The words of a kernel, of many lines.
        None if failure.class == FailureClass::Load => {
            let message = clean(&failure.message);
            format!("{}: {}", failure.class, shorten(&message, 300))
        }
        None => format!("{}: {}", failure.class, clean(&failure.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_with_two_units_at_most() {
        let text = |millis| duration(Duration::from_millis(millis));
        assert_eq!(text(0), "0.0s");
        assert_eq!(text(14_249), "14.2s");
        assert_eq!(text(59_999), "59.9s");
        assert_eq!(text(200_000), "3m 20s");
        assert_eq!(text(3_900_000), "1h 05m");
    }

    #[test]
    fn long_names_are_shortened_in_the_middle() {
        assert_eq!(shorten(&"abcdefgh", 8), "abcdefgh");
        assert_eq!(shorten(&"abcdefghi", 8), "abc…fghi");
        assert_eq!(shorten(&"ääääääääääää", 5), "ää…ää");
    }
}
