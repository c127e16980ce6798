//! The progress of one build, printed line by line, in the requested detail.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::progress::event_lines;
use super::text::{duration, failure_text};
use super::{Asked, ReportError, Reporter, Terminal, clean, read_log};
use crate::driver::Artifact;
use crate::event::{ArtifactReport, BuildReport, Event, EventKind};
use crate::failure::{Phase, Status};

/// The number of log lines that are shown for a failure without a compiler error.
const TAIL_LINES: usize = 15;

/// How much is printed about one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Failures and notes.
    Failures,
    /// Also each step and its result.
    Steps,
    /// Also the output of the compilers.
    Logs,
}

/// Reports the progress of one build.
pub struct SingleProgress {
    terminal: Terminal,
    detail: Detail,
    files: Vec<(Artifact, PathBuf)>,
    asked: Asked,
}

impl SingleProgress {
    /// `files` has the destination of each artifact.
    pub fn new(terminal: Terminal, detail: Detail, files: Vec<(Artifact, PathBuf)>) -> Self {
        Self {
            terminal,
            detail,
            files,
            asked: Asked::default(),
        }
    }

    /// Shows pending requests to servers.
    #[must_use]
    pub fn asking(mut self, asked: Asked) -> Self {
        self.asked = asked;
        self
    }

    fn steps(&self, line: &str) {
        if self.detail >= Detail::Steps {
            self.terminal.print(line);
        }
    }

    fn finished(&self, report: &BuildReport) {
        for (check, passed) in &report.checks {
            if self.detail >= Detail::Logs {
                let answer = if *passed { "yes" } else { "no" };
                self.terminal
                    .print(&format!("  configure check {check}: {answer}"));
            }
        }
        for artifact in &report.artifacts {
            match &artifact.failure {
                None => self.there(report, artifact),
                Some(_) => self.failed(report, artifact),
            }
        }
    }

    fn there(&self, report: &BuildReport, artifact: &ArtifactReport) {
        let style = self.terminal.style();
        let spent: std::time::Duration = report.phases.iter().map(|(_, spent)| *spent).sum();
        let how = match artifact.status {
            Status::Cached => "already built".to_owned(),
            _ => format!("built in {}", duration(spent)),
        };
        let compiler = report.toolchain.as_ref().map_or(String::new(), |used| {
            format!(
                ", gcc {} of {} ({})",
                clean(&used.gcc_used),
                clean(&used.image),
                clean(&used.reason)
            )
        });
        self.log_of(artifact);
        let file = self.files.iter().find(|(of, _)| *of == artifact.artifact);
        let file = file.map_or(Path::new(""), |(_, path)| path.as_path());
        self.steps(&format!(
            "{} {}: {how}{compiler}: {}",
            style.good(artifact.artifact.as_str()),
            report.build_id,
            clean(&file.display().to_string()),
        ));
    }

    fn failed(&self, report: &BuildReport, artifact: &ArtifactReport) {
        let style = self.terminal.style();
        let Some(failure) = &artifact.failure else {
            return;
        };
        self.log_of(artifact);
        let as_before = if artifact.failure_is_cached {
            " (cached; use --retry to retry)"
        } else {
            ""
        };
        self.terminal.print(&format!(
            "{} {} {}: {}{as_before}",
            style.bad(artifact.status.as_str()),
            artifact.artifact,
            report.build_id,
            failure_text(failure),
        ));
        let Some(log) = &artifact.log else { return };
        if failure.first_error.is_none() && self.detail < Detail::Logs {
            let text = read_log(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                self.terminal.print(&format!("  | {}", clean(line)));
            }
        }
        self.terminal
            .print(&format!("  full log: zstdcat {}", log.display()));
    }

    /// Prints the log of an artifact if that detail is requested.
    fn log_of(&self, artifact: &ArtifactReport) {
        if self.detail < Detail::Logs {
            return;
        }
        if let Some(log) = &artifact.log {
            for line in read_log(log).unwrap_or_default().lines() {
                self.terminal.print(&format!("  | {}", clean(line)));
            }
        }
    }
}

impl Reporter for SingleProgress {
    fn tick(&mut self, now: Instant) -> Result<(), ReportError> {
        if let Some(line) = self.asked.due(now, None) {
            self.terminal.print(&clean(&line));
        }
        Ok(())
    }

    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        match &event.kind {
            EventKind::PhaseStarted { phase, .. } => {
                self.steps(&format!("  {}", words_of(*phase)));
            }
            EventKind::BuildFinished(report) => self.finished(report),
            EventKind::RunStarted(_) => {}
            _ => {
                for line in event_lines(event, self.terminal.style()) {
                    self.terminal.print(&line);
                }
            }
        }
        Ok(())
    }
}

fn words_of(phase: Phase) -> String {
    match phase {
        Phase::Fetch => "fetching and unpacking the kernel's packages".to_owned(),
        Phase::Configure => "configuring the driver".to_owned(),
        Phase::Check => "checking the kernel tree and its compilers".to_owned(),
        Phase::Module => "compiling the module".to_owned(),
        Phase::Probe => "compiling the probe".to_owned(),
        other => other.to_string(),
    }
}
