//! The text of a lock: its lines, and messages about places in it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::LockError;
use crate::diagnostic::{Diagnostic, Place, SourceFile, plain_words};
use crate::fs;

/// The text of a lock, for messages about places in it.
#[derive(Clone, Copy)]
pub(super) struct LockText<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl<'a> LockText<'a> {
    /// Returns the lines with their numbers, from 1.
    pub(super) fn lines(&self) -> Vec<(usize, &'a str)> {
        (1..).zip(self.text.lines()).collect()
    }

    /// Returns the place of line `number`.
    pub(super) fn place(&self, number: usize) -> Place {
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(number - 1)
            .map(str::len)
            .sum();
        let length = self.text[start..].lines().next().map_or(0, str::len);
        self.place_of(start..start + length)
    }

    fn place_of(&self, span: Range<usize>) -> Place {
        let file = Arc::new(SourceFile {
            path: self.path.to_owned(),
            text: self.text.to_owned(),
        });
        Place { file, span }
    }

    /// Returns an error about line `number`.
    pub(super) fn fault(&self, number: usize, message: &str, help: &str) -> LockError {
        let diagnostic = Diagnostic::error(message).at(self.place(number), "");
        LockError::Text(Box::new(diagnostic.help(help)))
    }

    /// Returns an error about a value in line `number`.
    pub(super) fn bad_value(
        &self,
        number: usize,
        value: &str,
        message: &str,
        help: &str,
    ) -> LockError {
        let whole = self.place(number);
        let quoted = serde_json::Value::from(value).to_string();
        let found = self.text[whole.span.clone()].find(&quoted);
        let span = found.map_or(whole.span.clone(), |start| {
            let start = whole.span.start + start;
            start..start + quoted.len()
        });
        let diagnostic = Diagnostic::error(format!("invalid line of a lock: {message}"))
            .at(self.place_of(span), "")
            .help(help);
        LockError::Text(Box::new(diagnostic))
    }

    pub(super) fn bad_line(
        &self,
        number: usize,
        error: &serde_json::Error,
        help: &str,
    ) -> LockError {
        let message = plain_words(error);
        let whole = self.place(number);
        let column = whole.span.start + error.column().saturating_sub(1);
        let span = column.min(whole.span.end)..whole.span.end;
        let diagnostic = Diagnostic::error(format!("invalid line of a lock: {message}"))
            .at(self.place_of(span), "")
            .help(help);
        LockError::Text(Box::new(diagnostic))
    }
}

/// Advice about an invalid line.
pub(super) const RESTORE: &str = "restore the line from git, or remove it: `driverkit-matrix lock` finds its kernel again, but not \
    the day on which it was first seen";

/// Advice about an invalid first line.
pub(super) const RESTORE_HEADER: &str =
    "restore the lock from git: its first line contains the sources of its kernels";

/// Reads the text of a lock; `None` if the file does not exist.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, LockError> {
    match read_existing(path) {
        Ok(text) => Ok(Some(text)),
        Err(LockError::File(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the text of a lock. It is an error if the file does not exist.
pub(super) fn read_existing(path: &Path) -> Result<String, LockError> {
    String::from_utf8(fs::read(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let number = 1 + memchr::memchr_iter(b'\n', valid).count();
        let text = &String::from_utf8_lossy(error.as_bytes());
        LockText { path, text }.fault(number, "this line is not valid UTF-8", RESTORE)
    })
}

/// Whether a line is a conflict marker of git.
pub(super) fn is_marker(line: &str) -> bool {
    ["<<<<<<<", "|||||||", "=======", ">>>>>>>"]
        .iter()
        .any(|marker| line.starts_with(marker))
}

pub(super) fn conflict(text: &LockText<'_>, number: usize) -> LockError {
    text.fault(
        number,
        "the lock has a merge conflict",
        "run `driverkit-matrix lock`, which resolves it kernel by kernel",
    )
}
