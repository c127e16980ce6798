//! The outcome of a step, and its text on disk.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{KeyBuilder, Sha256};
use crate::failure::Failure;

/// The result of a step, with all inputs of its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The fields of the key.
    pub inputs: KeyBuilder,
    /// The result.
    pub result: StepResult,
    /// The digest of the compressed log, for steps that run a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Sha256>,
    /// Wall time of the step.
    pub wall: Duration,
    /// Processor time of its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Highest memory use of its job in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// The [`FAILURE_RULES`] version under which the failure was classified. Older rules may have cached an
    /// infrastructure fault as a failure, so such a step is retried.
    #[serde(default)]
    pub failure_rules: u32,
    /// The run that did the step; unknown for outcomes of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Arc<str>>,
    /// When the step ended; unknown for outcomes of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
}

/// The version of the rules that separate a step's own failure from an infrastructure fault; raised when the new rules
/// no longer cache a failure that the old ones cached.
pub const FAILURE_RULES: u32 = 3;

impl Outcome {
    /// Returns true if this is a failure that was cached under older rules.
    pub fn is_outdated(&self) -> bool {
        matches!(self.result, StepResult::Failure(_)) && self.failure_rules < FAILURE_RULES
    }
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// A directory in the store.
    Tree {
        /// The digest of the tree.
        sha256: Sha256,
        /// The kind of tree: a package can be unpacked again, the others rebuilt.
        role: TreeRole,
    },
    /// Facts read from a kernel's header tree.
    Facts(serde_json::Value),
    /// The answer of a check.
    Check {
        /// Whether the check's module compiled.
        passed: bool,
    },
    /// A checked artifact in the store.
    Artifact(ArtifactFacts),
    /// A deterministic failure: the same inputs fail again.
    Failure(Failure),
}

impl fmt::Display for StepResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { sha256, .. } => write!(formatter, "tree {sha256}"),
            Self::Facts(_) => formatter.write_str("facts"),
            Self::Check { passed } => write!(formatter, "check, passed: {passed}"),
            Self::Artifact(facts) => write!(formatter, "artifact {}", facts.sha256),
            Self::Failure(failure) => write!(formatter, "failure: {failure}"),
        }
    }
}

/// The kind of tree that a step produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeRole {
    /// An unpacked header package or kernel source.
    Package,
    /// A header tree prepared from a kernel source or from another header tree.
    Prepared,
    /// A configured driver.
    Driver,
}

/// Properties of a checked artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFacts {
    /// The digest of the file.
    pub sha256: Sha256,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// The module's vermagic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vermagic: Option<String>,
    /// The module's srcversion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srcversion: Option<String>,
}

/// An outcome as stored on disk: a line of JSON and a line with the digest of the first. Early versions wrote only the
/// first line.
pub(super) struct KeptOutcome {
    pub(super) outcome: Outcome,
    has_checksum: bool,
}

#[derive(Deserialize)]
struct Checksum {
    sha256: Sha256,
}

fn unreadable(error: &serde_json::Error) -> String {
    format!("cannot be read: {error}")
}

/// The first line of a file, and whether a second one has its digest; a wrong digest is an error.
fn checked_line(bytes: &[u8]) -> Result<(&[u8], bool), String> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return Ok((bytes, false));
    };
    let (line, checksum) = bytes.split_at(end);
    let checksum: Checksum =
        serde_json::from_slice(checksum).map_err(|error| unreadable(&error))?;
    if checksum.sha256 != Sha256::of(line) {
        return Err("its checksum does not match".to_owned());
    }
    Ok((line, true))
}

impl KeptOutcome {
    /// Parses the content of an outcome file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (line, has_checksum) = checked_line(bytes)?;
        Ok(Self {
            outcome: serde_json::from_slice(line).map_err(|error| unreadable(&error))?,
            has_checksum,
        })
    }
}

impl KeptOutcome {
    /// Returns the outcome, or an error if it has no checksum.
    pub(super) fn confirmed(self) -> Result<Outcome, String> {
        if self.has_checksum {
            return Ok(self.outcome);
        }
        Err("it has no checksum: an early version wrote it, or its second line is lost".to_owned())
    }
}

/// The text before the key fields in a stored outcome, and the JSON of an empty list of fields.
const BEFORE_INPUTS: &[u8] = b"{\"inputs\":";
const NO_INPUTS: &[u8] = b"{\"step\":\"\",\"fields\":[]}";

/// Returns the line of an outcome with known inputs without these; `None` if the bytes do not begin with these inputs
/// or do not match the checksum. The inputs are the largest part of an outcome, so comparing them is faster than parsing
/// them.
pub(super) fn without_inputs(inputs: &KeyBuilder, text: &[u8]) -> Option<Vec<u8>> {
    let (line, has_checksum) = checked_line(text).ok()?;
    if !has_checksum {
        return None;
    }
    let after = line.strip_prefix(BEFORE_INPUTS)?;
    let after = after.strip_prefix(serde_json::to_vec(inputs).ok()?.as_slice())?;
    Some([BEFORE_INPUTS, NO_INPUTS, after].concat())
}

/// Parses a line without inputs.
pub(super) fn with_inputs(inputs: &KeyBuilder, short: &[u8]) -> Option<Outcome> {
    Some(Outcome {
        inputs: inputs.clone(),
        ..serde_json::from_slice(short).ok()?
    })
}

/// Parses an outcome; returns `None` unless it is valid, its inputs give `key` and, for a failure, it has a checksum.
pub(super) fn believed(key: Sha256, text: &[u8]) -> Option<Outcome> {
    let kept = KeptOutcome::read(text).ok()?;
    let is_failure = matches!(kept.outcome.result, StepResult::Failure(_));
    let is_believed = kept.outcome.inputs.key() == key && (kept.has_checksum || !is_failure);
    is_believed.then_some(kept.outcome)
}
