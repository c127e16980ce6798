//! The file of the index: the entries, then a row for each entry, then a stamp for each directory of outcomes, then their
//! digest and the number of rows.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::FOLDERS;
use crate::digest::Sha256;

/// A directory that changed less than this time before an entry was read may change again without a visible change of
/// its time: file systems store times in steps, of some milliseconds or of up to two seconds.
pub(super) const FINE_STEP: i128 = 100_000_000;
pub(super) const COARSE_STEP: i128 = 3_000_000_000;

const DIGEST_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
pub(super) const STAMP_BYTES: usize = 24;
pub(super) const FOOTER_BYTES: usize = DIGEST_BYTES + 8;

/// What identifies a state of a directory; all zero if that is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
        }
    }

    pub(super) fn of_folder(path: &Path) -> Self {
        std::fs::metadata(path).map_or_else(|_| Self::default(), |found| Self::of(&found))
    }

    pub(super) fn is_known(self) -> bool {
        self != Self::default()
    }

    /// Its time, in nanoseconds since 1970.
    pub(super) fn time(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }

    /// Whether every change of the directory at `now` or later gives it another time.
    pub(super) fn is_quiet(self, now: i128) -> bool {
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
pub(super) struct Row {
    /// The first eight bytes of the key.
    pub(super) key: u64,
    pub(super) offset: u32,
    pub(super) length: u32,
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

    pub(super) fn folder(self) -> usize {
        usize::from(self.key.to_be_bytes()[0])
    }

    pub(super) fn read_entry(self, file: &File) -> io::Result<Vec<u8>> {
        let mut entry = vec![0; usize::try_from(self.length).unwrap_or_default()];
        file.read_exact_at(&mut entry, u64::from(self.offset))?;
        Ok(entry)
    }
}

/// Returns an entry: a digest of the key and the text, the key, the text.
pub(super) fn entry_of(key: Sha256, text: &[u8]) -> Vec<u8> {
    let content = [key.as_bytes(), text].concat();
    [Sha256::of(&content).as_bytes(), &*content].concat()
}

/// Returns the text of an undamaged entry of the key.
fn text_of(key: Sha256, entry: &[u8]) -> Option<&[u8]> {
    let (digest, content) = entry.split_at_checked(DIGEST_BYTES)?;
    let text = content.strip_prefix(key.as_bytes())?;
    (Sha256::of(content).as_bytes() == digest).then_some(text)
}

/// An index file that an earlier run wrote.
pub(super) struct Written {
    pub(super) file: File,
    pub(super) rows: Vec<Row>,
    pub(super) stamps: Vec<Stamp>,
}

impl Written {
    pub(super) fn open(path: &Path) -> Option<Self> {
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

    pub(super) fn find(&self, key: Sha256) -> Option<Vec<u8>> {
        let start = key.start();
        let first = self.rows.partition_point(|row| row.key < start);
        let rows = self.rows.get(first..)?.iter();
        rows.take_while(|row| row.key == start).find_map(|row| {
            let entry = row.read_entry(&self.file).ok()?;
            text_of(key, &entry).map(<[u8]>::to_vec)
        })
    }
}

/// Returns what follows the entries in a file: sorted rows, stamps, digest, number of rows.
pub(super) fn end_of(rows: &[Row], stamps: impl Iterator<Item = Stamp>) -> Option<Vec<u8>> {
    let mut table: Vec<u8> = rows.iter().flat_map(|row| row.bytes()).collect();
    table.extend(stamps.flat_map(Stamp::bytes));
    let digest = Sha256::of(&table);
    table.extend_from_slice(digest.as_bytes());
    table.extend_from_slice(&u64::try_from(rows.len()).ok()?.to_le_bytes());
    Some(table)
}
