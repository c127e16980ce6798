//! The common part of similar failures.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::BuildRecord;
use crate::driver::DriverVersion;
use crate::event::BuildReport;
use crate::failure::{Failure, FailureClass, SERVER_IS_DOWN};
use crate::kernel::{Architecture, KernelRelease, TargetId};
use crate::plan::BuildId;

/// The names of a build, which differ between similar failures and are removed from their common part.
#[derive(Clone, Copy)]
pub struct BuildNames<'a> {
    /// The ID of the build.
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

impl<'a> From<&'a BuildReport> for BuildNames<'a> {
    fn from(build: &'a BuildReport) -> Self {
        Self {
            build_id: &build.build_id,
            target: &build.target,
            kernel_release: &build.kernel_release,
            driver_version: &build.driver_version,
            architecture: build.architecture,
        }
    }
}

impl<'a> From<&'a BuildRecord> for BuildNames<'a> {
    fn from(build: &'a BuildRecord) -> Self {
        Self {
            build_id: &build.build_id,
            target: &build.target,
            kernel_release: &build.kernel_release,
            driver_version: &build.driver_version,
            architecture: build.architecture,
        }
    }
}

/// Returns the first error of a failure (or its message) without line numbers and digests, and with `*` in place of
/// the names of its build. Failures with the same cause have equal signatures.
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
    // Digests come first, so that their digits are not replaced separately.
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the pattern is a constant, compiled by every test of this file"
        )]
        Regex::new(r"\b[0-9a-f]{12,}\b|\d+").expect("valid pattern")
    });
    let mut text = if let Some(error) = &failure.first_error {
        format!("{}: {}", error.file, error.message)
    } else {
        let is_download = failure.class == FailureClass::Download;
        if let Some(servers) = is_download.then(|| servers(&failure.message)).flatten() {
            return servers;
        }
        failure.message.clone()
    };
    for name in names {
        text = text.replace(name, "*");
    }
    VARIABLE.replace_all(&text, "#").into_owned()
}

/// Returns the servers in a message, sorted, and their answers; files and the order of requests are dropped. A server
/// that is down counts the same as one that is no longer queried since. Returns `None` if the message names no
/// server.
fn servers(message: &str) -> Option<String> {
    static URL: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the pattern is a constant, compiled by every test of this file"
        )]
        Regex::new(r"[a-z]+://(?:[^/\s@]*@)?([^/\s;,]+)[^\s;,]*").expect("valid pattern")
    });
    let text: String = message
        .split("; ")
        .map(|part| match part.split_once(SERVER_IS_DOWN) {
            Some((url, answer)) => format!("{url}{}", answer.strip_suffix(')').unwrap_or(answer)),
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("; ");
    let hosts: BTreeSet<&str> = URL
        .captures_iter(&text)
        .filter_map(|found| Some(found.get(1)?.as_str()))
        .collect();
    if hosts.is_empty() {
        return None;
    }
    let answers: BTreeSet<String> = text
        .split("; ")
        .map(|part| {
            let part = part.split_once("has it: ").map_or(part, |(_, rest)| rest);
            let last = URL.find_iter(part).last().map_or(0, |found| found.end());
            let answer = part[last..].trim();
            let answer = answer.split_once(" each ").map_or(answer, |(_, rest)| rest);
            answer.strip_prefix("each ").unwrap_or(answer).to_owned()
        })
        .collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let answers: Vec<String> = answers.into_iter().collect();
    Some(format!("{}: {}", hosts.join(", "), answers.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Phase;

    #[test]
    fn download_failures_are_grouped_by_servers_and_answers() {
        let of = |text: &str| {
            let failure = Failure::new(FailureClass::Download, Phase::Fetch, text);
            without_names(&failure, [])
        };
        let refused = "could not be reached: connection refused";
        let one = of(&format!(
            "none of 2 URLs has it: http://a.org/x_1.deb and http://b.org/x_1.deb each {refused}"
        ));
        assert_eq!(one, format!("a.org, b.org: {refused}"));
        for other in [
            format!(
                "none of 2 URLs has it: https://b.org/y_22.deb and http://a.org/y_22.deb each {refused}"
            ),
            format!(
                "none of 3 URLs has it: http://b.org/y.deb, ..., http://a.org/z.deb (3) each {refused}"
            ),
            format!(
                "http://a.org/y_22.deb {refused}; http://b.org/y was not requested: the server is down (last error: it {refused})"
            ),
        ] {
            assert_eq!(of(&other), one, "{other}");
        }
        assert_eq!(of("http://a.org/x answered 503"), "a.org: answered 503");
        assert_ne!(
            of("http://c.org/x_1.deb answered 503"),
            of("http://a.org/x_1.deb answered 503")
        );
    }

    #[test]
    fn names_numbers_and_digests_are_ignored() {
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
