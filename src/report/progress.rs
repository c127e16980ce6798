//! Progress on a pipe or in CI: plain lines, one per finished build.
//!
//! Builds that did no work are counted instead of listed, unless `--verbose` is given.

use std::time::{Duration, Instant};

use super::alike::{Alike, kind_of_build, kind_of_failure};
use super::tally::{Tally, worked};
use super::text::{duration, failure_text};
use super::{Asked, Expected, LiveProgress, ReportError, Reporter, Style, Terminal, clean};
use crate::event::{ArtifactReport, BuildReport, Event, EventKind, NO_EXECUTOR};
use crate::failure::Status;
use crate::text::{count, separated};

/// How long the output may be silent while builds are running; doubles with each line about them.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long counted builds may stay unreported.
const QUIET: Duration = Duration::from_secs(10);

/// The upper limit of both waits, which double with each line.
const LONGEST_QUIET: Duration = Duration::from_mins(5);

/// Returns the display that suits the terminal: redrawn in place, or plain lines.
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

/// Progress as plain lines.
pub struct PlainProgress {
    terminal: Terminal,
    is_verbose: bool,
    tally: Tally,
    last_line: Instant,
    last_quiet: Instant,
    /// The wait between two lines about counted builds; doubles with each line.
    quiet: Duration,
    heartbeat: Duration,
    alike: Alike,
    asked: Asked,
    is_over: bool,
}

impl PlainProgress {
    /// With `is_verbose`, lists every build.
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

    /// Uses the durations of earlier builds for the estimate of the remaining time.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.tally = Tally::new(expected);
        self
    }

    /// Shows pending requests to servers.
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

/// Returns true if an event gets its own line: of similar events, only the first few do.
pub(super) fn shows_event(alike: &mut Alike, event: &Event) -> bool {
    match &event.kind {
        EventKind::Retrying { failure, .. } => {
            alike.shows(format!("retrying {}", kind_of_failure(failure)))
        }
        _ => true,
    }
}

/// Returns true if a finished build gets its own lines: of builds that failed alike, only the first few do.
pub(super) fn shows_build(alike: &mut Alike, report: &BuildReport) -> bool {
    kind_of_build(report).is_none_or(|kind| alike.shows(kind))
}

/// Returns the lines for events other than a finished build.
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
                    "no job is started".to_owned()
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
            "{}: {build}: {}: {}; attempt {attempt} failed, next attempt in {}",
            style.warning("retrying"),
            failure.class,
            clean(&failure.message),
            duration(*wait),
        )],
        _ => Vec::new(),
    }
}

/// Returns the lines for a finished build, one for all artifacts with the same result.
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
        // A build that was not started has no duration.
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

/// Returns the status padded to a column and coloured.
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
