//! Updates the manifest on disk during a run.

use std::io::{BufWriter, Write as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::Manifest;
use super::earlier::{KEEP_NIGHTS, keep_earlier};
use super::failing::Failing;
use super::read::{Paths, manifest_of_journal};
use super::rows;
use crate::event::{Event, EventKind};
use crate::fs::{self, FileError, Lock, PendingFile};
use crate::report::journal::{Journal, JournalError};
use crate::report::{Durations, ReportError, Reporter, write_csv};

/// The minimum time between two writes of the manifest.
const PAUSE: Duration = Duration::from_secs(1);

/// A write is followed by a pause of at least this many times its duration: with tens of thousands of builds, the
/// manifest is written less often and never takes more than a twentieth of the time.
const PAUSE_FACTOR: u32 = 20;

/// How often locking the output directory is tried before the directory counts as in use.
const ATTEMPTS: usize = 6;

/// The time between two such attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// Writes journal, manifest and durations under the output directory.
pub struct ManifestReporter {
    out: PathBuf,
    paths: Paths,
    manifest: Option<Manifest>,
    journal: Option<Journal>,
    /// Read when the first compiled build ends.
    durations: Option<Durations>,
    durations_changed: bool,
    failing: Failing,
    /// True once the manifest of the previous run has been stored.
    has_kept_earlier: bool,
    keep_nights: usize,
    writes_json: bool,
    /// When the manifest may be written; `None` if nothing has changed.
    due: Option<Instant>,
    pause: Duration,
    _lock: Lock,
}

impl ManifestReporter {
    /// Locks the output directory for this run; fails if another run uses it. First completes the manifest from the
    /// journal of a killed run, and removes its temporary files.
    pub fn create(out: &Path) -> Result<Self, ReportError> {
        let paths = Paths::under(out);
        let lock = take_lock(out, &paths)?;
        let mut reporter = Self {
            out: out.to_owned(),
            paths,
            manifest: None,
            journal: None,
            durations: None,
            durations_changed: false,
            failing: Failing::read(out),
            has_kept_earlier: false,
            keep_nights: usize::from(KEEP_NIGHTS),
            writes_json: true,
            due: None,
            pause: PAUSE,
            _lock: lock,
        };
        reporter.recover()?;
        Ok(reporter)
    }

    /// Sets the number of nights for which manifests are stored.
    #[must_use]
    pub fn keeping_nights(mut self, nights: usize) -> Self {
        self.keep_nights = nights;
        self
    }

    /// Writes no `manifest.json`, and removes that of an earlier run.
    #[must_use]
    pub fn without_json(mut self) -> Self {
        self.writes_json = false;
        self
    }

    fn recover(&mut self) -> Result<(), ReportError> {
        match manifest_of_journal(&self.paths.journal) {
            Ok(Some(manifest)) if !manifest.builds.is_empty() => {
                let mut manifest = manifest;
                let started = manifest.run.started;
                for build in &mut manifest.builds {
                    self.failing.note(build, started);
                }
                self.manifest = Some(manifest);
                self.write()?;
                self.manifest = None;
                self.has_kept_earlier = false;
            }
            // An empty journal, or one that this version cannot read, is renamed with its content.
            Ok(_) | Err(JournalError::NoJournal { .. } | JournalError::NewerSchema { .. }) => {}
            Err(JournalError::File(error)) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        remove_temporary(&self.out)?;
        Ok(fs::rename(
            &self.paths.journal,
            &self.paths.previous_journal,
        )?)
    }

    /// Adds an event to everything except the journal.
    fn add(&mut self, event: &Event) {
        Manifest::fold(&mut self.manifest, event);
        if let EventKind::BuildFinished(report) = &event.kind {
            if let Some(manifest) = &mut self.manifest
                && let Some(build) = manifest.builds.last_mut()
            {
                self.failing.note(build, manifest.run.started);
            }
            if Durations::is_work(report) {
                let read = || Durations::read(&self.out);
                self.durations_changed |= self.durations.get_or_insert_with(read).add(report);
            }
            self.due.get_or_insert_with(|| Instant::now() + self.pause);
        }
    }

    /// Writes everything, whether it is due or not.
    fn write(&mut self) -> Result<(), ReportError> {
        self.due = None;
        let begun = Instant::now();
        let Some(manifest) = &mut self.manifest else {
            return Ok(());
        };
        if !self.has_kept_earlier {
            keep_earlier(&self.out, &self.paths, &manifest.run.id, self.keep_nights)?;
            self.has_kept_earlier = true;
        }
        write_files(manifest, &self.paths, self.writes_json)?;
        if let Some(durations) = self.durations.as_ref().filter(|_| self.durations_changed) {
            durations.write(&self.out)?;
            self.durations_changed = false;
        }
        self.failing.write(&self.out)?;
        self.pause = PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
        Ok(())
    }
}

impl Reporter for ManifestReporter {
    fn waits_for_disk(&self) -> bool {
        true
    }

    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        if matches!(event.kind, EventKind::RunStarted(_)) {
            self.journal = Some(Journal::create(&self.paths.journal)?);
        }
        // The manifest gets the event even if writing the journal fails: a later write may succeed.
        self.add(event);
        if let Some(journal) = &mut self.journal {
            journal.append(event)?;
        }
        if matches!(event.kind, EventKind::RunFinished { .. })
            && let Some(mut journal) = self.journal.take()
        {
            // The journal is synced while the manifest is encoded.
            let (synced, written) = thread::scope(|scope| {
                let syncing = scope.spawn(|| journal.sync());
                let written = self.write();
                (joined(syncing), written)
            });
            synced.and(written)?;
            if let Some(manifest) = self.manifest.take() {
                // Nothing has to wait until the memory of tens of thousands of builds is free.
                rayon::spawn(move || drop(manifest));
            }
            fs::rename(&self.paths.journal, &self.paths.previous_journal)?;
        }
        Ok(())
    }

    fn report_all(&mut self, events: &[Event]) -> Result<(), ReportError> {
        if let [event] = events {
            return self.report(event);
        }
        let mut journal = self.journal.take();
        let (appended, ()) = rayon::join(
            || {
                journal
                    .as_mut()
                    .map_or(Ok(()), |journal| journal.append_all(events))
            },
            || events.iter().for_each(|event| self.add(event)),
        );
        self.journal = journal;
        appended
    }

    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        if let Some(journal) = &mut self.journal {
            journal.tick(now)?;
        }
        if self.due.is_some_and(|due| now >= due) {
            self.write()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        if let Some(journal) = &mut self.journal {
            journal.sync()?;
        }
        if self.due.is_some() {
            self.write()?;
        }
        Ok(())
    }
}

/// Locks the output directory `out`; fails if another run holds the lock. `status` holds it for a moment to check for
/// a run, so this retries a few times.
pub(super) fn take_lock(out: &Path, paths: &Paths) -> Result<Lock, ReportError> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(BETWEEN_ATTEMPTS);
        }
        if let Some(lock) = Lock::try_exclusive(&paths.lock)? {
            return Ok(lock);
        }
    }
    Err(ReportError::OutInUse {
        out: out.to_owned(),
    })
}

