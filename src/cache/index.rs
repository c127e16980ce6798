//! The index of the outcomes: one file with all that a look-up needs of them.
//!
//! An outcome file consists mostly of the inputs of its key, which a look-up already knows. The index has the rest, so
//! that a run in which nothing is missing reads one file instead of a hundred thousand. It is only a shortcut: what it
//! does not have, or has damaged, is read from the outcome's own file.
//!
//! Outcome files are renamed into the 256 directories of `outcomes/v1` and removed from them, never changed in place.
//! Each of these changes the `ctime` of its directory, so an entry counts only while its directory is as it was when
//! the entry was read.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use crate::digest::Sha256;
use crate::fs::PendingFile;

mod format;

use format::{Row, Stamp, Written, end_of, entry_of};

/// The path of the index in the store. The number is raised when the format changes.
const FILE: &str = "outcomes/index-1";

/// The number of directories of outcomes.
const FOLDERS: usize = 256;

/// The index is written if it gains at least one entry for this many that it has.
const WORTHWHILE: usize = 8;

/// Returns the path of the index in the store in directory `store_root`.
pub(super) fn path(store_root: &Path) -> PathBuf {
    store_root.join(FILE)
}

/// A directory of outcomes during a look-up.
struct Folder {
    /// Its state before anything in it was read.
    stamp: Stamp,
    /// Whether the written index has its state.
    is_indexed: bool,
}

/// The entries that a run adds, in a file that becomes the next index.
struct Added {
    file: BufWriter<PendingFile>,
    length: u32,
    rows: Vec<Row>,
}

impl Added {
    /// Appends an entry; returns `None` if the file cannot take it.
    fn push(&mut self, key: u64, entry: &[u8]) -> Option<()> {
        let (offset, length) = (self.length, u32::try_from(entry.len()).ok()?);
        self.length = offset.checked_add(length)?;
        self.file.write_all(entry).ok()?;
        self.rows.push(Row {
            key,
            offset,
            length,
        });
        Some(())
    }
}

/// The index during a look-up.
struct LookUp {
    /// The directory of the outcomes.
    outcomes: PathBuf,
    written: Option<Written>,
    folders: [OnceLock<Folder>; FOLDERS],
    /// The directories that this process has changed.
    changed: [AtomicBool; FOLDERS],
    /// When the look-up began, by the file system's clock.
    began: i128,
    /// `None` after an entry could not be written.
    added: Mutex<Option<Added>>,
}

impl LookUp {
    /// Returns `None` if no file can be created beside the outcomes.
    fn begin(store_root: &Path, outcomes: &Path) -> Option<Self> {
        let path = path(store_root);
        // Created first: its time is that of the file system, which may be on another machine.
        let mut file = PendingFile::create(&path).ok()?;
        let created = Stamp::of(&file.file().metadata().ok()?);
        let folder = Stamp::of_folder(path.parent()?);
        if folder.time() < created.time() {
            tracing::debug!("no index of outcomes: a new file does not change its directory");
            return None;
        }
        Some(Self {
            written: Written::open(&path),
            outcomes: outcomes.to_owned(),
            folders: [const { OnceLock::new() }; FOLDERS],
            changed: [const { AtomicBool::new(false) }; FOLDERS],
            began: created.time(),
            added: Mutex::new(Some(Added {
                file: BufWriter::with_capacity(1 << 16, file),
                length: 0,
                rows: Vec::new(),
            })),
        })
    }

    fn folder(&self, index: usize) -> Option<&Folder> {
        let look = || {
            let stamp = Stamp::of_folder(&self.outcomes.join(name_of(index)));
            let written = self.written.as_ref();
            let known = written.and_then(|written| written.stamps.get(index));
            Folder {
                stamp,
                is_indexed: stamp.is_known() && known == Some(&stamp),
            }
        };
        Some(self.folders.get(index)?.get_or_init(look))
    }

    fn find(&self, key: Sha256) -> Option<Vec<u8>> {
        let folder = folder_of(key);
        let is_indexed = self.folder(folder)?.is_indexed;
        if !is_indexed || self.changed.get(folder)?.load(Ordering::Acquire) {
            return None;
        }
        self.written.as_ref()?.find(key)
    }

    fn add(&self, key: Sha256, text: &[u8]) {
        let folder = self.folder(folder_of(key));
        if !folder.is_some_and(|folder| self.takes(folder)) {
            return;
        }
        let entry = entry_of(key, text);
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let pushed = added
            .as_mut()
            .and_then(|added| added.push(key.start(), &entry));
        if pushed.is_none() {
            *added = None;
        }
    }

