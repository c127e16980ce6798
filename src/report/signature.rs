//! What equal failures have in common.

use std::sync::LazyLock;

use regex::Regex;

use crate::driver::DriverVersion;
use crate::failure::Failure;
use crate::kernel::{Architecture, KernelRelease, TargetId};
use crate::plan::BuildId;

/// What names a build: no part of what its failure has in common with those of others.
#[derive(Clone, Copy)]
pub struct BuildNames<'a> {
    /// Its name.
    pub build_id: &'a BuildId,
    /// The distribution.
    pub target: &'a TargetId,
    /// The kernel's release.
    pub kernel_release: &'a KernelRelease,
    /// The driver version.
    pub driver_version: &'a DriverVersion,
    /// The architecture.
    pub architecture: Architecture,
}

/// Returns the first error of a failure (else its message) without line numbers and digests, and with `*` in the place of
/// what names its build. Failures of one cause have equal signatures.
pub fn signature(failure: &Failure, build: BuildNames<'_>) -> String {
    let names = [
        build.build_id.as_str(),
        build.kernel_release.as_str(),
        build.driver_version.as_str(),
        build.target.as_str(),
        build.architecture.as_str(),
        build.architecture.machine(),
    ];
    without_names(failure, names)
}

fn without_names<'a>(failure: &Failure, names: impl IntoIterator<Item = &'a str>) -> String {
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
        let one = without_names(
            &failure("a_6.1.0-1.deb: 404 for 0123456789abcdef (attempt 3)"),
            ["6.1.0-1"],
        );
        let other = without_names(
            &failure("a_5.10.0-2.deb: 404 for fedcba9876543210 (attempt 12)"),
            ["5.10.0-2"],
        );
        assert_eq!(one, "a_*.deb: # for # (attempt #)");
        assert_eq!(one, other);
    }
}
