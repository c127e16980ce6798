//! Outcomes of steps, cached by the step's key.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::index::Index;
use super::used::Used;
use crate::digest::{KeyBuilder, Sha256};
use crate::failure::Failure;
use crate::fs::{self, FileError, Lock, OpenFolder};
use crate::store::{Shared, Store};

/// The directory of the outcomes. Its version is raised when a change of [`Outcome`] cannot be read by older versions.
const FOLDER: &str = "outcomes/v1";

/// The number of leading digits by which keys share a lock file, which bounds the number of lock files.
const LOCK_DIGITS: usize = 3;

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
fn without_inputs(inputs: &KeyBuilder, text: &[u8]) -> Option<Vec<u8>> {
    let (line, has_checksum) = checked_line(text).ok()?;
    if !has_checksum {
        return None;
    }
    let after = line.strip_prefix(BEFORE_INPUTS)?;
    let after = after.strip_prefix(serde_json::to_vec(inputs).ok()?.as_slice())?;
    Some([BEFORE_INPUTS, NO_INPUTS, after].concat())
}

/// Parses a line without inputs.
fn with_inputs(inputs: &KeyBuilder, short: &[u8]) -> Option<Outcome> {
    Some(Outcome {
        inputs: inputs.clone(),
        ..serde_json::from_slice(short).ok()?
    })
}

/// Parses an outcome; returns `None` unless it is valid, its inputs give `key` and, for a failure, it has a checksum.
fn believed(key: Sha256, text: &[u8]) -> Option<Outcome> {
    let kept = KeptOutcome::read(text).ok()?;
    let is_failure = matches!(kept.outcome.result, StepResult::Failure(_));
    let is_believed = kept.outcome.inputs.key() == key && (kept.has_checksum || !is_failure);
    is_believed.then_some(kept.outcome)
}

/// The path of the outcome under `key` below the directory of all outcomes.
fn path_in_folder(key: Sha256) -> PathBuf {
    let name = key.to_string();
    PathBuf::from(format!("{}/{name}.json", &name[..2]))
}

/// The size in bytes that nearly all outcomes stay below.
const SHORT: usize = 8 << 10;

/// Reads an outcome file with one `read` call where possible: the second line marks its end, so neither `fstat` nor a
/// second `read` is needed. A run reads a hundred thousand of these files.
fn read_short(folder: &OpenFolder, path: &Path) -> io::Result<Vec<u8>> {
    let mut file = folder.open(path)?;
    let mut bytes = vec![0; SHORT];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    let is_whole =
        length < SHORT && bytes.ends_with(b"\n") && memchr::memchr_iter(b'\n', &bytes).count() > 1;
    if !is_whole {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The outcomes of a store.
#[derive(Clone)]
pub struct Outcomes {
    folder: Arc<OpenFolder>,
    shared: Option<Arc<dyn Shared>>,
    index: Option<Arc<Index>>,
    used: Option<Arc<Used>>,
}

impl std::fmt::Debug for Outcomes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Outcomes({})", self.folder.path().display())
    }
}

impl Outcomes {
    /// Returns the outcomes of the store in directory `store_root`.
    pub fn new(store_root: &Path) -> Self {
        Self {
            folder: Arc::new(OpenFolder::new(store_root.join(FOLDER))),
            shared: None,
            index: None,
            used: None,
        }
    }

    /// Returns the outcomes of a store, including those of its shared store.
    pub fn of(store: &Store) -> Self {
        Self {
            shared: store.shared().cloned(),
            ..Self::new(store.root())
        }
    }

    /// Begins a look-up of many outcomes by [`Self::find_with`], which uses and updates the index of the store in
    /// directory `store_root` and records what is found, until [`Self::end_look_up`]. A shared store gets the texts of
    /// all outcomes, which the index does not have.
    #[must_use]
    pub fn begin_look_up(mut self, store_root: &Path) -> Self {
        let begin = || Arc::new(Index::begin(store_root, self.folder()));
        self.index = self.shared.is_none().then(begin);
        self.used = Some(Arc::new(Used::begin(store_root)));
        self
    }

    /// Ends the look-up: from now on, all outcomes are read from their own files, as they are at that time.
    pub fn end_look_up(&self) {
        if let Some(index) = &self.index {
            index.end();
        }
        if let Some(used) = &self.used {
            used.end();
        }
    }

