//! Follows the log of a build during a run, for `logs --follow`.
//!
//! The journal has the path of the running job's log; that file is read until the next job of the build begins or the
//! build ends.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::STATE_FOLDER;
use super::journal::{JournalError, JournalReader, Next};
use super::manifest::is_being_written;
use crate::event::{BuildReport, Event, EventKind};
use crate::plan::BuildId;

/// The interval at which files are read.
const POLL: Duration = Duration::from_millis(100);

/// A journal that has not grown for this long may be that of a killed run.
const QUIET: Duration = Duration::from_secs(5);

/// How following a log ended.
pub enum Followed {
    /// No run writes to the output directory.
    NoRun,
    /// The build has ended.
    Finished(Arc<BuildReport>),
    /// The run ended, or was killed, without this build.
    RunEnded,
}

/// An error of following a log.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log cannot be read, or the output cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the logs of the jobs of a build to `output` as they grow, until the build has ended. `is_wanted` selects
/// the build. Jobs that have already ended are not shown.
pub fn follow_log(
    out: &Path,
    is_wanted: impl Fn(&BuildId) -> bool,
    output: &mut dyn Write,
) -> Result<Followed, FollowError> {
    let Some(mut journal) = open_journal(out)? else {
        return Ok(Followed::NoRun);
    };
    let mut log = LiveLog::default();
    let mut last_event = Instant::now();
    loop {
        let mut newest = None;
        // The first end counts: the end of the run follows that of its last build.
        let mut ended = None;
        while let Next::Event(event) = journal.next_event()? {
            last_event = Instant::now();
            match of_build(*event, &is_wanted) {
                Some(News::Job(path, title)) => newest = Some((path, title)),
                Some(News::Ended(followed)) => {
                    ended.get_or_insert(followed);
                }
                None => {}
            }
        }
        log.copy(output)?;
        if let Some(followed) = ended {
            return Ok(followed);
        }
        if let Some((path, title)) = newest {
            writeln!(output, "==> {title}")?;
            log.open(&path);
            log.copy(output)?;
        }
        output.flush()?;
        if last_event.elapsed() > QUIET && !is_being_written(out).unwrap_or(true) {
            return Ok(Followed::RunEnded);
        }
        std::thread::sleep(POLL);
    }
}

/// Opens the journal of an output directory; returns `None` if it does not exist. If its header is not written yet, waits
/// for it while a run writes to the directory.
fn open_journal(out: &Path) -> Result<Option<JournalReader>, FollowError> {
    let path = out.join(STATE_FOLDER).join("journal.jsonl");
    loop {
        match JournalReader::open(&path) {
            Ok(journal) => return Ok(Some(journal)),
            Err(JournalError::File(error)) if error.is_not_found() => return Ok(None),
            Err(JournalError::NoJournal { is_begun: true, .. })
                if is_being_written(out).unwrap_or(false) =>
            {
                std::thread::sleep(POLL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

enum News {
    /// A job has begun: the path of its log, and its title.
    Job(std::path::PathBuf, String),
    Ended(Followed),
}

fn of_build(event: Event, is_wanted: impl Fn(&BuildId) -> bool) -> Option<News> {
    match event.kind {
        EventKind::PhaseStarted {
            build,
            phase,
            live_log: Some(log),
        } if is_wanted(&build) => Some(News::Job(log, format!("{build}: {phase}"))),
        EventKind::BuildFinished(report) if is_wanted(&report.build_id) => {
            Some(News::Ended(Followed::Finished(report)))
        }
        EventKind::RunFinished { .. } => Some(News::Ended(Followed::RunEnded)),
        _ => None,
    }
}

/// The log that is being followed.
#[derive(Default)]
struct LiveLog {
    file: Option<File>,
}

impl LiveLog {
    /// Continues with the log at `path`. The log of a job that has already ended no longer exists.
    fn open(&mut self, path: &Path) {
        self.file = File::open(path).ok();
    }

    /// Writes what was appended since the last call.
    fn copy(&mut self, output: &mut dyn Write) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            io::copy(file, output)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::journal::Journal;

    #[test]
    fn an_empty_journal_is_waited_for() {
        let out = tempfile::tempdir().unwrap();
        let state = out.path().join(STATE_FOLDER);
        let path = state.join("journal.jsonl");
        std::fs::create_dir(&state).unwrap();
        crate::fs::write(&path, b"").unwrap();
        // No run writes to it.
        assert!(matches!(
            follow_log(out.path(), |_| true, &mut io::sink()),
            Err(FollowError::Journal(JournalError::NoJournal { .. }))
        ));
        let lock = crate::fs::Lock::try_exclusive(&state.join("run.lock")).unwrap();
        let reader = {
            let out = out.path().to_owned();
            std::thread::spawn(move || follow_log(&out, |_| true, &mut io::sink()))
        };
        std::thread::sleep(POLL);
        let mut journal = Journal::create(&path).unwrap();
        journal
            .append(&Event {
                at: jiff::Timestamp::now(),
                elapsed: Duration::ZERO,
                kind: EventKind::RunFinished {
                    duration: Duration::ZERO,
                    exit_code: 0,
                },
            })
            .unwrap();
        journal.sync().unwrap();
        let followed = reader.join().unwrap().unwrap();
        assert!(matches!(followed, Followed::RunEnded));
        drop(lock);
    }
}
