//! The logs of one build of a manifest, with the first error on top, for `logs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::text::failure_text;
use super::{BuildRecord, read_log};
use crate::driver::Artifact;
use crate::event::ArtifactReport;
use crate::failure::{Failure, Status};
use crate::fs::FileError;
use crate::plan::BuildId;

/// Returns the paths of the logs of a build; artifacts without a log are skipped.
pub fn log_files(out: &Path, build: &BuildRecord, wanted: Option<Artifact>) -> Vec<PathBuf> {
    let logs = artifacts(build, wanted).filter_map(|report| report.log.as_ref());
    logs.map(|path| out.join(path)).collect()
}

/// The logs of a build, as JSON.
#[derive(Debug, Serialize)]
pub struct BuildLogs<'a> {
    build_id: &'a BuildId,
    artifacts: Vec<ArtifactLog<'a>>,
}

/// The log of one artifact.
#[derive(Debug, Serialize)]
struct ArtifactLog<'a> {
    artifact: Artifact,
    status: Status,
    failure: Option<&'a Failure>,
    path: Option<PathBuf>,
    text: Option<String>,
}

/// Returns the logs of a build, each with the status and the failure of its artifact.
///
/// # Errors
///
/// Fails if a log that the manifest lists cannot be read.
pub fn build_logs<'a>(
    out: &Path,
    build: &'a BuildRecord,
    wanted: Option<Artifact>,
) -> Result<BuildLogs<'a>, FileError> {
    let logs: Result<Vec<ArtifactLog<'a>>, FileError> = artifacts(build, wanted)
        .map(|report| {
            let path = report.log.as_ref().map(|path| out.join(path));
            let text = path.as_ref().map(|path| read_log(path)).transpose()?;
            Ok(ArtifactLog {
                artifact: report.artifact,
                status: report.status,
                failure: report.failure.as_ref(),
                path,
                text,
            })
        })
        .collect();
    Ok(BuildLogs {
        build_id: &build.build_id,
        artifacts: logs?,
    })
}

/// Returns the logs of a build as text: for each artifact its status, its first error, and the whole log. If two
/// artifacts have the same log (of a step that both need), it is included once.
///
/// # Errors
///
/// Fails if a log that the manifest lists cannot be read.
pub fn log_text(
    out: &Path,
    build: &BuildRecord,
    wanted: Option<Artifact>,
) -> Result<String, FileError> {
    let mut text = String::new();
    let mut shown: Option<String> = None;
    for report in artifacts(build, wanted) {
        head(&mut text, build, report);
        let Some(path) = &report.log else {
            text.push_str("no log: no job ran for it\n");
            continue;
        };
        let path = out.join(path);
        let log = read_log(&path)?;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "log: {}", path.display());
        if shown.as_ref() == Some(&log) {
            text.push_str("the same log as above\n");
            continue;
        }
        let _ = writeln!(text, "\n{}", log.trim_end());
        shown = Some(log);
    }
    Ok(text)
}

fn artifacts(
    build: &BuildRecord,
    wanted: Option<Artifact>,
) -> impl Iterator<Item = &ArtifactReport> {
    let is_wanted =
        move |report: &&ArtifactReport| wanted.is_none_or(|artifact| artifact == report.artifact);
    build.artifacts.iter().filter(is_wanted)
}

fn head(text: &mut String, build: &BuildRecord, report: &ArtifactReport) {
    if !text.is_empty() {
        text.push('\n');
    }
    let before = if report.failure_is_cached {
        " (in an earlier run)"
    } else {
        ""
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}, {}: {}{before}",
        build.build_id, report.artifact, report.status
    );
    if let Some(failure) = &report.failure {
        let _ = writeln!(text, "{}", failure_text(failure));
    }
}
