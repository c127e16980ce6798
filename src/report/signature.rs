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

/// Stands for a name of the build until the text has its final form.
const NAME: char = '\u{e000}';
/// Stands for a number or a digest.
const NUMBER: char = '\u{e001}';

/// Returns the first error of a failure (or its message) without line numbers and digests, and with `*` in place of
/// the names of its build. Failures with the same cause have equal signatures.
pub fn signature(failure: &Failure, build: BuildNames<'_>) -> String {
    without_names(failure, &names(build))
}

/// Returns a regular expression for the failures that have the signature of this one. For a download, it matches the
/// servers.
pub fn signature_expression(failure: &Failure, build: BuildNames<'_>) -> String {
    if let Some((servers, _)) = servers(failure) {
        let servers: Vec<String> = servers.iter().map(|one| regex::escape(one)).collect();
        return servers.join("|");
    }
    regex::escape(&marked(failure, &names(build)))
        .replace(NAME, ".*")
        .replace(NUMBER, "[0-9a-f]+")
}

/// A name of a build in the text of a failure.
#[derive(Clone, Copy)]
enum Name<'a> {
    /// With digits, such as `6.1.0-1`: found in `a_6.1.0-1.deb`, but not in `6.1.0-10`.
    Numbered(&'a str),
    /// A word, such as the target `arch`: not found in `architecture`, `arch_spin_lock` or `arch/x86`.
    Word(&'a str),
}

fn names(build: BuildNames<'_>) -> [Name<'_>; 6] {
    [
        Name::Numbered(build.build_id.as_str()),
        Name::Numbered(build.kernel_release.as_str()),
        Name::Numbered(build.driver_version.as_str()),
        Name::Word(build.target.as_str()),
        Name::Numbered(build.architecture.as_str()),
        Name::Numbered(build.architecture.machine()),
    ]
}

impl Name<'_> {
    /// Returns the text with [`NAME`] in place of this name.
    fn replace_in(self, text: String) -> String {
        let (Self::Numbered(name) | Self::Word(name)) = self;
        let mut replaced = String::new();
        let mut copied = 0;
        for (start, _) in text.match_indices(name) {
            let end = start + name.len();
            let before = (text[..start].chars().next_back(), name.chars().next());
            let after = (text[end..].chars().next(), name.chars().next_back());
            if self.ends_between(before) && self.ends_between(after) {
                replaced.push_str(&text[copied..start]);
                replaced.push(NAME);
                copied = end;
            }
        }
        if copied == 0 {
            return text;
        }
        replaced + &text[copied..]
    }

    /// Returns true if the name can end between a character of the text and one of its own.
    fn ends_between(self, sides: (Option<char>, Option<char>)) -> bool {
        let (Some(outside), Some(inside)) = sides else {
            return true;
        };
        match self {
            Self::Numbered(_) => {
                !(outside.is_alphabetic() && inside.is_alphabetic()
                    || outside.is_numeric() && inside.is_numeric())
            }
            Self::Word(_) => !(outside.is_alphanumeric() || outside == '_' || outside == '/'),
        }
    }
}

fn without_names(failure: &Failure, names: &[Name<'_>]) -> String {
    if let Some((servers, answers)) = servers(failure) {
        let servers: Vec<String> = servers.into_iter().collect();
        let answers: Vec<String> = answers.into_iter().collect();
        return format!("{}: {}", servers.join(", "), answers.join("; "));
    }
    marked(failure, names)
        .replace(NAME, "*")
        .replace(NUMBER, "#")
}

/// Returns the first error of a failure (or its message) with [`NAME`] and [`NUMBER`] in place of names, numbers and
/// digests.
fn marked(failure: &Failure, names: &[Name<'_>]) -> String {
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
        failure.message.clone()
    };
    for name in names {
        text = name.replace_in(text);
    }
    let number = NUMBER.to_string();
    VARIABLE.replace_all(&text, number).into_owned()
}

/// Returns the servers of a failed download, and their answers; files and the order of requests are dropped. A server
/// that is down counts the same as one that is no longer queried since. Returns `None` if the message names no
/// server, or the failure is of another kind.
fn servers(failure: &Failure) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    static URL: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the pattern is a constant, compiled by every test of this file"
        )]
        Regex::new(r"[a-z]+://(?:[^/\s@]*@)?([^/\s;,]+)[^\s;,]*").expect("valid pattern")
    });
    if failure.class != FailureClass::Download || failure.first_error.is_some() {
        return None;
    }
    let text: String = failure
        .message
        .split("; ")
        .map(|part| match part.split_once(SERVER_IS_DOWN) {
            Some((url, answer)) => format!("{url}{}", answer.strip_suffix(')').unwrap_or(answer)),
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("; ");
    let hosts: BTreeSet<String> = URL
        .captures_iter(&text)
        .filter_map(|found| Some(found.get(1)?.as_str().to_owned()))
        .collect();
    if hosts.is_empty() {
        return None;
    }
    let answers = text
        .split("; ")
        .map(|part| {
            let part = part.split_once("has it: ").map_or(part, |(_, rest)| rest);
            let last = URL.find_iter(part).last().map_or(0, |found| found.end());
            let answer = part[last..].trim();
            let answer = answer.split_once(" each ").map_or(answer, |(_, rest)| rest);
            answer.strip_prefix("each ").unwrap_or(answer).to_owned()
        })
        .collect();
    Some((hosts, answers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Phase;

    #[test]
    fn download_failures_are_grouped_by_servers_and_answers() {
        let of = |text: &str| {
            let failure = Failure::new(FailureClass::Download, Phase::Fetch, text);
            without_names(&failure, &[])
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
            &[Name::Numbered("6.1.0-1")],
        );
        let other = without_names(
            &failure("a_5.10.0-2.deb: 404 for fedcba9876543210 (attempt 12)"),
            &[Name::Numbered("5.10.0-2")],
        );
        assert_eq!(one, "a_*.deb: # for # (attempt #)");
        assert_eq!(one, other);
    }

    #[test]
    fn names_are_replaced_as_words() {
        let of = |text: &str, name: Name<'_>| {
            let failure = Failure::new(FailureClass::Compile, Phase::Module, text);
            without_names(&failure, &[name])
        };
        let (arch, ol) = (Name::Word("arch"), Name::Word("ol"));
        for text in [
            "arch/x86/include/asm/page.h: unknown architecture",
            "implicit declaration of function 'arch_spin_lock'",
            "a symbol of /src/arch/x86 in old_tool",
        ] {
            assert_eq!(of(text, arch), of(text, ol), "{text}");
            assert!(!of(text, arch).contains('*'), "{text}");
        }
        assert_eq!(of("no image for arch, amd64", arch), "no image for *, amd#");
        let release = Name::Numbered("6.1.0-1");
        assert_eq!(of("x-6.1.0-1/y_6.1.0-1.deb", release), "x-*/y_*.deb");
        assert_eq!(of("6.1.0-10 and 16.1.0-1", release), "#.#.#-# and #.#.#-#");
        let driver = Name::Numbered("8.1.0+driver");
        assert_eq!(
            of("v8.1.0+driver, 8.1.0+drivers", driver),
            "v*, #.#.#+drivers"
        );
        assert_eq!(
            of("a device of dev", Name::Numbered("dev")),
            "a device of *"
        );
    }
}
