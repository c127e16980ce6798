//! Progress on a pipe or in CI: plain lines, one when a build ends.
//!
//! Builds that cost nothing are counted, not listed, unless `--verbose` asks for it.

use std::time::{Duration, Instant};

use super::tally::{Tally, worked};
use super::text::{count, counted, duration, shorten};
use super::{LiveProgress, ReportError, Reporter, Style, Terminal, clean};
use crate::event::{ArtifactReport, BuildReport, Event, EventKind, NO_EXECUTOR};
use crate::failure::{Failure, Status};

/// How long nothing may be said while builds are running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long counted builds may go untold.
const QUIET: Duration = Duration::from_secs(10);

/// The display that suits the terminal: redrawn in place, or plain lines.
pub fn progress(terminal: Terminal, is_verbose: bool) -> Box<dyn Reporter> {
    if terminal.style().is_live {
        Box::new(LiveProgress::new(terminal, is_verbose))
    } else {
        Box::new(PlainProgress::new(terminal, is_verbose))
    }
}

/// Plain lines.
pub struct PlainProgress {
    terminal: Terminal,
    is_verbose: bool,
    tally: Tally,
    last_line: Instant,
    last_quiet: Instant,
    is_over: bool,
}

impl PlainProgress {
    /// `is_verbose` lists every build.
    pub fn new(terminal: Terminal, is_verbose: bool) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            is_verbose,
            tally: Tally::default(),
            last_line: now,
            last_quiet: now,
            is_over: false,
        }
    }

    fn print(&mut self, line: &str, now: Instant) {
        self.terminal.print(line);
        self.last_line = now;
    }

    fn tell_quiet(&mut self, now: Instant) {
        self.last_quiet = now;
        let told = self.tally.quiet.take();
        if let Some(words) = told.filter(|_| !self.is_verbose) {
            let line = format!("{} {words}", self.tally.position());
            self.print(&line, now);
        }
    }

    fn beat(&mut self, now: Instant) {
        let running = self.tally.longest_first();
        let mut parts = vec![format!(
            "{} {} running",
            self.tally.position(),
            running.len()
        )];
        if let Some((build, state)) = running.first() {
            let time = duration(self.tally.elapsed(now).saturating_sub(state.since));
            let phase = state.phase.map_or("waiting", |phase| phase.as_str());
            parts.push(format!("longest {time}: {build} ({phase})"));
        }
        if let Some(remaining) = self.tally.remaining() {
            parts.push(format!("about {} left", duration(remaining)));
        }
        let line = parts.join(", ");
        self.print(&line, now);
    }
}

impl Reporter for PlainProgress {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        let now = Instant::now();
        self.tally.apply(event);
        let style = self.terminal.style();
        for line in event_lines(event, style) {
            self.print(&line, now);
        }
        match &event.kind {
            EventKind::BuildFinished(report) if self.is_verbose || !Tally::is_quiet(report) => {
                for line in build_lines(report, style) {
                    let line = format!("{} {line}", self.tally.position());
                    self.print(&line, now);
                }
            }
            EventKind::RunFinished { .. } => {
                self.tell_quiet(now);
                self.is_over = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        if self.is_over {
            return Ok(());
        }
        if now.saturating_duration_since(self.last_quiet) >= QUIET {
            self.tell_quiet(now);
        }
        let is_running = !self.tally.running.is_empty();
        if is_running && now.saturating_duration_since(self.last_line) >= HEARTBEAT {
            self.beat(now);
        }
        Ok(())
    }
}

/// Lines for events that are not about a finished build.
pub(super) fn event_lines(event: &Event, style: Style) -> Vec<String> {
    match &event.kind {
        EventKind::RunStarted(facts) => {
            let mut parts = vec![
                format!(
                    "{}, {} wanted",
                    counted(facts.builds, "build"),
                    counted(facts.artifacts, "artifact"),
                ),
                if facts.executor == NO_EXECUTOR {
                    "all of it is known already".to_owned()
                } else {
                    format!(
                        "executor {} {}, {} at once",
                        facts.executor,
                        clean(&facts.executor_version),
                        counted(facts.jobs, "job"),
                    )
                },
            ];
            if let Some(shard) = &facts.shard {
                parts.push(format!("shard {shard}"));
            }
            if !facts.left_out.is_empty() {
                parts.push(format!("{} left out by rules", count(facts.left_out.len())));
            }
            vec![parts.join("; ")]
        }
        EventKind::Note { message } => {
            vec![format!("{}: {}", style.warning("note"), clean(message))]
        }
        EventKind::Stopping { reason } => {
            vec![format!("{}: {}", style.warning("stopping"), clean(reason))]
        }
        EventKind::Retrying {
            build,
            failure,
            attempt,
            wait,
        } => vec![format!(
            "{}: {build}: {}: {}; attempt {attempt} failed, the next one is in {}",
            style.warning("retrying"),
            failure.class,
            clean(&failure.message),
            duration(*wait),
        )],
        _ => Vec::new(),
    }
}

/// Lines for a finished build: one for all artifacts that ended alike.
pub(super) fn build_lines(report: &BuildReport, style: Style) -> Vec<String> {
    let mut groups: Vec<(&ArtifactReport, Vec<&str>)> = Vec::new();
    for artifact in &report.artifacts {
        let is_alike = |(first, _): &&mut (&ArtifactReport, Vec<&str>)| {
            first.status == artifact.status && first.failure == artifact.failure
        };
        match groups.iter_mut().find(is_alike) {
            Some((_, names)) => names.push(artifact.artifact.as_str()),
            None => groups.push((artifact, vec![artifact.artifact.as_str()])),
        }
    }
    let time = duration(worked(report));
    let line = |(artifact, names): (&ArtifactReport, Vec<&str>)| {
        let word = status_word(artifact.status, style);
        let failure = match &artifact.failure {
            Some(failure) => format!(": {}", failure_text(failure)),
            None => String::new(),
        };
        let as_before = if artifact.failure_is_cached {
            " (as before)"
        } else {
            ""
        };
        format!(
            "{word} {} {time} {}{failure}{as_before}",
            names.join("+"),
            report.build_id
        )
    };
    groups.into_iter().map(line).collect()
}

/// The status padded to a column, coloured.
fn status_word(status: Status, style: Style) -> String {
    let word = format!("{status:<7}");
    match status {
        Status::Built | Status::Cached => style.good(&word),
        Status::Failed | Status::Error | Status::Unresolvable => style.bad(&word),
        Status::Cancelled | Status::NotRun | Status::Known | Status::Excluded => {
            style.warning(&word)
        }
    }
}

/// Class and first error of a failure, one line.
pub(super) fn failure_text(failure: &Failure) -> String {
    match &failure.first_error {
        Some(error) => {
            let error = error.to_string();
            format!("{}: {}", failure.class, shorten(&clean(&error), 300))
        }
        None => format!("{}: {}", failure.class, clean(&failure.message)),
    }
}
