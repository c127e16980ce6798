//! The failure classes of builds.
//!
//! A failure is a value that belongs to a build, not an error that ends the run. It is classified once, where it
//! is known; everything later (retry, cache, manifest, exit code) reads the class.

mod phase;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::redact::acts_on_a_reader;

pub use phase::{Phase, SERVER_IS_DOWN};

/// The class of a build failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// No header package was found for the kernel: every URL answered that it does not exist.
    HeadersNotFound,
    /// A package could not be downloaded: connection, time-out, server error.
    Download,
    /// The content of a package does not match the distribution's index or the lock.
    Checksum,
    /// A package is not a valid archive, or is a hostile one.
    Unpack,
    /// The header tree belongs to another kernel, flavour or architecture.
    WrongHeaders,
    /// The builder image is missing or cannot be used.
    Image,
    /// The driver could not be configured.
    Configure,
    /// The driver does not compile for this kernel.
    Compile,
    /// The compiler or the tools of the image cannot build for this kernel tree at all.
    ToolchainMismatch,
    /// The step took longer than its limit.
    Timeout,
    /// The step needed more memory than its limit.
    OutOfMemory,
    /// The step wrote more than its limits allow: bytes, files, or an artifact larger than its kind may be.
    TooMuchOutput,
    /// The step succeeded without producing an artifact.
    OutputMissing,
    /// The artifact is not loadable: wrong machine, name, vermagic or symbols.
    OutputInvalid,
    /// A second build of the artifact gave different bytes.
    NotReproducible,
    /// The kernel that the module was built for did not load, run or unload it.
    Load,
    /// The run was interrupted while the build was under way.
    Cancelled,
    /// The infrastructure failed: no daemon, disk full, node lost.
    Infrastructure,
}

impl FailureClass {
    /// Every class, in the order of declaration.
    pub const ALL: [Self; 18] = [
        Self::HeadersNotFound,
        Self::Download,
        Self::Checksum,
        Self::Unpack,
        Self::WrongHeaders,
        Self::Image,
        Self::Configure,
        Self::Compile,
        Self::ToolchainMismatch,
        Self::Timeout,
        Self::OutOfMemory,
        Self::TooMuchOutput,
        Self::OutputMissing,
        Self::OutputInvalid,
        Self::NotReproducible,
        Self::Load,
        Self::Cancelled,
        Self::Infrastructure,
    ];

    /// Returns true if a retry of the same step may succeed.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Download | Self::Infrastructure)
    }

    /// Returns true if the same inputs always fail in the same way; the failure is then cached as an outcome.
    pub fn is_deterministic(self) -> bool {
        matches!(
            self,
            Self::Unpack
                | Self::WrongHeaders
                | Self::Configure
                | Self::Compile
                | Self::ToolchainMismatch
                | Self::OutputMissing
                | Self::OutputInvalid
                | Self::NotReproducible
                | Self::Load
        )
    }

    /// Returns the status in the manifest of an artifact with this failure.
    pub fn status(self) -> Status {
        match self {
            Self::HeadersNotFound => Status::Unresolvable,
            Self::Configure
            | Self::Compile
            | Self::ToolchainMismatch
            | Self::WrongHeaders
            | Self::OutputMissing
            | Self::OutputInvalid
            | Self::NotReproducible
            | Self::Load => Status::Failed,
            Self::Cancelled => Status::Cancelled,
            Self::Download
            | Self::Checksum
            | Self::Unpack
            | Self::Image
            | Self::Timeout
            | Self::OutOfMemory
            | Self::TooMuchOutput
            | Self::Infrastructure => Status::Error,
        }
    }

    /// Returns the name of the class: `toolchain-mismatch`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadersNotFound => "headers-not-found",
            Self::Download => "download",
            Self::Checksum => "checksum",
            Self::Unpack => "unpack",
            Self::WrongHeaders => "wrong-headers",
            Self::Image => "image",
            Self::Configure => "configure",
            Self::Compile => "compile",
            Self::ToolchainMismatch => "toolchain-mismatch",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out-of-memory",
            Self::TooMuchOutput => "too-much-output",
            Self::OutputMissing => "output-missing",
            Self::OutputInvalid => "output-invalid",
            Self::NotReproducible => "not-reproducible",
            Self::Load => "load",
            Self::Cancelled => "cancelled",
            Self::Infrastructure => "infrastructure",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for FailureClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| {
                let kept = Self::ALL
                    .into_iter()
                    .filter(|class| class.is_deterministic());
                let kept: Vec<&str> = kept.map(Self::as_str).collect();
                format!(
                    "unknown failure class `{text}`: expected one of {}",
                    kept.join(", ")
                )
            })
    }
}

