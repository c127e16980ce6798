//! Reads only the results of builds from rows, without their inputs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde::de::Error as _;

use crate::driver::Artifact;
use crate::event::{ArtifactReport, Common, KnownBy, ProofReport};
use crate::failure::{Failure, Phase, Status};
use crate::kernel::Architecture;
use crate::plan::BuildId;
use crate::report::BuildRecord;

/// A row of a build, with borrowed names.
#[derive(Deserialize)]
struct OutcomeRow<'a> {
    build_id: BuildId,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow)]
    kernel_release: Cow<'a, str>,
    #[serde(borrow)]
    kernel_version: Cow<'a, str>,
    architecture: Architecture,
    #[serde(borrow)]
    driver_version: Cow<'a, str>,
    status: Status,
    #[serde(borrow)]
    source: Cow<'a, str>,
    first_seen: Option<Date>,
    #[serde(borrow)]
    artifacts: Vec<OutcomeArtifact<'a>>,
    attempts: usize,
    started: Timestamp,
    finished: Timestamp,
    duration_seconds: f64,
    queued_seconds: Option<f64>,
    phase_seconds: BTreeMap<Phase, f64>,
    cpu_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct OutcomeArtifact<'a> {
    artifact: Artifact,
    status: Status,
    failure: Option<Failure>,
    failure_is_cached: bool,
    #[serde(borrow)]
    log: Option<Cow<'a, str>>,
    made_at: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    failing_nights: Option<u32>,
    known: Option<Arc<KnownBy>>,
    proof: Option<ProofReport>,
}

/// Reads the row of a build. Names that are the same in `last`, the previous row, are shared: builds of one kernel
/// are adjacent.
pub(super) fn read(line: &[u8], last: Option<&BuildRecord>) -> serde_json::Result<BuildRecord> {
    let row: OutcomeRow<'_> = serde_json::from_slice(line)?;
    Ok(BuildRecord {
        target: shared(&row.target, last.map(|last| &last.target), |one| {
            one.as_str()
        })?,
        kernel_release: shared(
            &row.kernel_release,
            last.map(|last| &last.kernel_release),
            |one| one.as_str(),
        )?,
        kernel_version: shared(
            &row.kernel_version,
            last.map(|last| &last.kernel_version),
            |one| one.as_str(),
        )?,
        driver_version: shared(
            &row.driver_version,
            last.map(|last| &last.driver_version),
            |one| one.as_str(),
        )?,
        source: match last {
            Some(last) if *last.source == *row.source => Arc::clone(&last.source),
            _ => row.source.into(),
        },
        artifacts: row.artifacts.into_iter().map(Into::into).collect(),
        build_id: row.build_id,
        architecture: row.architecture,
        status: row.status,
        module_name: String::new(),
        device_name: String::new(),
        first_seen: row.first_seen,
        inputs: Common::default(),
        driver_sha256: None,
        toolchain: None,
        tree: None,
        checks: Common::default(),
        attempts: row.attempts,
        retries: Vec::new(),
        started: row.started,
        finished: row.finished,
        duration_seconds: row.duration_seconds,
        queued_seconds: row.queued_seconds,
        phase_seconds: row.phase_seconds,
        cpu_seconds: row.cpu_seconds,
        peak_memory_bytes: row.peak_memory_bytes,
    })
}

fn shared<T: Clone + FromStr<Err: Display>>(
    text: &str,
    last: Option<&T>,
    text_of: impl Fn(&T) -> &str,
) -> serde_json::Result<T> {
    match last {
        Some(last) if text_of(last) == text => Ok(last.clone()),
        _ => text.parse().map_err(serde_json::Error::custom),
    }
}

impl From<OutcomeArtifact<'_>> for ArtifactReport {
    fn from(row: OutcomeArtifact<'_>) -> Self {
        // Only the logs of failed artifacts are used.
        let log = row.log.filter(|_| row.failure.is_some());
        Self {
            status: row.status,
            failure: row.failure,
            failure_is_cached: row.failure_is_cached,
            log: log.map(|log| Path::new(&*log).to_owned()),
            made_at: row.made_at,
            failing_since: row.failing_since,
            failing_nights: row.failing_nights,
            known: row.known,
            proof: row.proof,
            ..Self::not_run(row.artifact)
        }
    }
}
