//! The journal: every event of a run as one line of JSON, written as it happens.
//!
//! It is what is left of a run that was killed; the manifest is made from it. The first line says which version of
//! the format follows. The last line may be torn.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ReportError;
use crate::event::{Event, EventKind};
use crate::fs::{AppendFile, FileError};

/// The version of the format; readers refuse a newer one.
const SCHEMA: u32 = 1;

/// How long what was written may wait for the disk: a power failure loses at most the last second.
const SYNC: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Header {
    journal_schema: u32,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// It starts with something else than a journal's header.
    #[error("{} is no journal of a run", path.display())]
    NoJournal {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer version of the program.
    #[error("{} has journal schema {found}, this version reads up to {SCHEMA}: use a newer driverkit-matrix", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalEnd {
    /// Every line was read.
    Whole,
    /// This line (counted from 1) and what follows it could not be read.
    Torn {
        /// The line's number.
        line: usize,
    },
}

/// A journal being written.
pub(super) struct Journal {
    file: AppendFile,
    is_synced: bool,
    last_sync: Instant,
}

impl Journal {
    /// Starts an empty journal.
    pub(super) fn create(path: &Path) -> Result<Self, ReportError> {
        let mut journal = Self {
            file: AppendFile::create(path)?,
            is_synced: false,
            last_sync: Instant::now(),
        };
        journal.append_line(&Header {
            journal_schema: SCHEMA,
        })?;
        Ok(journal)
    }

    /// Adds an event.
    pub(super) fn append(&mut self, event: &Event) -> Result<(), ReportError> {
        let EventKind::RunStarted(facts) = &event.kind else {
            return self.append_line(event);
        };
        // JSON knows no other paths than UTF-8; the matrix files are named by the person.
        let mut facts = facts.clone();
        for (path, _) in &mut facts.matrices {
            *path = path.to_string_lossy().into_owned().into();
        }
        self.append_line(&Event {
            at: event.at,
            elapsed: event.elapsed,
            kind: EventKind::RunStarted(facts),
        })
    }

    fn append_line(&mut self, value: &impl Serialize) -> Result<(), ReportError> {
        let mut line = serde_json::to_vec(value).map_err(|source| ReportError::Encode {
            what: "an event",
            source,
        })?;
        line.push(b'\n');
        self.is_synced = false;
        Ok(self.file.append(&line)?)
    }

    /// Lets go what was gathered: to the system now, to the disk once a second.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        if self.is_synced {
            return Ok(());
        }
        self.file.flush()?;
        if now.saturating_duration_since(self.last_sync) >= SYNC {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> Result<(), ReportError> {
        self.file.sync()?;
        self.is_synced = true;
        self.last_sync = Instant::now();
        Ok(())
    }
}

/// Hands the events of a journal to `take`, in order, up to its end or its first unreadable line.
pub fn read_journal(path: &Path, mut take: impl FnMut(Event)) -> Result<JournalEnd, JournalError> {
    let file = File::open(path).map_err(FileError::of("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| -> Result<bool, io::Error> {
        line.clear();
        Ok(reader.read_until(b'\n', line)? > 0)
    };
    next(&mut line).map_err(FileError::of("read", path))?;
    let header: Header = serde_json::from_slice(&line).map_err(|_| JournalError::NoJournal {
        path: path.to_owned(),
    })?;
    if header.journal_schema > SCHEMA {
        let found = header.journal_schema;
        return Err(JournalError::NewerSchema {
            path: path.to_owned(),
            found,
        });
    }
    let mut number = 1;
    while next(&mut line).map_err(FileError::of("read", path))? {
        number += 1;
        match serde_json::from_slice(&line) {
            Ok(event) => take(event),
            Err(_) => return Ok(JournalEnd::Torn { line: number }),
        }
    }
    Ok(JournalEnd::Whole)
}
