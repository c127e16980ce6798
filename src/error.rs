//! Errors as text.
//!
//! An error of this crate either includes its cause in its own text or returns it as its `source`, never both.
//! [`chain`] prints an error that may have sources.

use std::error::Error;

/// Returns the text of an error followed by the texts of its sources: `failed to connect: connection refused`. A text
/// that is already included is not repeated, since libraries often interpolate the text of a source into their own.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (&text, rest) = texts.split_first()?;
        let source = layers(rest);
        Some(Box::new(Layer { text, source }))
    }

    #[test]
    fn every_cause_is_printed_once() {
        for (texts, expected) in [
            (&["failed"][..], "failed"),
            (
                &["failed", "no route", "timed out"],
                "failed: no route: timed out",
            ),
            (
                &["failed: no route", "no route", "timed out"],
                "failed: no route: timed out",
            ),
            (&["failed", "timed out", "timed out"], "failed: timed out"),
        ] {
            assert_eq!(chain(&*layers(texts).unwrap()), expected);
        }
    }
}
