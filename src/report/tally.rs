//! Where a run stands: what both displays count.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::Expected;
use crate::event::{BuildReport, Event, EventKind};
use crate::failure::{Phase, Status};
use crate::plan::BuildId;
use crate::text::separated;

/// A build under way.
pub(super) struct Running {
    /// When it left the queue, from the start of the run.
    pub(super) since: Duration,
    /// What it is at.
    pub(super) phase: Option<Phase>,
    /// Since when it is at that.
    pub(super) phase_since: Duration,
    /// Whether that is under way, and does not wait for a slot or for another build.
    pub(super) is_working: bool,
}

impl Running {
    /// What it is at, for a person: `module`, or `waiting`.
    pub(super) fn word(&self) -> &'static str {
        match self.phase {
            Some(phase) if self.is_working => phase.as_str(),
            _ => "waiting",
        }
    }
}

/// Whether the work of a phase is a job, which has a log while it runs.
fn runs_a_job(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Prepare | Phase::Configure | Phase::Check | Phase::Module | Phase::Probe
    )
}

/// Builds that cost nothing, and so are counted rather than listed.
#[derive(Default)]
pub(super) struct Quiet {
    cached: usize,
    failed_again: usize,
    not_run: usize,
}

impl Quiet {
    /// Whether every artifact of a build was already there, failed as in an earlier run, or was not begun.
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

    /// `1,000 cached, 3 failed as before`; `None` when there is nothing to tell. Starts again at zero.
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

/// The state of a run, kept from its events.
#[derive(Default)]
pub(super) struct Tally {
    started: Option<Instant>,
    jobs: usize,
    /// Builds of the plan.
    pub(super) builds: usize,
    /// Builds that have ended.
    pub(super) done: usize,
    /// Artifacts that have ended, by status.
    pub(super) artifacts: BTreeMap<Status, usize>,
    /// Builds under way.
    pub(super) running: HashMap<BuildId, Running>,
    /// What has not been told yet.
    pub(super) quiet: Quiet,
    worked: Duration,
    worked_builds: usize,
    expected: Expected,
}

impl Tally {
    /// Knows what the builds took earlier.
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Takes the next event.
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

    /// Whether a finished build is counted rather than listed.
    pub(super) fn is_quiet(report: &BuildReport) -> bool {
        Quiet::is_about(report)
    }

    /// How long the run has been going on.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| {
            now.saturating_duration_since(started)
        })
    }

    /// How long the rest will take by earlier runs, or if it goes on as before; `None` as long as nothing is known of it.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let worked_builds = u32::try_from(self.worked_builds).ok()?;
        let mean = self.worked.checked_div(worked_builds);
        let left = self.builds.saturating_sub(self.done);
        let jobs = u32::try_from(self.jobs).ok()?;
        Some(self.expected.remaining(left, mean)? / jobs.max(1))
    }

    /// How many builds wait.
    pub(super) fn waiting(&self) -> usize {
        let running = self.running.values();
        running.filter(|running| !running.is_working).count()
    }

    /// `[ 12/64]`.
    pub(super) fn position(&self) -> String {
        let builds = separated(self.builds);
        let width = builds.len();
        format!("[{:>width$}/{builds}]", separated(self.done))
    }

    /// `artifacts: built 10, failed 1`.
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

    /// Builds under way, the longest first.
    pub(super) fn longest_first(&self) -> Vec<(&BuildId, &Running)> {
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_unstable_by_key(|(build, running)| (running.since, *build));
        running
    }
}

/// The time that a build spent at work, waiting not included.
pub(super) fn worked(report: &BuildReport) -> Duration {
    report.phases.iter().map(|(_, duration)| *duration).sum()
}