    /// Returns the directory of the outcomes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the outcome of `key`, whether or not the file exists.
    pub fn path(&self, key: Sha256) -> PathBuf {
        self.folder.path().join(path_in_folder(key))
    }

    /// Returns the outcome of `key`. An invalid one (damaged, of another key, written by a newer version) counts as
    /// missing: the step runs again and replaces the file. A failure without a checksum counts as missing too, since
    /// the versions that wrote those also cached failures of damaged and unreadable inputs.
    pub fn find(&self, key: Sha256) -> Result<Option<Outcome>, FileError> {
        self.find_by(key, |text| believed(key, text))
    }

    /// Returns the same as [`Self::find`], but faster, for a step whose inputs are known.
    pub fn find_with(
        &self,
        key: Sha256,
        inputs: &KeyBuilder,
    ) -> Result<Option<Outcome>, FileError> {
        let found = self.look_up(key, inputs)?;
        if let (Some(used), Some(_)) = (&self.used, &found) {
            used.note(key);
        }
        Ok(found)
    }

    fn look_up(&self, key: Sha256, inputs: &KeyBuilder) -> Result<Option<Outcome>, FileError> {
        let index = self.index.as_deref();
        let indexed = index.and_then(|index| index.find(key));
        if let Some(outcome) = indexed.and_then(|short| with_inputs(inputs, &short)) {
            return Ok(Some(outcome));
        }
        let read = |text: &[u8]| {
            let short = without_inputs(inputs, text)?;
            let outcome = with_inputs(inputs, &short)?;
            if let Some(index) = index {
                index.add(key, &short);
            }
            Some(outcome)
        };
        self.find_by(key, |text| read(text).or_else(|| believed(key, text)))
    }

    fn find_by(
        &self,
        key: Sha256,
        believed: impl Fn(&[u8]) -> Option<Outcome>,
    ) -> Result<Option<Outcome>, FileError> {
        let own = match read_short(&self.folder, &path_in_folder(key)) {
            Ok(bytes) => believed(&bytes).inspect(|_| self.share(key, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::of("read", self.path(key))(error)),
        };
        // An outdated local failure must not hide a newer outcome in the shared store.
        if own.as_ref().is_some_and(|own| !own.is_outdated()) {
            return Ok(own);
        }
        let shared = self.shared.as_ref().and_then(|shared| shared.outcome(key));
        let shared = shared.and_then(|bytes| believed(&bytes));
        Ok(shared.or(own))
    }

    /// Offers an outcome to the shared store.
    fn share(&self, key: Sha256, text: &[u8]) {
        if let Some(shared) = &self.shared {
            shared.note_outcome(key, text);
        }
    }

    /// Releases the claim to a key, so that other machines may run the step if it has no outcome.
    pub fn release(&self, key: Sha256) {
        if let Some(shared) = &self.shared {
            shared.release(key);
        }
    }

    /// Stores an outcome under the key of its inputs and replaces an earlier one.
    pub fn put(&self, outcome: &Outcome) -> Result<(), FileError> {
        let key = outcome.inputs.key();
        let path = self.path(key);
        let mut text = serde_json::to_vec(outcome)
            .map_err(|error| FileError::of("write", &path)(io::Error::other(error)))?;
        let checksum = serde_json::json!({ "sha256": Sha256::of(&text) });
        text.extend(format!("\n{checksum}\n").into_bytes());
        self.change(key);
        fs::write(&path, &text)?;
        self.share(key, &text);
        Ok(())
    }

    /// Removes the outcome of `key`.
    pub fn remove(&self, key: Sha256) -> Result<(), FileError> {
        if let Some(shared) = &self.shared {
            shared.forget_outcome(key);
        }
        self.change(key);
        fs::remove_file(&self.path(key))
    }

    fn change(&self, key: Sha256) {
        if let Some(index) = &self.index {
            index.change(key);
        }
    }

    /// Waits until no other run works on the step with these inputs; blocks the thread. Each kind of step has separate
    /// locks, so that a step can lock the steps that it depends on while it is locked itself.
    pub fn lock(&self, inputs: &KeyBuilder) -> Result<Lock, FileError> {
        let key = inputs.key().to_string();
        let name = format!(
            "{}-{}",
            inputs.kind().replace(' ', "-"),
            &key[..LOCK_DIGITS]
        );
        Lock::exclusive(&self.folder().join("locks").join(name))
    }
}

#[cfg(test)]
pub(super) mod tests;