/// The final state of an artifact, as in the manifest and on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Compiled in this run and checked.
    Built,
    /// The key is unchanged, and the artifact is present and was checked.
    Cached,
    /// The driver, the toolchain or the headers are the cause: configure, compile, wrong headers, invalid output.
    Failed,
    /// Something else is the cause: download, broken package, image, time or memory limit, infrastructure.
    Error,
    /// Failed as a `[[known_failure]]` of the matrix expects.
    Known,
    /// Left out by a rule.
    Excluded,
    /// The headers are not published.
    Unresolvable,
    /// Interrupted while it was under way.
    Cancelled,
    /// Not started before the run ended.
    NotRun,
}

impl Status {
    /// Every status, in the order in which a summary shows them.
    pub const ALL: [Self; 9] = [
        Self::Built,
        Self::Cached,
        Self::Failed,
        Self::Error,
        Self::Unresolvable,
        Self::Known,
        Self::Cancelled,
        Self::NotRun,
        Self::Excluded,
    ];

    /// Returns true if the artifact is present.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Built | Self::Cached)
    }

    /// Returns true if the artifact is present or failed as expected.
    pub fn is_expected(self) -> bool {
        self.is_success() || self == Self::Known
    }

    /// Returns the name as in the manifest: `not_run`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Known => "known",
            Self::Excluded => "excluded",
            Self::Unresolvable => "unresolvable",
            Self::Cancelled => "cancelled",
            Self::NotRun => "not_run",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// An error message of a compiler, with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CompilerError {
    /// The file, relative to its tree if the tree is known.
    #[serde(deserialize_with = "printable_text")]
    pub file: String,
    /// The line, counted from 1; 0 if the tool (linker, modpost) does not report a line.
    pub line: u32,
    /// The message without the word `error`.
    #[serde(deserialize_with = "printable_text")]
    pub message: String,
}

impl CompilerError {
    /// Creates an error from a tool's output; file and message are made printable and limited in length.
    pub fn new(file: &str, line: u32, message: &str) -> Self {
        Self {
            file: printable(file),
            line,
            message: printable(message),
        }
    }
}

impl fmt::Display for CompilerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.message),
            line => write!(formatter, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// One classified failure of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// The phase in which it happened.
    pub phase: Phase,
    /// A message on one line: what failed, where, and what to do.
    #[serde(deserialize_with = "printable_text")]
    pub message: String,
    /// The first compiler error of the step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<CompilerError>,
    /// The exit code of the step's script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl Failure {
    /// Creates a failure without compiler error and exit code. The message is made printable, since it may contain the
    /// output of a compiler, a server or an archive.
    pub fn new(class: FailureClass, phase: Phase, message: impl AsRef<str>) -> Self {
        Self {
            class,
            phase,
            message: printable(message.as_ref()),
            first_error: None,
            exit_code: None,
        }
    }
}

/// The largest number of characters of a message or file name in a failure; the step's log has the full text.
pub const LONGEST_TEXT_CHARACTERS: usize = 2000;

/// Returns untrusted text that is safe to print and store: at most [`LONGEST_TEXT_CHARACTERS`], with U+FFFD in place of
/// characters that a terminal or a spreadsheet would act on.
pub fn printable(text: &str) -> String {
    let mut characters = text.chars();
    let mut printable: String = characters
        .by_ref()
        .take(LONGEST_TEXT_CHARACTERS)
        .map(|character| {
            let is_space = matches!(character, '\n' | '\t');
            if !is_space && acts_on_a_reader(character) {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect();
    if characters.next().is_some() {
        printable.push('\u{2026}');
    }
    printable
}

fn printable_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Cow::<str>::deserialize(deserializer).map(|text| printable(&text))
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} ({}): {}",
            self.class, self.phase, self.message
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_limited_and_have_no_control_characters() {
        let hostile = format!("\u{1b}[31mred\u{202e}\r{}", "x".repeat(131_000));
        let failure = Failure::new(FailureClass::Compile, Phase::Module, &hostile);
        assert!(
            failure
                .message
                .starts_with("\u{fffd}[31mred\u{fffd}\u{fffd}xxx")
        );
        assert_eq!(failure.message.chars().count(), LONGEST_TEXT_CHARACTERS + 1);
        // The text of an outcome that an older version cached is made printable too.
        let kept = serde_json::json!({
            "class": "compile", "phase": "module", "message": hostile,
            "first_error": { "file": "\u{7}a.c", "line": 1, "message": hostile },
        });
        let read: Failure = serde_json::from_value(kept).unwrap();
        assert_eq!(read.message, failure.message);
        let error = read.first_error.unwrap();
        assert_eq!(error.file, "\u{fffd}a.c");
        assert_eq!(error.message, failure.message);
        assert_eq!(printable("two\nlines\tä"), "two\nlines\tä");
    }

    #[test]
    fn text_forms_agree_with_serde_and_round_trip() {
        for class in FailureClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert_eq!(serde_json::json!(class), class.as_str());
            assert!(
                !(class.is_transient() && class.is_deterministic()),
                "{class}"
            );
        }
        for status in Status::ALL {
            assert_eq!(serde_json::json!(status), status.as_str());
        }
    }
}
