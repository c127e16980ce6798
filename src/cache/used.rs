//! Which outcomes runs have found in their look-ups, a file for each day, so that a clean-up removes only unused ones:
//! an outcome that every night finds is never written again.
//!
//! A file is the sorted list of the first eight bytes of the outcomes' keys, 0.9 MB for a hundred thousand. If two runs
//! of one store end at the same time, the records of one of them may be lost; the next run adds them again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::listing::children;
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// The directory of the files, beside the outcomes.
const FOLDER: &str = "outcomes/used";

/// Longer ages count as this many days.
const MOST_DAYS: i64 = 100_000;

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Returns the numbers in a file; none if it does not exist.
fn read(path: &Path) -> Result<Vec<u64>, FileError> {
    let bytes = match fs::read(path) {
        Err(error) if error.is_not_found() => Vec::new(),
        read => read?,
    };
    let (numbers, _) = bytes.as_chunks();
    Ok(numbers.iter().copied().map(u64::from_be_bytes).collect())
}

/// The outcomes that the look-up of a run has found.
pub(super) struct Used {
    folder: PathBuf,
    /// `None` after the end of the look-up.
    found: Mutex<Option<Vec<u64>>>,
}

impl Used {
    /// Begins the records of a look-up in the store in directory `store_root`.
    pub(super) fn begin(store_root: &Path) -> Self {
        Self {
            folder: store_root.join(FOLDER),
            found: Mutex::new(Some(Vec::new())),
        }
    }

    /// Records that the outcome of `key` was found.
    pub(super) fn note(&self, key: Sha256) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &mut *found {
            found.push(key.start());
        }
    }

    /// Adds the records to the file of this day. If it cannot be written, outcomes may be removed sooner than expected.
    pub(super) fn end(&self) {
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = found.map(|found| self.add(found)) {
            tracing::debug!(%error, "the use of outcomes is not recorded");
        }
    }

    fn add(&self, mut found: Vec<u64>) -> Result<(), FileError> {
        let path = self.folder.join(today().to_string());
        found.extend(read(&path)?);
        found.sort_unstable();
        found.dedup();
        let bytes: Vec<u8> = found.into_iter().flat_map(u64::to_be_bytes).collect();
        fs::write(&path, bytes)
    }
}

/// The outcomes that runs have found lately.
pub(super) struct LatelyUsed(HashSet<u64>);

impl LatelyUsed {
    /// Reads which outcomes were found in the store in directory `root` within the last `age`, to the day, and removes
    /// older records.
    pub(super) fn read(root: &Path, age: Duration) -> Result<Self, FileError> {
        let days = i64::try_from(age.as_secs().div_ceil(24 * 60 * 60)).unwrap_or(i64::MAX);
        let first = today().saturating_sub(days.min(MOST_DAYS).days());
        let mut used = HashSet::new();
        for path in children(&root.join(FOLDER))? {
            let day: Option<Date> = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            match day {
                Some(day) if age.is_zero() || day < first => fs::remove_file(&path)?,
                Some(_) => used.extend(read(&path)?),
                None => {}
            }
        }
        Ok(Self(used))
    }

    /// Whether the outcome of `key` was found.
    pub(super) fn has(&self, key: Sha256) -> bool {
        self.0.contains(&key.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_day_add_up_and_a_cut_file_keeps_its_whole_numbers() {
        let root = tempfile::tempdir().unwrap();
        let [first, second, third] = ["1", "2", "3"].map(Sha256::of);
        for keys in [[first, first], [second, first]] {
            let used = Used::begin(root.path());
            for key in keys {
                used.note(key);
            }
            used.end();
        }
        let files = children(&root.path().join(FOLDER)).unwrap();
        let path = files.last().unwrap();
        assert_eq!(read(path).unwrap().len(), 2);
        let day = Duration::from_hours(24);
        let lately = LatelyUsed::read(root.path(), day).unwrap();
        assert!(lately.has(first) && lately.has(second) && !lately.has(third));
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(bytes.len() - 1);
        fs::write(path, bytes).unwrap();
        let lately = LatelyUsed::read(root.path(), day).unwrap();
        assert!(lately.has(first) != lately.has(second));
        LatelyUsed::read(root.path(), Duration::ZERO).unwrap();
        assert!(!path.exists());
    }
}
