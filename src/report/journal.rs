//! The journal: every event of a run as one line of JSON, written as it happens.
//!
//! If a run is killed, the manifest is completed from its journal. The first line has the version of the format. The
//! last line may be incomplete.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ReportError;
use crate::event::{Event, EventKind};
use crate::fs::{AppendFile, FileError};

/// The version of the format; readers reject a newer one.
const SCHEMA: u32 = 1;

/// How long written events may be unsynced: a power failure loses at most the last second.
const SYNC: Duration = Duration::from_secs(1);

/// The number of events that are encoded together by one thread.
const TOGETHER: usize = 64;

#[derive(Serialize, Deserialize)]
struct Header {
    journal_schema: u32,
}

/// The reason why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not start with the header of a journal.
    #[error("{} is not the journal of a run", path.display())]
    NoJournal {
        /// The file.
        path: PathBuf,
        /// Whether its first line is incomplete: a run may be writing it.
        is_begun: bool,
    },
    /// The file was written by a newer version of the program.
    #[error("{} has journal schema {found}, this version reads up to {SCHEMA}: use a newer driverkit-matrix", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: u32,
    },
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalEnd {
    /// Every line was read.
    Whole,
    /// This line (counted from 1) and the following ones cannot be read.
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
        // Readers that follow the journal wait for its header.
        journal.file.flush()?;
        Ok(journal)
    }

    /// Appends events other than the first of a run. They are encoded on all cores.
    pub(super) fn append_all(&mut self, events: &[Event]) -> Result<(), ReportError> {
        for lines in lines_of(events)? {
            self.append_lines(&lines)?;
        }
        Ok(())
    }

    fn append_lines(&mut self, lines: &[u8]) -> Result<(), ReportError> {
        self.is_synced = false;
        Ok(self.file.append(lines)?)
    }

    /// Appends an event.
    pub(super) fn append(&mut self, event: &Event) -> Result<(), ReportError> {
        let EventKind::RunStarted(facts) = &event.kind else {
            return self.append_line(event);
        };
        // JSON only supports paths in UTF-8, but the user chooses the names of matrix files.
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
        let mut line = Vec::new();
        add_line(&mut line, value)?;
        self.append_lines(&line)
    }

    /// Flushes buffered lines to the system, and syncs them to disk once a second.
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

    /// Syncs everything to disk.
    pub(super) fn sync(&mut self) -> Result<(), ReportError> {
        self.file.sync()?;
        self.is_synced = true;
        self.last_sync = Instant::now();
        Ok(())
    }
}

/// Encodes events as lines, in several pieces on all cores.
fn lines_of(events: &[Event]) -> Result<Vec<Vec<u8>>, ReportError> {
    let encode = |events: &[Event]| {
        let mut lines = Vec::new();
        for event in events {
            add_line(&mut lines, event)?;
        }
        Ok(lines)
    };
    events.par_chunks(TOGETHER).map(encode).collect()
}

fn add_line(lines: &mut Vec<u8>, value: &impl Serialize) -> Result<(), ReportError> {
    serde_json::to_writer(&mut *lines, value).map_err(|cause| ReportError::Encode {
        what: "an event",
        cause,
    })?;
    lines.push(b'\n');
    Ok(())
}

/// Passes the events of a journal to `take`, in order, up to its end or its first unreadable line.
pub fn read_journal(path: &Path, mut take: impl FnMut(Event)) -> Result<JournalEnd, JournalError> {
    let mut reader = JournalReader::open(path)?;
    loop {
        match reader.next_event()? {
            Next::Event(event) => take(*event),
            Next::End => return Ok(JournalEnd::Whole),
            Next::Torn => {
                return Ok(JournalEnd::Torn {
                    line: reader.line + 1,
                });
            }
        }
    }
}

/// The next item of a journal.
pub(super) enum Next {
    /// An event.
    Event(Box<Event>),
    /// Nothing; a run in progress may write more.
    End,
    /// A line that cannot be read, for example because it is incomplete.
    Torn,
}

/// Reads a journal that may still grow.
pub(super) struct JournalReader {
    reader: BufReader<File>,
    path: PathBuf,
    /// The number of the last line that was read, from 1.
    line: usize,
    /// The start of an incomplete line.
    partial: Vec<u8>,
}

impl JournalReader {
    /// Opens a journal and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(FileError::of("read", path))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        reader
            .read_until(b'\n', &mut line)
            .map_err(FileError::of("read", path))?;
        let header: Header =
            serde_json::from_slice(&line).map_err(|_| JournalError::NoJournal {
                path: path.to_owned(),
                is_begun: !line.ends_with(b"\n"),
            })?;
        if header.journal_schema > SCHEMA {
            let found = header.journal_schema;
            return Err(JournalError::NewerSchema {
                path: path.to_owned(),
                found,
            });
        }
        Ok(Self {
            reader,
            path: path.to_owned(),
            line: 1,
            partial: Vec::new(),
        })
    }

    /// Returns the next event. After [`Next::End`] it may be called again.
    pub(super) fn next_event(&mut self) -> Result<Next, JournalError> {
        self.reader
            .read_until(b'\n', &mut self.partial)
            .map_err(FileError::of("read", &self.path))?;
        if self.partial.is_empty() {
            return Ok(Next::End);
        }
        match serde_json::from_slice(&self.partial) {
            Ok(event) => {
                self.line += 1;
                self.partial.clear();
                Ok(Next::Event(Box::new(event)))
            }
            Err(_) => Ok(Next::Torn),
        }
    }
}
