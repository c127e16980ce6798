//! Reporters: what a user sees during a run, and what remains of it on disk.
//!
//! Input: events. Output: progress and a summary on the terminal, the manifest as JSON and CSV, the logs of steps. A
//! reporter only reads events and does not affect the run. [`spawn`] feeds all reporters of a run from one channel,
//! on their own thread, in the order in which they are given.
//!
//! Under `out/`, beside the artifacts:
//!
//! | path | content |
//! | --- | --- |
//! | `run.json`, `builds.jsonl.zst`, `manifest.json`, `manifest.csv` | the newest run that finished a build |
//! | `.logs/` | compressed logs, named after the artifacts; see [`log_path`] |
//! | `.driverkit-matrix/` | journal, durations of builds, earlier manifests, artifacts rebuilt for comparison |
//!
//! No driver version starts with a dot, so the internal directories can never be mistaken for one.
//! `docs/manifest.md` describes the files for readers.

mod alike;
mod asked;
mod csv;
mod differences;
mod durations;
mod excerpt;
mod expected;
mod fan_out;
mod follow;
mod groups;
mod journal;
mod live;
mod log;
mod manifest;
mod progress;
mod screen;
mod signature;
mod single;
mod status;
mod stream;
mod summary;
mod tally;
mod terminal;
mod text;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::Event;
use crate::fs::FileError;

pub use asked::Asked;
pub use csv::{COLUMNS, write_csv};
pub use differences::{Difference, DifferenceKind, differences};
pub use durations::Durations;
pub use excerpt::{BuildLogs, build_logs, log_files, log_text};
pub use expected::Expected;
pub use fan_out::spawn;
pub use follow::{FollowError, Followed, follow_log};
pub use journal::{JournalEnd, JournalError, read_journal};
pub use live::LiveProgress;
pub use log::{LogLimits, LogWriter, log_path, read_log};
pub use manifest::{
    BuildRecord, Columns, Excluded, Exit, Extent, IndexArtifact, IndexRow, KEEP_NIGHTS,
    LeftOutGroup, Manifest, ManifestError, ManifestReporter, ManifestUpdate, MergeError, Named,
    RowsError, Run, SCHEMA, Totals, UpdateError, digest_of_inputs, earlier_manifests, find_rows,
    manifest_file, manifests_below, merge_manifests, newest_complete, read_index, read_manifest,
    read_night, shards_in, template, write_manifest,
};
pub use progress::{PlainProgress, progress};
pub use signature::{BuildNames, signature, signature_expression};
pub use single::{Detail, SingleProgress};
pub use status::{RunState, RunStatus, RunningBuild, draw_status, run_status};
pub use stream::JsonLines;
pub use summary::Summary;
pub use terminal::{Style, Terminal, clean};

/// The directory under `out/` for internal files.
pub const STATE_FOLDER: &str = ".driverkit-matrix";

/// The directory under `out/` for artifacts of `rebuild` without `--keep`.
pub const REBUILT_FOLDER: &str = ".driverkit-matrix/rebuilt";

/// The suffix of an attestation's name after that of its artifact.
pub const ATTESTATION_SUFFIX: &str = ".intoto.jsonl";

/// Returns the path of the attestation of the artifact at `path`.
pub fn attestation_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ATTESTATION_SUFFIX);
    name.into()
}

/// The directory under `out/` for logs.
const LOG_FOLDER: &str = ".logs";

/// Processes the events of a run.
pub trait Reporter: Send {
    /// Processes the next event.
    fn report(&mut self, event: &Event) -> Result<(), ReportError>;

    /// Processes several events in order, like [`Self::report`] for each; returns the first error. The first and the
    /// last event of a run always come alone.
    fn report_all(&mut self, events: &[Event]) -> Result<(), ReportError> {
        let results = events.iter().map(|event| self.report(event));
        results.fold(Ok(()), Result::and)
    }

    /// Called about ten times a second, also without events, to redraw and to write buffered data.
    fn tick(&mut self, _now: Instant) -> Result<(), ReportError> {
        Ok(())
    }

    /// Returns true if it writes files durably, which may take seconds while the disk is busy.
    fn waits_for_disk(&self) -> bool {
        false
    }

    /// Called once, after the last event.
    fn finish(&mut self) -> Result<(), ReportError> {
        Ok(())
    }
}

/// An error of a reporter.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal of a killed run cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A value cannot be encoded as JSON.
    #[error("failed to encode {what} as JSON: {cause}")]
    Encode {
        /// The kind of value.
        what: &'static str,
        /// The cause.
        cause: serde_json::Error,
    },
    /// Another run uses the output directory; the two would overwrite each other's manifest.
    #[error(
        "another run is writing to {}: wait for its end or give this one its own output directory",
        out.display()
    )]
    OutInUse {
        /// Output directory.
        out: PathBuf,
    },
}

impl ReportError {
    /// Returns true if the disk or the quota is full, so that continuing is pointless.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_disk_full())
    }
}
