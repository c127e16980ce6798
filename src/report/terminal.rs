//! The terminal: the only way by which the library writes to one.
//!
//! Everything goes to standard error; standard output is for what machines read and belongs to the command line.
//! Nothing is said by colour alone. Text that comes from elsewhere (compilers, servers, file names) goes through
//! [`clean`] first.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::screen::Screen;
use crate::redact::acts_on_a_reader;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether lines can be redrawn in place.
    pub is_live: bool,
    /// Whether colours are wanted.
    pub has_colour: bool,
}

impl Style {
    /// Finds out from the environment: `NO_COLOR` forbids colours, `CLICOLOR_FORCE` demands them, else a terminal
    /// that is not `dumb` has them; in CI nothing is redrawn.
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

    /// What standard error can show.
    pub fn of_stderr() -> Self {
        Self::detect(io::stderr().is_terminal(), |name| std::env::var(name).ok())
    }

    /// Green: it is there.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Red: it is not there.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Yellow: look at this.
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

/// A handle to the terminal. Clones write to the same one, line by line, around a display that is being redrawn.
#[derive(Clone)]
pub struct Terminal {
    style: Style,
    bars: MultiProgress,
    output: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Terminal {
    /// Standard error, in a style: that of [`Style::of_stderr`], or what a person chose instead. All callers share the
    /// display, and the style of the first of them.
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

    /// Another writer for lines, and where the live display is drawn.
    pub fn new(output: Box<dyn Write + Send>, style: Style, target: ProgressDrawTarget) -> Self {
        Self {
            style,
            bars: MultiProgress::with_draw_target(target),
            output: Arc::new(Mutex::new(output)),
        }
    }

    /// What it can show.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Prints one line, or several that end in a line end.
    ///
    /// A closed terminal or pipe does not end a run: write errors are ignored.
    pub fn print(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let mut clone = self.clone();
        drop(clone.write_all(format!("{text}{end}").as_bytes()));
    }

    /// The live display.
    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// For log lines of the program itself: one call of `write` is taken for whole lines.
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
    fn environment_decides() {
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
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("plain ä"), "plain ä");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "a\u{fffd}]0;title\u{fffd}b");
        assert_eq!(clean("a\r\n\tb\u{9b}2J"), "a   b\u{fffd}2J");
        assert_eq!(clean("x\u{202e}cba"), "x\u{fffd}cba");
    }
}
