//! Diagnostics for files written by users: a message, places in the file and help, drawn with the lines concerned.
//!
//! In: messages with byte ranges of a [`SourceFile`]. Out: text for a terminal. Nothing here knows TOML, and nothing
//! here prints.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::redact;

mod words;

pub use words::plain_words;

/// The text of a file and its path.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user wrote it.
    pub path: PathBuf,
    /// The whole content.
    pub text: String,
}

impl SourceFile {
    /// Returns an error at the first merge conflict marker in the text, if there is one.
    pub fn conflict_marker(self: &Arc<Self>) -> Option<Diagnostic> {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                let place = Place {
                    file: Arc::clone(self),
                    span: start..start + line.trim_end().len(),
                };
                let fault = Diagnostic::error("a merge conflict that nobody has resolved");
                return Some(
                    fault
                        .at(place, "")
                        .help("keep one of the two sides, and remove the markers"),
                );
            }
            start += line.len();
        }
        None
    }
}

/// A range of bytes in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The range of bytes.
    pub span: Range<usize>,
}

impl Place {
    /// Returns the line and column of the first character, both from 1; the column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.file.text[..self.span_in_text().start];
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        (line, before[line_start..].chars().count() + 1)
    }

    /// Returns the range limited to the text and extended to character boundaries.
    fn span_in_text(&self) -> Range<usize> {
        let text = &self.file.text;
        let start = text.floor_char_boundary(self.span.start.min(text.len()));
        let end = text.ceil_char_boundary(self.span.end.clamp(start, text.len()));
        start..end
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(formatter, "{}:{line}:{column}", self.file.path.display())
    }
}

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used but is probably not what the user intended.
    Warning,
}

/// A message with the places that it refers to.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    places: Vec<(Place, String)>,
    help: Vec<String>,
}

impl Diagnostic {
    /// Creates an error with this message.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// Creates a warning with this message.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            places: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Adds a place with a label. The first place is the location of the fault; later ones give context.
    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.places.push((place, label.into()));
        self
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds a help line if `text` is given.
    #[must_use]
    pub fn maybe_help(self, text: Option<impl Into<String>>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// Changes the severity to error.
    #[must_use]
    pub fn as_error(mut self) -> Self {
        self.severity = Severity::Error;
        self
    }

    /// Changes the severity to warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Returns the severity.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the message without places and help.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the location of the fault, if it is in a file.
    pub fn place(&self) -> Option<&Place> {
        self.places.first().map(|(place, _)| place)
    }

    /// Draws the message and its places, with a new line at the end.
    pub fn draw(&self, is_coloured: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(clean(&self.message)).elements(
            self.files()
                .into_iter()
                .map(|file| self.snippet(file))
                .collect::<Vec<_>>(),
        );
        for help in &self.help {
            group = group.element(Level::HELP.message(clean(help)));
        }
        let renderer = if is_coloured {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = renderer.render(&[group] as &[Group<'_>]);
        text.push('\n');
        text
    }

    /// Returns the files of all places without duplicates, in order.
    fn files(&self) -> Vec<&Arc<SourceFile>> {
        let mut files: Vec<&Arc<SourceFile>> = Vec::new();
        for (place, _) in &self.places {
            if !files.iter().any(|file| Arc::ptr_eq(file, &place.file)) {
                files.push(&place.file);
            }
        }
        files
    }

    fn snippet<'a>(
        &'a self,
        file: &'a Arc<SourceFile>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let annotations = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, (place, _))| Arc::ptr_eq(file, &place.file))
            .map(|(position, (place, label))| {
                let kind = if position == 0 {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let annotation = kind.span(first_line(place));
                if label.is_empty() {
                    annotation
                } else {
                    annotation.label(clean(label))
                }
            });
        Snippet::source(redact::masked(&file.text))
            .path(printable(&file.path.display().to_string()).into_owned())
            .annotations(annotations)
    }
}

/// Returns the part of a place on its first line, since marking whole tables makes a message hard to read.
fn first_line(place: &Place) -> Range<usize> {
    let span = place.span_in_text();
    let text = &place.file.text[span.clone()];
    let length = text.find('\n').unwrap_or(text.len());
    span.start..span.start + length
}

/// Returns text for a terminal: secrets redacted, long values shortened and control characters replaced.
pub fn clean(text: &str) -> String {
    printable(&redact::shortened(&redact::text(text))).into_owned()
}

/// Returns text with control characters and bidirectional overrides replaced.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| shown(character) == character) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(shown).collect())
}

fn shown(character: char) -> char {
    match character {
        '\n' => '\n',
        '\t' => ' ',
        other if redact::acts_on_a_reader(other) => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// Returns the most similar of `names`, or `None` if none is similar enough.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    names
        .into_iter()
        .map(|name| {
            let similarity = strsim::jaro_winkler(&lower, &name.to_lowercase());
            (name, similarity)
        })
        .filter(|(_, similarity)| *similarity > 0.75)
        .max_by(|left, right| left.1.total_cmp(&right.1))
        .map(|(name, _)| name)
}

/// Returns the help line for a misspelt name, if a similar name exists.
pub fn did_you_mean<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<SourceFile> {
        Arc::new(SourceFile {
            path: "a.toml".into(),
            text: "one = 1\nzwö = \"ä\x1b\"\n".to_owned(),
        })
    }

    #[test]
    fn columns_are_counted_in_characters() {
        let place = |span| Place { file: file(), span };
        assert_eq!(place(0..3).to_string(), "a.toml:1:1");
        assert_eq!(place(15..18).to_string(), "a.toml:2:7");
        assert_eq!(place(900..901).to_string(), "a.toml:3:1");
    }

    #[test]
    fn a_diagnostic_is_drawn_with_line_and_help_without_control_characters() {
        let place = Place {
            file: file(),
            span: 0..3,
        };
        let drawn = Diagnostic::error("bad \x1b[31m key")
            .at(place, "here")
            .help("write `two`")
            .draw(false);
        insta::assert_snapshot!(drawn, @r"
        error: bad �[31m key
         --> a.toml:1:1
          |
        1 | one = 1
          | ^^^ here
          |
          = help: write `two`
        ");
    }

    #[test]
    fn the_nearest_name_is_suggested_if_similar() {
        assert_eq!(
            nearest("architectur", ["target", "architecture"]),
            Some("architecture")
        );
        assert_eq!(
            nearest("arch", ["target", "architecture"]),
            Some("architecture")
        );
        assert_eq!(nearest("zzz", ["target", "architecture"]), None);
    }
}
