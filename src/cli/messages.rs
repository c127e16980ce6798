//! The messages of commands on standard error: errors, warnings and notices.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::CliError;
use crate::diagnostic::{Diagnostic, Severity, clean};
use crate::discover::lock::LockError;
use crate::report::Style;
use crate::resolve::Listener;

/// Renders an error for the terminal.
pub(super) fn draw(error: &CliError, is_coloured: bool) -> String {
    match error {
        CliError::Diagnostics(diagnostics)
        | CliError::Lock(LockError::Contradictions(diagnostics)) => {
            draw_all(diagnostics, is_coloured)
        }
        CliError::Lock(LockError::Text(diagnostic)) => diagnostic.draw(is_coloured),
        CliError::Input { message, help } | CliError::Infrastructure { message, help } => {
            Diagnostic::error(message)
                .maybe_help(help.as_deref())
                .draw(is_coloured)
        }
        CliError::File(error) | CliError::Lock(LockError::File(error)) => {
            Diagnostic::error(error.to_string())
                .maybe_help(error.advice())
                .draw(is_coloured)
        }
        CliError::Lock(error) => Diagnostic::error(error.to_string()).draw(is_coloured),
    }
}

/// Renders diagnostics one after the other, and the number of errors if there are several.
fn draw_all(diagnostics: &[Diagnostic], is_coloured: bool) -> String {
    let mut text: String = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.draw(is_coloured) + "\n")
        .collect();
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity() == Severity::Error)
        .count();
    if errors > 1 {
        text += &Diagnostic::error(format!(
            "{}; nothing was done",
            crate::text::count(errors, "error")
        ))
        .draw(is_coloured);
    } else {
        text.pop();
    }
    text
}

/// Shows messages on standard error.
#[derive(Debug)]
pub(super) struct StandardError {
    is_coloured: bool,
    /// True if only errors are shown.
    is_quiet: bool,
    /// True if it is a terminal and nothing has been written to it yet.
    blank: AtomicBool,
}

impl StandardError {
    pub(super) fn new(style: Style, is_quiet: bool) -> Self {
        Self {
            is_coloured: style.has_colour,
            is_quiet,
            blank: AtomicBool::new(!is_quiet && io::stderr().is_terminal()),
        }
    }
}

impl Listener for StandardError {
    fn notice(&self, message: &str) {
        if !self.is_quiet {
            self.blank.store(false, Ordering::Relaxed);
            put_error(&format!("{}\n", clean(message)));
        }
    }

    fn warn(&self, diagnostics: &[Diagnostic]) {
        let is_shown = |one: &&Diagnostic| !self.is_quiet || one.severity() == Severity::Error;
        for diagnostic in diagnostics.iter().filter(is_shown) {
            self.blank.store(false, Ordering::Relaxed);
            put_error(&diagnostic.draw(self.is_coloured));
        }
    }

    fn is_awaited(&self) -> bool {
        self.blank.load(Ordering::Relaxed)
    }
}

/// Writes to standard error. If it is closed, the message is dropped.
pub(super) fn put_error(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
