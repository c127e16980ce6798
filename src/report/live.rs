//! Progress on a terminal: the running builds and one bar, redrawn in place; failures are printed above.
//!
//! Events only update counters; everything is drawn by the tick, so that a thousand events cost no more drawing than
//! one.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::alike::Alike;
use super::progress::{build_lines, event_lines, shows_build, shows_event};
use super::screen::size;
use super::tally::Tally;
use super::text::{duration, shorten};
use super::{Asked, Expected, ReportError, Reporter, Terminal, clean};
use crate::event::{Event, EventKind};
use crate::text::{count, separated};

/// The maximum number of running builds that have a line.
const LINES: usize = 12;

/// The number of other lines: number of hidden builds, pending requests, the bar, and the cursor.
const OTHER_LINES: usize = 4;

/// The maximum width of a build's name, in characters.
const NAME_WIDTH: usize = 64;

/// The display of a run on a terminal.
pub struct LiveProgress {
    terminal: Terminal,
    is_verbose: bool,
    tally: Tally,
    bar: ProgressBar,
    lines: Vec<ProgressBar>,
    alike: Alike,
    asked: Asked,
    is_running: bool,
}

impl LiveProgress {
    /// With `is_verbose`, prints a line for every build that ends, not only for failures.
    pub fn new(terminal: Terminal, is_verbose: bool) -> Self {
        Self {
            terminal,
            is_verbose,
            tally: Tally::default(),
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            lines: Vec::new(),
            alike: Alike::default(),
            asked: Asked::default(),
            is_running: false,
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

    fn start(&mut self) {
        let total = self.tally.builds as u64;
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        bar.set_style(
            style("[{bar:30}] {human_pos}/{human_len} builds {wide_msg}").progress_chars("=> "),
        );
        self.bar = self.terminal.bars().add(bar);
        self.is_running = true;
    }

    fn draw(&mut self, now: Instant) {
        let elapsed = self.tally.elapsed(now);
        let running = self.tally.longest_first();
        let lines = LINES.min(usize::from(size().0).saturating_sub(OTHER_LINES));
        let mut texts: Vec<String> = running
            .iter()
            .take(lines)
            .map(|(build, state)| {
                let word = state.word();
                let time = duration(elapsed.saturating_sub(state.phase_since));
                format!("  {word:<9} {time:>7}  {}", shorten(build, NAME_WIDTH))
            })
            .collect();
        if running.len() > lines {
            texts.push(format!("  and {} more", separated(running.len() - lines)));
        }
        if let Some(line) = self.asked.line() {
            texts.push(format!("  {}", clean(&line)));
        }
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.terminal.bars().remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            line.set_style(style("{wide_msg}"));
            self.lines
                .push(self.terminal.bars().insert_before(&self.bar, line));
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text);
        }
        let message = match self.tally.remaining() {
            Some(time) => format!("{}  about {} left", self.tally.by_status(), duration(time)),
            None => self.tally.by_status(),
        };
        self.bar.set_position(self.tally.done as u64);
        self.bar.set_message(message);
    }

    fn stop(&mut self) {
        if self.is_running
            && let hidden @ 1.. = self.alike.take_hidden()
        {
            let hidden = count(hidden, "more line");
            self.terminal.print(&format!("{hidden} like those above"));
        }
        self.is_running = false;
        for line in self.lines.drain(..) {
            line.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}

impl Reporter for LiveProgress {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        self.tally.apply(event);
        let style = self.terminal.style();
        for line in event_lines(event, style) {
            if self.is_verbose || shows_event(&mut self.alike, event) {
                self.terminal.print(&line);
            }
        }
        match &event.kind {
            EventKind::RunStarted(_) => self.start(),
            EventKind::BuildFinished(report) => {
                let has_failed = report
                    .artifacts
                    .iter()
                    .any(|artifact| artifact.failure.is_some());
                let shows = has_failed && !Tally::is_quiet(report);
                if self.is_verbose || (shows && shows_build(&mut self.alike, report)) {
                    for line in build_lines(report, style) {
                        self.terminal.print(&line);
                    }
                }
            }
            EventKind::RunFinished { .. } => self.stop(),
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        if self.is_running {
            self.draw(now);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ReportError> {
        self.stop();
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; an invalid one would show as the default style.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
