//! Prints the messages of clap.

use super::messages::put_error;
use crate::redact;
use crate::report::Style;

/// Messages of the standard library for invalid numbers, and their replacements.
const NUMBER_WORDS: [(&str, &str); 4] = [
    ("invalid digit found in string", "expected a whole number"),
    (
        "cannot parse integer from empty string",
        "expected a whole number",
    ),
    (
        "number too large to fit in target type",
        "the number is too large",
    ),
    ("invalid float literal", "expected a number"),
];

/// Prints a message of clap: help and versions as they are, errors without secrets in URLs and with long values
/// shortened.
pub(super) fn print_usage(error: &clap::Error, style: Style) {
    if !error.use_stderr() {
        drop(error.print());
        return;
    }
    let text = error.render();
    let text = if style.has_colour {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    let text = NUMBER_WORDS.iter().fold(text, |text, (words, expected)| {
        text.replace(words, expected)
    });
    put_error(&redact::shortened(&redact::text(&text)));
}
