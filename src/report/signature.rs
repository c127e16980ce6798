//! What equal failures have in common.

use std::sync::LazyLock;

use regex::Regex;

use crate::failure::Failure;

/// Returns the first error of a failure (else its message) without line numbers and digests, and with `*` in the place of
/// `names`: those of the build, such as its kernel's release. Failures of one cause have equal signatures.
pub fn signature<'a>(failure: &Failure, names: impl IntoIterator<Item = &'a str>) -> String {
    // Digests first, so that their digits do not end up as numbers.
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the pattern is a constant, compiled by every test of this file"
        )]
        Regex::new(r"\b[0-9a-f]{12,}\b|\d+").expect("valid pattern")
    });
    let mut text = match &failure.first_error {
        Some(error) => format!("{}: {}", error.file, error.message),
        None => failure.message.clone(),
    };
    for name in names {
        text = text.replace(name, "*");
    }
    VARIABLE.replace_all(&text, "#").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{FailureClass, Phase};

    #[test]
    fn names_numbers_and_digests_make_no_difference() {
        let failure = |text: &str| Failure::new(FailureClass::Download, Phase::Fetch, text);
        let one = signature(
            &failure("a_6.1.0-1.deb: 404 for 0123456789abcdef (attempt 3)"),
            ["6.1.0-1"],
        );
        let other = signature(
            &failure("a_5.10.0-2.deb: 404 for fedcba9876543210 (attempt 12)"),
            ["5.10.0-2"],
        );
        assert_eq!(one, "a_*.deb: # for # (attempt #)");
        assert_eq!(one, other);
    }
}
