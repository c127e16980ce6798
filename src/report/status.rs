//! The status of a run, read from its journal, for `status`; the run may be in progress in another process.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::journal::{JournalError, read_journal};
use super::manifest::{Paths, is_being_written, seconds};
use super::tally::Tally;
use super::text::duration;
use crate::event::{Event, EventKind};
use crate::failure::{Phase, Status};
use crate::plan::BuildId;
use crate::text::{count, separated};

/// The maximum number of running builds that are listed as text.
const LISTED: usize = 20;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// The run is in progress.
    Running,
    /// The run has finished.
    Finished,
    /// The run or its machine was killed.
    Killed,
}

/// A running build.
#[derive(Clone, Debug, Serialize)]
pub struct RunningBuild {
    /// The ID of the build.
    pub build_id: BuildId,
    /// The current phase; `None` while the build waits.
    pub phase: Option<Phase>,
    /// How long it has been running, in seconds.
    pub seconds: f64,
}

/// The status of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunStatus {
    /// The ID of the run.
    pub run_id: String,
    /// The state.
    pub state: RunState,
    /// When it began.
    pub started: Timestamp,
    /// How long the run has been running, or took, in seconds.
    pub elapsed_seconds: f64,
    /// The estimated remaining time, in seconds.
    pub remaining_seconds: Option<f64>,
    /// The exit code of a run that has finished.
    pub exit_code: Option<u8>,
    /// The number of builds in the plan.
    pub builds_planned: usize,
    /// The number of builds that have ended.
    pub builds_finished: usize,
    /// The number of artifacts that have ended, by status.
    pub artifacts: BTreeMap<Status, usize>,
    /// Running builds, the longest first.
    pub running: Vec<RunningBuild>,
}

/// Returns the status of the run that writes to the output directory `out`, or of the last one; `None` if there was
/// none. Changes nothing.
pub fn run_status(out: &Path) -> Result<Option<RunStatus>, JournalError> {
    let paths = Paths::under(out);
    if !paths.lock.exists() {
        return Ok(None);
    }
    for path in [&paths.journal, &paths.previous_journal] {
        let mut progress = Progress::default();
        match read_journal(path, |event| progress.apply(&event)) {
            Ok(_) => {}
            Err(JournalError::File(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        }
        let is_running = path == &paths.journal && is_being_written(out)?;
        if let Some(status) = progress.status(is_running) {
            return Ok(Some(status));
        }
    }
    Ok(None)
}

/// The state accumulated from the events of a journal.
#[derive(Default)]
struct Progress {
    tally: Tally,
    /// The ID of the run, and when it began.
    run: Option<(String, Timestamp)>,
    /// The time of the last event, as a timestamp and relative to the start of the run.
    last: Option<(Timestamp, Duration)>,
    exit_code: Option<u8>,
}

impl Progress {
    fn apply(&mut self, event: &Event) {
        self.tally.apply(event);
        self.last = Some((event.at, event.elapsed));
        match &event.kind {
            EventKind::RunStarted(facts) => self.run = Some((facts.run_id.clone(), facts.started)),
            EventKind::RunFinished { exit_code, .. } => self.exit_code = Some(*exit_code),
            _ => {}
        }
    }

    /// Returns the status; `None` if the journal has no run.
    fn status(self, is_running: bool) -> Option<RunStatus> {
        let Self {
            tally, exit_code, ..
        } = self;
        let (run_id, started) = self.run?;
        let (at, mut elapsed) = self.last?;
        if is_running {
            let since = Timestamp::now().duration_since(at);
            elapsed += Duration::try_from(since).unwrap_or_default();
        }
        let running = tally.longest_first().into_iter();
        let running = running.map(|(build, running)| RunningBuild {
            build_id: build.clone(),
            phase: running.phase,
            seconds: seconds(elapsed.saturating_sub(running.since)),
        });
        Some(RunStatus {
            run_id,
            state: match (is_running, exit_code) {
                (true, _) => RunState::Running,
                (false, Some(_)) => RunState::Finished,
                (false, None) => RunState::Killed,
            },
            started,
            elapsed_seconds: seconds(elapsed),
            remaining_seconds: tally.remaining().filter(|_| is_running).map(seconds),
            exit_code,
            builds_planned: tally.builds,
            builds_finished: tally.done,
            running: running.collect(),
            artifacts: tally.artifacts,
        })
    }
}

/// Returns a status as text.
pub fn draw_status(status: &RunStatus) -> String {
    let spent = duration(Duration::from_secs_f64(status.elapsed_seconds));
    let started = status.started.strftime("%Y-%m-%d %H:%M:%S UTC");
    let state = match (status.state, status.exit_code) {
        (RunState::Running, _) => format!("running for {spent}, since {started}"),
        (RunState::Finished, Some(code)) => {
            format!("finished with exit code {code} after {spent}; started {started}")
        }
        _ => format!("killed after {spent}; started {started}"),
    };
    let left = status.remaining_seconds.map(Duration::from_secs_f64);
    let left = left.map_or_else(String::new, |left| {
        format!(", about {} left", duration(left))
    });
    let by_status: Vec<String> = status
        .artifacts
        .iter()
        .map(|(status, count)| format!("{status} {}", separated(*count)))
        .collect();
    let mut lines = vec![
        format!("{}: {state}", status.run_id),
        format!(
            "{} of {}{left}",
            separated(status.builds_finished),
            count(status.builds_planned, "build")
        ),
    ];
    if !by_status.is_empty() {
        lines.push(format!("artifacts: {}", by_status.join(", ")));
    }
    for build in status.running.iter().take(LISTED) {
        let spent = duration(Duration::from_secs_f64(build.seconds));
        let phase = build.phase.map_or("waiting", Phase::as_str);
        lines.push(format!("  {spent:>8}  {phase:<9} {}", build.build_id));
    }
    if status.running.len() > LISTED {
        let more = status.running.len() - LISTED;
        lines.push(format!("  and {} more running", separated(more)));
    }
    lines.join("\n") + "\n"
}
