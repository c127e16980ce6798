//! The state of a run that both displays show.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::Expected;
use crate::event::{BuildReport, Event, EventKind};
use crate::failure::{Phase, Status};
use crate::plan::BuildId;
use crate::text::separated;

/// A running build.
pub(super) struct Running {
    /// When it left the queue, relative to the start of the run.
    pub(super) since: Duration,
    /// The current phase.
    pub(super) phase: Option<Phase>,
    /// When the phase began, relative to the start of the run.
    pub(super) phase_since: Duration,
    /// True if the phase is executing, and not waiting for a slot or another build.
    pub(super) is_working: bool,
}

impl Running {
    /// Returns the current phase for a person: `module`, or `waiting`.
    pub(super) fn word(&self) -> &'static str {
        match self.phase {
            Some(phase) if self.is_working => phase.as_str(),
            _ => "waiting",
        }
    }
}

/// Returns true if a phase runs a job, which has a log while it runs.
fn runs_a_job(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Prepare | Phase::Configure | Phase::Check | Phase::Module | Phase::Probe
    )
}

/// Builds that did no work, which are counted instead of listed.
#[derive(Default)]
pub(super) struct Quiet {
    cached: usize,
    failed_again: usize,
    not_run: usize,
}

impl Quiet {
    /// Returns true if every artifact of a build was cached, has a cached failure, or was not started.
    fn is_about(report: &BuildReport) -> bool {
        report.artifacts.iter().all(|artifact| {
            artifact.failure_is_cached || matches!(artifact.status, Status::Cached | Status::NotRun)
        })
    }

    fn add(&mut self, report: &BuildReport) {
        let has = |status| {
            report
                .artifacts
                .iter()
                .any(|artifact| artifact.status == status)
        };
        let counter = if report
            .artifacts
            .iter()
            .any(|artifact| artifact.failure_is_cached)
        {
            &mut self.failed_again
        } else if has(Status::NotRun) {
            &mut self.not_run
        } else {
            &mut self.cached
        };
        *counter += 1;
    }

    /// Returns text such as `1,000 cached, 3 failed as before`, or `None` if all counts are zero. Resets the counts.
    pub(super) fn take(&mut self) -> Option<String> {
        let Self {
            cached,
            failed_again,
            not_run,
        } = std::mem::take(self);
        let parts = [
            (cached, "cached"),
            (failed_again, "failed as before"),
            (not_run, "not run"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|&(number, _)| number > 0)
            .map(|(number, words)| format!("{} {words}", separated(number)))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The state of a run, accumulated from its events.
#[derive(Default)]
pub(super) struct Tally {
    started: Option<Instant>,
    jobs: usize,
    /// The number of builds in the plan.
    pub(super) builds: usize,
    /// The number of builds that have ended.
    pub(super) done: usize,
    /// The number of artifacts that have ended, by status.
    pub(super) artifacts: BTreeMap<Status, usize>,
    /// The running builds.
    pub(super) running: HashMap<BuildId, Running>,
    /// The builds that have not been reported yet.
    pub(super) quiet: Quiet,
    worked: Duration,
    worked_builds: usize,
    expected: Expected,
}

impl Tally {
    /// Creates a tally that estimates the remaining time from the durations of earlier builds.
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Processes the next event.
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted(facts) => {
                self.started = Instant::now().checked_sub(event.elapsed);
                self.jobs = facts.jobs.max(1);
                self.builds = facts.builds;
            }
            EventKind::BuildStarted { build } => {
                let running = Running {
                    since: event.elapsed,
                    phase: None,
                    phase_since: event.elapsed,
                    is_working: false,
                };
                self.running.insert(build.clone(), running);
            }
            EventKind::PhaseStarted {
                build,
                phase,
                live_log,
            } => {
                if let Some(running) = self.running.get_mut(build) {
                    running.phase = Some(*phase);
                    running.phase_since = event.elapsed;
                    running.is_working = live_log.is_some() || !runs_a_job(*phase);
                }
            }
            EventKind::BuildFinished(report) => self.finish(report),
            _ => {}
        }
    }

    fn finish(&mut self, report: &BuildReport) {
        self.running.remove(&report.build_id);
        self.expected.finish(&report.build_id);
        self.done += 1;
        for artifact in &report.artifacts {
            *self.artifacts.entry(artifact.status).or_default() += 1;
        }
        if Quiet::is_about(report) {
            self.quiet.add(report);
        } else {
            self.worked += worked(report);
            self.worked_builds += 1;
        }
    }

    /// Returns true if a finished build is counted instead of listed.
    pub(super) fn is_quiet(report: &BuildReport) -> bool {
        Quiet::is_about(report)
    }

    /// Returns how long the run has been running.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| {
            now.saturating_duration_since(started)
        })
    }

    /// Estimates the remaining time from earlier runs, or from the builds so far; `None` if neither has enough data.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let worked_builds = u32::try_from(self.worked_builds).ok()?;
        let mean = self.worked.checked_div(worked_builds);
        let left = self.builds.saturating_sub(self.done);
        let jobs = u32::try_from(self.jobs).ok()?;
        Some(self.expected.remaining(left, mean)? / jobs.max(1))
    }

    /// Returns the number of waiting builds.
    pub(super) fn waiting(&self) -> usize {
        let running = self.running.values();
        running.filter(|running| !running.is_working).count()
    }

    /// Returns text such as `[ 12/64]`.
    pub(super) fn position(&self) -> String {
        let builds = separated(self.builds);
        let width = builds.len();
        format!("[{:>width$}/{builds}]", separated(self.done))
    }

    /// Returns text such as `artifacts: built 10, failed 1`.
    pub(super) fn by_status(&self) -> String {
        let parts: Vec<String> = Status::ALL
            .into_iter()
            .filter_map(|status| {
                Some(format!(
                    "{status} {}",
                    separated(*self.artifacts.get(&status)?)
                ))
            })
            .collect();
        if parts.is_empty() {
            return String::new();
        }
        format!("artifacts: {}", parts.join(", "))
    }

    /// Returns the running builds, the longest first.
    pub(super) fn longest_first(&self) -> Vec<(&BuildId, &Running)> {
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_unstable_by_key(|(build, running)| (running.since, *build));
        running
    }
}

/// Returns the time that a build spent in its phases, without waiting.
pub(super) fn worked(report: &BuildReport) -> Duration {
    report.phases.iter().map(|(_, duration)| *duration).sum()
}
