//! The index of the outcomes: one file with all that a look-up needs of them.
//!
//! An outcome file consists mostly of the inputs of its key, which a look-up already knows. The index has the rest, so
//! that a run in which nothing is missing reads one file instead of a hundred thousand. It is only a shortcut: what it
//! does not have, or has damaged, is read from the outcome's own file.
//!
//! Outcome files are renamed into the 256 directories of `outcomes/v1` and removed from them, never changed in place.
//! Each of these changes the `ctime` of its directory, so an entry counts only while its directory is as it was when
//! the entry was read.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use crate::digest::Sha256;
use crate::fs::PendingFile;

/// The path of the index in the store. The number is raised when the format changes.
const FILE: &str = "outcomes/index-1";

/// The number of directories of outcomes.
const FOLDERS: usize = 256;

/// A directory that changed less than this time before an entry was read may change again without a visible change of
/// its time: file systems store times in steps, of some milliseconds or of up to two seconds.
const FINE_STEP: i128 = 100_000_000;
const COARSE_STEP: i128 = 3_000_000_000;

/// The index is written if it gains at least one entry for this many that it has.
const WORTHWHILE: usize = 8;

const DIGEST_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
const STAMP_BYTES: usize = 24;
const FOOTER_BYTES: usize = DIGEST_BYTES + 8;

/// Returns the path of the index in the store in directory `store_root`.
pub(super) fn path(store_root: &Path) -> PathBuf {
    store_root.join(FILE)
}

/// What identifies a state of a directory; all zero if that is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
        }
    }

    fn of_folder(path: &Path) -> Self {
        std::fs::metadata(path).map_or_else(|_| Self::default(), |found| Self::of(&found))
    }

    fn is_known(self) -> bool {
        self != Self::default()
    }

    /// Its time, in nanoseconds since 1970.
    fn time(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }

    /// Whether every change of the directory at `now` or later gives it another time.
    fn is_quiet(self, now: i128) -> bool {
        let step = if self.nanoseconds == 0 {
            COARSE_STEP
        } else {
            FINE_STEP
        };
        self.is_known() && now - self.time() > step
    }

    fn bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[16..].copy_from_slice(&self.nanoseconds.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            inode: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            seconds: i64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?),
            nanoseconds: i64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?),
        })
    }
}

/// Where the entry of a key is in the file. Rows are sorted by the start of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// The first eight bytes of the key.
    key: u64,
    offset: u32,
    length: u32,
}

impl Row {
    fn bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            offset: u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?),
            length: u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?),
        })
    }

    fn folder(self) -> usize {
        usize::from(self.key.to_be_bytes()[0])
    }

    fn read_entry(self, file: &File) -> io::Result<Vec<u8>> {
        let mut entry = vec![0; usize::try_from(self.length).unwrap_or_default()];
        file.read_exact_at(&mut entry, u64::from(self.offset))?;
        Ok(entry)
    }
}

fn start_of(key: Sha256) -> u64 {
    let start = key.as_bytes().first_chunk().copied();
    u64::from_be_bytes(start.unwrap_or_default())
}

/// Returns an entry: a digest of the key and the text, the key, the text.
fn entry_of(key: Sha256, text: &[u8]) -> Vec<u8> {
    let content = [key.as_bytes(), text].concat();
    [Sha256::of(&content).as_bytes(), &*content].concat()
}

/// Returns the text of an undamaged entry of the key.
fn text_of(key: Sha256, entry: &[u8]) -> Option<&[u8]> {
    let (digest, content) = entry.split_at_checked(DIGEST_BYTES)?;
    let text = content.strip_prefix(key.as_bytes())?;
    (Sha256::of(content).as_bytes() == digest).then_some(text)
}

/// An index file that an earlier run wrote: the entries, then the rows, then a stamp for each directory, then their
/// digest and the number of rows.
struct Written {
    file: File,
    rows: Vec<Row>,
    stamps: Vec<Stamp>,
}

impl Written {
    fn open(path: &Path) -> Option<Self> {
        let file = crate::fs::open_file(path).ok()?;
        let table_end = file
            .metadata()
            .ok()?
            .len()
            .checked_sub(FOOTER_BYTES as u64)?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, table_end).ok()?;
        let (digest, count) = footer.split_at(DIGEST_BYTES);
        let count = usize::try_from(u64::from_le_bytes(count.try_into().ok()?)).ok()?;
        let row_bytes = count.checked_mul(ROW_BYTES)?;
        let table_bytes = row_bytes.checked_add(FOLDERS * STAMP_BYTES)?;
        let table_start = table_end.checked_sub(u64::try_from(table_bytes).ok()?)?;
        let mut table = vec![0; table_bytes];
        file.read_exact_at(&mut table, table_start).ok()?;
        if Sha256::of(&table).as_bytes() != digest {
            return None;
        }
        let (rows, stamps) = table.split_at(row_bytes);
        Some(Self {
            file,
            rows: rows.chunks_exact(ROW_BYTES).map_while(Row::read).collect(),
            stamps: stamps
                .chunks_exact(STAMP_BYTES)
                .map_while(Stamp::read)
                .collect(),
        })
    }

    fn find(&self, key: Sha256) -> Option<Vec<u8>> {
        let start = start_of(key);
        let first = self.rows.partition_point(|row| row.key < start);
        let rows = self.rows.get(first..)?.iter();
        rows.take_while(|row| row.key == start).find_map(|row| {
            let entry = row.read_entry(&self.file).ok()?;
            text_of(key, &entry).map(<[u8]>::to_vec)
        })
    }
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
            .and_then(|added| added.push(start_of(key), &entry));
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
        let mut table = Vec::with_capacity(added.rows.len() * ROW_BYTES + FOLDERS * STAMP_BYTES);
        table.extend(added.rows.iter().flat_map(|row| row.bytes()));
        table.extend(folders.iter().flat_map(|folder| folder.stamp.bytes()));
        let mut file = added.file;
        file.write_all(&table).ok()?;
        file.write_all(Sha256::of(&table).as_bytes()).ok()?;
        let count = u64::try_from(added.rows.len()).ok()?;
        file.write_all(&count.to_le_bytes()).ok()?;
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
