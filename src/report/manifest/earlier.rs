//! Manifests of earlier runs: which are stored, and for how long.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::extent::Extent;
use super::read::Paths;
use super::record::Executor;
use super::rows::{ROWS_FILE, RUN_FILE};
use crate::event::NO_EXECUTOR;
use crate::fs::{self, FileError};
use crate::report::ReportError;

/// The default number of nights for which manifests are stored.
pub const KEEP_NIGHTS: u16 = 30;

/// The maximum number of stored manifests of one night.
const OF_ONE_NIGHT: usize = 8;

/// The maximum number of stored manifests of partial runs and of runs with nothing to do.
const OTHERS: usize = 8;

/// The line after which the builds of a manifest follow, one per line: see [`super::Manifest::write_json`].
const BUILDS: &[u8] = b"  \"builds\": [";

/// The fields of a manifest that show what kind of run it describes.
#[derive(Deserialize)]
struct Head {
    run: HeadRun,
    #[serde(default)]
    executor: Option<Executor>,
}

#[derive(Deserialize)]
struct HeadRun {
    id: String,
    started: Timestamp,
    #[serde(flatten)]
    extent: Extent,
}

impl Head {
    /// Returns true for a complete night.
    fn is_complete(&self) -> bool {
        self.run.extent.is_complete()
    }

    /// Returns true for a run of the whole plan that had something to do.
    fn is_night(&self) -> bool {
        let had_nothing = |executor: &Executor| executor.name == NO_EXECUTOR;
        !self.run.extent.is_partial() && !self.executor.as_ref().is_some_and(had_nothing)
    }
}

/// Reads the manifest without its builds, which can be a hundred times as long as the rest.
fn head_of(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = FileError::of("read", path);
    let mut reader = match std::fs::File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) => return Err(failed(error)),
    };
    let mut head = Vec::new();
    loop {
        let start = head.len();
        match reader.read_until(b'\n', &mut head) {
            Ok(0) => return Ok(head),
            Ok(_) if head[start..].starts_with(BUILDS) => {
                head.truncate(start);
                head.extend_from_slice(BUILDS);
                head.extend_from_slice(b"]}");
                return Ok(head);
            }
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Stores the manifest that is about to be replaced, if it belongs to another run.
pub(super) fn keep_earlier(
    out: &Path,
    paths: &Paths,
    run_id: &str,
    keep_nights: usize,
) -> Result<(), ReportError> {
    let is_of_rows = paths.run.exists();
    let bytes = if is_of_rows {
        fs::read(&paths.run)
    } else {
        head_of(&paths.json)
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let name = match serde_json::from_slice::<Head>(&bytes) {
        Ok(head) if head.run.id == run_id => return Ok(()),
        Ok(head) => {
            let is_plain = |found: char| found.is_ascii_alphanumeric() || found == '-';
            let id: String = head
                .run
                .id
                .chars()
                .filter(|&found| is_plain(found))
                .collect();
            // Microseconds distinguish runs of the same second: the names sort in the order of the runs.
            let started = head.run.started.strftime("%Y%m%dT%H%M%S%.6fZ");
            format!("{started}-{id}")
        }
        // Not a manifest, so it is kept.
        Err(_) => "unreadable".to_owned(),
    };
    if is_of_rows {
        let folder = paths.earlier.join(name);
        fs::link_or_copy(&paths.run, &folder.join(RUN_FILE))?;
        if paths.rows.exists() {
            fs::link_or_copy(&paths.rows, &folder.join(ROWS_FILE))?;
        }
    } else {
        fs::link_or_copy(&paths.json, &paths.earlier.join(format!("{name}.json")))?;
    }
    prune(out, keep_nights)
}

/// Removes surplus manifests: of full runs, all but those of the newest `keep_nights` dates; of other runs (partial,
/// or with nothing to do), all but the newest few, so that these do not displace nights. The newest complete night is
/// always kept, since later runs are compared with it.
fn prune(out: &Path, keep_nights: usize) -> Result<(), ReportError> {
    let mut nights: Vec<(Date, usize)> = Vec::new();
    let mut others = 0;
    let mut has_complete = false;
    for path in earlier_manifests(out)? {
        let head = head_at(&path)?;
        let night = head.as_ref().filter(|head| head.is_night());
        let is_complete = head.as_ref().is_some_and(Head::is_complete);
        let is_newest_complete = is_complete && !has_complete;
        has_complete |= is_complete;
        let is_kept = if let Some(head) = night {
            let date = head.run.started.to_zoned(TimeZone::UTC).date();
            // The paths are sorted from new to old.
            if nights.last().is_none_or(|(last, _)| *last != date) {
                nights.push((date, 0));
            }
            let runs = nights.last_mut().map(|(_, runs)| {
                *runs += 1;
                *runs
            });
            nights.len() <= keep_nights && runs.is_some_and(|runs| runs <= OF_ONE_NIGHT)
        } else {
            others += 1;
            others <= OTHERS
        };
        if is_kept || is_newest_complete {
            continue;
        }
        if path.is_dir() {
            fs::remove_folder(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn head_at(path: &Path) -> Result<Option<Head>, FileError> {
    let bytes = if path.is_dir() {
        fs::read(&path.join(RUN_FILE))?
    } else {
        head_of(path)?
    };
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Returns the stored manifests of earlier runs with this output directory, the newest first.
pub fn earlier_manifests(out: &Path) -> Result<Vec<PathBuf>, FileError> {
    let folder = Paths::under(out).earlier;
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of("read directory", folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(FileError::of("read directory", &folder))?
            .path();
        let is_json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        if is_json || path.join(RUN_FILE).is_file() {
            paths.push(path);
        }
    }
    // The names start with the time.
    paths.sort_unstable_by(|left, right| right.cmp(left));
    Ok(paths)
}

/// Returns the stored manifest of the newest complete night before the last run with the output directory `out`.
pub fn newest_complete(out: &Path) -> Result<Option<PathBuf>, FileError> {
    for path in earlier_manifests(out)? {
        // A manifest that cannot be read is skipped.
        if let Ok(Some(head)) = head_at(&path)
            && head.is_complete()
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