    /// Whether entries of a directory may be added.
    fn takes(&self, folder: &Folder) -> bool {
        folder.is_indexed || folder.stamp.is_quiet(self.began)
    }

    /// Writes the index again if that is worthwhile. Returns `None` if it was not written.
    fn end(self) -> Option<()> {
        let mut added = self.added.lock().ok()?.take()?;
        let folders: Vec<State> = (0..FOLDERS).map(|index| self.state(index)).collect();
        added.rows.retain(|row| folders[row.folder()].is_added);
        let written = self.written.as_ref();
        let mut kept = written.map_or_else(Vec::new, |written| written.rows.clone());
        kept.retain(|row| folders[row.folder()].is_kept);
        if added.rows.is_empty() || added.rows.len() * WORTHWHILE < kept.len() {
            return None;
        }
        kept.sort_unstable_by_key(|row| row.offset);
        for row in kept {
            let entry = row.read_entry(&written?.file).ok()?;
            added.push(row.key, &entry)?;
        }
        added.rows.sort_unstable();
        let mut file = added.file;
        let stamps = folders.iter().map(|folder| folder.stamp);
        file.write_all(&end_of(&added.rows, stamps)?).ok()?;
        file.into_inner().ok()?.keep_unsynced().ok()
    }

    /// Returns which entries of a directory remain valid.
    fn state(&self, index: usize) -> State {
        let now = Stamp::of_folder(&self.outcomes.join(name_of(index)));
        let written = self.written.as_ref();
        let written = written.and_then(|written| written.stamps.get(index));
        let used = self.folders.get(index).and_then(OnceLock::get);
        let is_kept = now.is_known() && written == Some(&now);
        let is_added = used.is_some_and(|folder| folder.stamp == now && self.takes(folder));
        State {
            stamp: Some(now)
                .filter(|_| is_kept || is_added)
                .unwrap_or_default(),
            is_kept,
            is_added,
        }
    }
}

/// Which entries of a directory are part of the next index.
struct State {
    stamp: Stamp,
    /// Those of the written index.
    is_kept: bool,
    /// Those that this run added.
    is_added: bool,
}

/// Returns the position of the directory with the outcome of a key.
fn folder_of(key: Sha256) -> usize {
    usize::from(key.as_bytes()[0])
}

/// Returns the name of a directory.
fn name_of(index: usize) -> String {
    format!("{index:02x}")
}

/// The index of the outcomes of a store, which is used from the beginning to the end of a run's look-up: later, other
/// processes may have changed outcomes that were looked at before.
pub(super) struct Index(RwLock<Option<Box<LookUp>>>);

impl Index {
    /// Begins a look-up in the store in directory `store_root`, with its outcomes in directory `outcomes`.
    pub(super) fn begin(store_root: &Path, outcomes: &Path) -> Self {
        let look_up = LookUp::begin(store_root, outcomes);
        Self(RwLock::new(look_up.map(Box::new)))
    }

    /// Returns the text that was added for a key, unless outcomes in its directory have changed.
    pub(super) fn find(&self, key: Sha256) -> Option<Vec<u8>> {
        self.get(|look_up| look_up.find(key))
    }

    /// Adds a text for a key that [`Self::find`] did not find, before its outcome was read.
    pub(super) fn add(&self, key: Sha256, text: &[u8]) {
        self.get(|look_up| {
            look_up.add(key, text);
            Some(())
        });
    }

    /// Records that this process changes the outcome of a key.
    pub(super) fn change(&self, key: Sha256) {
        self.get(|look_up| {
            let changed = look_up.changed.get(folder_of(key))?;
            changed.store(true, Ordering::Release);
            Some(())
        });
    }

    /// Ends the look-up; writes the index if it has gained enough. An index that cannot be written costs only time.
    pub(super) fn end(&self) {
        let look_up = self
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(look_up) = look_up
            && look_up.end().is_none()
        {
            tracing::debug!("the index of outcomes stays as it is");
        }
    }

    fn get<T>(&self, get: impl FnOnce(&LookUp) -> Option<T>) -> Option<T> {
        let look_up = self.0.read().unwrap_or_else(PoisonError::into_inner);
        get(look_up.as_ref()?)
    }
}

#[cfg(test)]
mod tests;
