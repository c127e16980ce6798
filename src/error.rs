//! Errors as text.
//!
//! An error of this crate says its cause in its own text, or returns it as its `source`, never both. [`chain`] is how an
//! error is printed that may have sources: those of other crates, and those that only wrap one.

use std::error::Error;

/// Returns an error's text followed by those of its sources, `failed to connect: connection refused`. What has been said
/// already is not repeated, since libraries often interpolate the text of a source into their own.
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
    fn every_cause_is_said_once() {
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