/// Writes the files of a manifest; without `manifest.json` one of an earlier run is removed.
pub(super) fn write_files(
    manifest: &mut Manifest,
    paths: &Paths,
    with_json: bool,
) -> Result<(), ReportError> {
    let encode = |cause| ReportError::Encode {
        what: "the run",
        cause,
    };
    manifest.sort();
    let positions = rows::note_toolchains(manifest);
    let run = manifest.head_json().map_err(encode)? + "\n";
    let head = with_json.then(|| manifest.head_of_json()).transpose();
    let head = head.map_err(encode)?;
    let manifest = &*manifest;
    let write_rows = || {
        // The rows are written first: a reader checks that their run is that of `run.json`.
        write_file(&paths.rows, |file| rows::write(manifest, &positions, file))?;
        fs::write(&paths.run, run)
    };
    let write_json = || match &head {
        Some(head) => write_file(&paths.json, |file| manifest.write_json_after(head, file)),
        None => fs::remove_file(&paths.json),
    };
    let write_table = || write_file(&paths.csv, |file| write_csv(manifest, file));
    // On threads of their own: each waits for the disk at its end, and the pool encodes the other files meanwhile.
    let (rows, json, csv) = thread::scope(|scope| {
        let json = scope.spawn(write_json);
        let csv = scope.spawn(write_table);
        (write_rows(), joined(json), joined(csv))
    });
    Ok(rows.and(json).and(csv)?)
}

/// Returns the result of a thread.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<PendingFile>) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let mut writer = BufWriter::with_capacity(1 << 16, PendingFile::create(path)?);
    fill(&mut writer)
        .and_then(|()| writer.flush())
        .map_err(FileError::of("write", path))?;
    let pending = writer
        .into_inner()
        .map_err(|error| FileError::of("write", path)(error.into_error()))?;
    pending.keep()
}

/// Removes the temporary files of a killed run anywhere in the directory.
fn remove_temporary(out: &Path) -> Result<(), FileError> {
    for entry in walkdir::WalkDir::new(out).into_iter().flatten() {
        if entry.file_type().is_file() && fs::is_temporary(entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
