//! Outcomes of steps, cached by the step's key.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::Index;
use super::outcome::{Outcome, believed, with_inputs, without_inputs};
use super::used::Used;
use crate::digest::{KeyBuilder, Sha256};
use crate::fs::{self, FileError, Lock, OpenFolder};
use crate::store::{Shared, Store};

/// The directory of the outcomes. Its version is raised when a change of [`Outcome`] cannot be read by older versions.
const FOLDER: &str = "outcomes/v1";

/// The number of leading digits by which keys share a lock file, which bounds the number of lock files.
const LOCK_DIGITS: usize = 3;

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
