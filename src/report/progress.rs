//! Progress on a pipe or in CI: plain lines, one when a build ends.
//!
//! Builds that cost nothing are counted, not listed, unless `--verbose` asks for it.

use std::time::{Duration, Instant};

use super::alike::{Alike, kind_of_build, kind_of_failure};
use super::tally::{Tally, worked};
use super::text::{duration, failure_text};
use super::{Asked, Expected, LiveProgress, ReportError, Reporter, Style, Terminal, clean};
use crate::event::{ArtifactReport, BuildReport, Event, EventKind, NO_EXECUTOR};
use crate::failure::Status;
use crate::text::{count, separated};

/// How long nothing may be said while builds are running; each line about them doubles it.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long counted builds may go untold.
const QUIET: Duration = Duration::from_secs(10);

/// Each of these lines doubles the wait for the next one, up to this.
const LONGEST_QUIET: Duration = Duration::from_mins(5);

/// The display that suits the terminal: redrawn in place, or plain lines.
pub fn progress(
    terminal: Terminal,
    is_verbose: bool,
    expected: Expected,
    asked: Asked,
) -> Box<dyn Reporter> {
    if terminal.style().is_live {
        Box::new(
            LiveProgress::new(terminal, is_verbose)
                .expecting(expected)
                .asking(asked),
        )
    } else {
        Box::new(
            PlainProgress::new(terminal, is_verbose)
                .expecting(expected)
                .asking(asked),
        )
    }
}

/// Plain lines.
pub struct PlainProgress {
    terminal: Terminal,
    is_verbose: bool,
    tally: Tally,
    last_line: Instant,
    last_quiet: Instant,
    /// How long it waits between two lines about what goes on: longer, the longer nothing else happens.
    quiet: Duration,
    heartbeat: Duration,
    alike: Alike,
    asked: Asked,
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
            quiet: QUIET,
            heartbeat: HEARTBEAT,
            alike: Alike::default(),
            asked: Asked::default(),
            is_over: false,
        }
    }

    /// Knows how long the builds took earlier.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.tally = Tally::new(expected);
        self
    }

    /// Knows what servers are being asked for.
    #[must_use]
    pub fn asking(mut self, asked: Asked) -> Self {
        self.asked = asked;
        self
    }

    fn print(&mut self, line: &str, now: Instant) {
        self.terminal.print(line);
        self.last_line = now;
    }

    fn tell_quiet(&mut self, now: Instant) {
        self.last_quiet = now;
        let told = self.tally.quiet.take().filter(|_| !self.is_verbose);
        let hidden = match self.alike.take_hidden() {
            0 => None,
            hidden => Some(format!("{} like those above", count(hidden, "more line"))),
        };
        let words: Vec<String> = told.into_iter().chain(hidden).collect();
        if !words.is_empty() {
            let line = format!("{} {}", self.tally.position(), words.join(", "));
            self.print(&line, now);
            self.quiet = (self.quiet * 2).min(LONGEST_QUIET);
        }
    }

    fn beat(&mut self, now: Instant) {
        let running = self.tally.longest_first();
        let mut parts = vec![format!(
            "{} {} running",
            self.tally.position(),
            running.len()
        )];
        if let waiting @ 1.. = self.tally.waiting() {
            parts.push(format!("{waiting} of them waiting"));
        }
        if let Some((build, state)) = running.first() {
            let time = duration(self.tally.elapsed(now).saturating_sub(state.since));
            parts.push(format!("longest {time}: {build} ({})", state.word()));
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
            if self.is_verbose || shows_event(&mut self.alike, event) {
                self.print(&line, now);
            }
        }
        match &event.kind {
            EventKind::BuildFinished(report)
                if self.is_verbose
                    || (!Tally::is_quiet(report) && shows_build(&mut self.alike, report)) =>
            {
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
        if now.saturating_duration_since(self.last_quiet) >= self.quiet {
            self.tell_quiet(now);
        }
        if let Some(line) = self.asked.due(now, Some(self.last_line)) {
            let line = format!("{} {}", self.tally.position(), clean(&line));
            self.print(&line, now);
        }
        let is_running = !self.tally.running.is_empty();
        if is_running && now.saturating_duration_since(self.last_line) >= self.heartbeat {
            self.beat(now);
            self.heartbeat = (self.heartbeat * 2).min(LONGEST_QUIET);
        }
        Ok(())
    }
}

/// Whether an event has a line of its own: of equal ones, the first few.
pub(super) fn shows_event(alike: &mut Alike, event: &Event) -> bool {
    match &event.kind {
        EventKind::Retrying { failure, .. } => {
            alike.shows(format!("retrying {}", kind_of_failure(failure)))
        }
        _ => true,
    }
}

/// Whether a finished build has lines of its own: of those that failed alike, the first few.
pub(super) fn shows_build(alike: &mut Alike, report: &BuildReport) -> bool {
    kind_of_build(report).is_none_or(|kind| alike.shows(kind))
}

/// Lines for events that are not about a finished build.
pub(super) fn event_lines(event: &Event, style: Style) -> Vec<String> {
    match &event.kind {
        EventKind::RunStarted(facts) => {
            let mut parts = vec![
                format!(
                    "{}, {} wanted",
                    count(facts.builds, "build"),
                    count(facts.artifacts, "artifact"),
                ),
                if facts.executor == NO_EXECUTOR {
                    "all of it is known already".to_owned()
                } else {
                    format!(
                        "executor {} {}, {} at once",
                        facts.executor,
                        clean(&facts.executor_version),
                        count(facts.jobs, "job"),
                    )
                },
            ];
            if let Some(shard) = &facts.shard {
                parts.push(format!("shard {shard}"));
            }
            if !facts.left_out.is_empty() {
                parts.push(format!(
                    "{} left out by rules",
                    separated(facts.left_out.len())
                ));
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
    let worked = duration(worked(report));
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
        // What was not begun took no time.
        let time = match artifact.status {
            Status::NotRun => String::new(),
            _ => format!("{worked} "),
        };
        format!(
            "{word} {} {time}{}{failure}{as_before}",
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
