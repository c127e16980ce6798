//! The terminal: the only way in which the library writes to one.
//!
//! Everything goes to standard error; standard output is for machine-readable data and belongs to the command line.
//! Colour never carries information alone. Foreign text (from compilers, servers, file names) goes through [`clean`]
//! first.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::screen::Screen;
use crate::redact::acts_on_a_reader;

/// The capabilities of the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// True if lines can be redrawn in place.
    pub is_live: bool,
    /// True if colours are enabled.
    pub has_colour: bool,
}

impl Style {
    /// Derives the style from the environment: `NO_COLOR` disables colours, `CLICOLOR_FORCE` enables them; otherwise
    /// a terminal that is not `dumb` has them. In CI nothing is redrawn.
    pub fn detect(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let is_smart = is_terminal && variable("TERM").is_none_or(|term| term != "dumb");
        let is_forced =
            variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        Self {
            is_live: is_smart && !is_set("CI"),
            has_colour: !is_set("NO_COLOR") && (is_forced || is_smart),
        }
    }

    /// Returns the style of standard error.
    pub fn of_stderr() -> Self {
        Self::detect(io::stderr().is_terminal(), |name| std::env::var(name).ok())
    }

    /// Green: success.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Red: failure.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Yellow: needs attention.
    pub fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Bold: headings.
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.has_colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Makes foreign text safe to print on one line: line ends and tabs become spaces, every other control character
/// and every character that changes the direction of text becomes `U+FFFD`.
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_harmless = |character| !acts_on_a_reader(character);
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let replace = |character| match character {
        '\n' | '\r' | '\t' => ' ',
        other if is_harmless(other) => other,
        _ => char::REPLACEMENT_CHARACTER,
    };
    Cow::Owned(text.chars().map(replace).collect())
}

/// A handle to the terminal. Clones write to the same terminal, line by line, without disturbing the live display.
#[derive(Clone)]
pub struct Terminal {
    style: Style,
    bars: MultiProgress,
    output: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Terminal {
    /// Returns standard error with a style: that of [`Style::of_stderr`], or the one that the user chose. All callers
    /// share the display and the style of the first call.
    pub fn stderr(style: Style) -> Self {
        static STANDARD_ERROR: OnceLock<Terminal> = OnceLock::new();
        STANDARD_ERROR
            .get_or_init(|| Self::open_stderr(style))
            .clone()
    }

    fn open_stderr(style: Style) -> Self {
        let target = if style.is_live {
            ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self::new(Box::new(io::stderr()), style, target)
    }

    /// Creates a terminal with a writer for lines, and the target of the live display.
    pub fn new(output: Box<dyn Write + Send>, style: Style, target: ProgressDrawTarget) -> Self {
        Self {
            style,
            bars: MultiProgress::with_draw_target(target),
            output: Arc::new(Mutex::new(output)),
        }
    }

    /// Returns the style.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Prints one line, or several that end with a newline.
    ///
    /// A closed terminal or pipe does not end a run: write errors are ignored.
    pub fn print(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let mut clone = self.clone();
        drop(clone.write_all(format!("{text}{end}").as_bytes()));
    }

    /// Returns the live display.
    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// For the program's own log records: each call of `write` must contain whole lines.
impl Write for Terminal {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| {
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            output.write_all(buffer)?;
            output.flush()
        })?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(is_terminal: bool, variables: &[(&str, &str)]) -> (bool, bool) {
        let style = Style::detect(is_terminal, |name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        });
        (style.is_live, style.has_colour)
    }

    #[test]
    fn the_environment_sets_the_style() {
        assert_eq!(style(true, &[]), (true, true));
        assert_eq!(style(false, &[]), (false, false));
        assert_eq!(style(true, &[("NO_COLOR", "1")]), (true, false));
        assert_eq!(style(true, &[("NO_COLOR", "")]), (true, true));
        assert_eq!(style(true, &[("TERM", "dumb")]), (false, false));
        assert_eq!(style(true, &[("CI", "true")]), (false, true));
        assert_eq!(style(false, &[("CLICOLOR_FORCE", "1")]), (false, true));
        assert_eq!(style(false, &[("CLICOLOR_FORCE", "0")]), (false, false));
        let both = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
        assert_eq!(style(false, &both), (false, false));
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(clean("plain ä"), "plain ä");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "a\u{fffd}]0;title\u{fffd}b");
        assert_eq!(clean("a\r\n\tb\u{9b}2J"), "a   b\u{fffd}2J");
        assert_eq!(clean("x\u{202e}cba"), "x\u{fffd}cba");
    }
}
