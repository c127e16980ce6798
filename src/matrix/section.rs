//! Reads one table of a TOML file, key by key, so that all faults of a file are found in one pass.
//!
//! A derived reader stops at the first unknown key or wrong type; this one records the fault with its position and
//! continues.

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Pattern, Selector};
use crate::diagnostic::{Diagnostic, Place, SourceFile, did_you_mean};

/// Collects the faults of one file.
pub(super) struct Reader {
    pub(super) file: Arc<SourceFile>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Reader {
    /// Records an error at a position.
    pub(super) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        let place = Place {
            file: Arc::clone(&self.file),
            span,
        };
        self.diagnostics
            .push(Diagnostic::error(message).at(place, label).maybe_help(help));
    }

    pub(super) fn wrong_type(&mut self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = type_name(value.get_ref());
        self.error(
            value.span(),
            format!("`{key}` has the wrong type"),
            format!("expected {expected}, found {found}"),
            None,
        );
    }

    /// Returns a string, or records an error.
    pub(super) fn text(
        &mut self,
        key: &str,
        expected: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Spanned<String>> {
        if let DeValue::String(text) = value.get_ref() {
            Some(Spanned::new(value.span(), text.to_string()))
        } else {
            self.wrong_type(key, expected, value);
            None
        }
    }

    /// Returns a parsed string, or records an error.
    pub(super) fn parse_text<T, E: ToString>(
        &mut self,
        text: &Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text.get_ref()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(text.span(), error.to_string(), "", None);
                None
            }
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// One table; every key that is read counts as known.
pub(super) struct Section<'t> {
    name: String,
    /// The position of the whole table, for errors about missing keys.
    pub(super) span: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(name: impl Into<String>, span: Range<usize>, table: &'t DeTable<'t>) -> Self {
        Self {
            name: name.into(),
            span,
            table,
            known: Vec::new(),
        }
    }

    /// Reads a value as a table.
    pub(super) fn of_value(
        reader: &mut Reader,
        key: &str,
        name: impl Into<String>,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Self> {
        if let DeValue::Table(table) = value.get_ref() {
            Some(Self::new(name, value.span(), table))
        } else {
            reader.wrong_type(key, "a table", value);
            None
        }
    }

    /// Returns the value of a key, whatever its type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Returns all keys and values in the order of the file, for tables whose keys the user chooses.
    pub(super) fn entries(&self) -> Vec<(Spanned<String>, &'t Spanned<DeValue<'t>>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().to_string()), value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Records that a key is missing.
    pub(super) fn missing(&self, reader: &mut Reader, key: &str, help: &str) {
        reader.error(
            self.span.clone(),
            format!("`{key}` is missing in {}", self.name),
            "",
            Some(help.to_owned()),
        );
    }

    /// Reads a string.
    pub(super) fn text(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        expected: &str,
    ) -> Option<Spanned<String>> {
        let value = self.value(key)?;
        reader.text(key, expected, value)
    }

    /// Reads a string with `parse`.
    pub(super) fn parsed<T, E: ToString>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(reader, key, expected)?;
        reader.parse_text(&text, parse)
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, reader: &mut Reader, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            Some(*flag)
        } else {
            reader.wrong_type(key, "true or false", value);
            None
        }
    }

    /// Reads a whole number in a range.
    pub(super) fn number(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = self.value(key)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            reader.wrong_type(key, "a whole number", value);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            reader.error(
                value.span(),
                format!("`{key}` is out of range"),
                format!("a number from {least} to {most} is allowed"),
                None,
            );
        }
        number
    }

    /// Reads an array of strings with `parse`; returns `None` if the key is missing. Duplicates are errors.
    pub(super) fn list<T, E: ToString>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            reader.wrong_type(key, &format!("an array, each {expected}"), value);
            return None;
        };
        let mut seen: Vec<Spanned<String>> = Vec::new();
        let mut list = Vec::new();
        for value in array {
            let Some(text) = reader.text(key, expected, value) else {
                continue;
            };
            if let Some(first) = seen.iter().find(|first| first.get_ref() == text.get_ref()) {
                let place = |span| Place {
                    file: Arc::clone(&reader.file),
                    span,
                };
                let error = Diagnostic::error(format!("`{}` is in `{key}` twice", text.get_ref()))
                    .at(place(text.span()), "again here")
                    .at(place(first.span()), "first here");
                reader.diagnostics.push(error);
                continue;
            }
            if let Some(parsed) = reader.parse_text(&text, &parse) {
                list.push(Spanned::new(text.span(), parsed));
            }
            seen.push(text);
        }
        Some(list)
    }

    /// Reads a list that must not be empty, sorted, without positions.
    pub(super) fn sorted_list<T: FromStr<Err: ToString> + Ord>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        expected: &str,
    ) -> Option<Vec<T>> {
        // Reading the value marks the key as known, even if it is missing.
        let span = self.value(key).map(Spanned::span)?;
        let before = reader.diagnostics.len();
        let list = self.list(reader, key, expected, str::parse::<T>)?;
        if list.is_empty() && reader.diagnostics.len() == before {
            reader.error(
                span,
                format!("`{key}` is empty"),
                "nothing would be planned",
                Some(format!("remove `{key}` to take all")),
            );
        }
        let mut list: Vec<T> = list.into_iter().map(Spanned::into_inner).collect();
        list.sort();
        list.dedup();
        Some(list)
    }

    /// Reads one pattern, or an array of patterns; returns an empty list if the key is missing.
    pub(super) fn patterns(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        parse: impl Fn(&str) -> Result<Pattern, super::ParsePatternError>,
    ) -> Vec<Spanned<Pattern>> {
        let expected = "a pattern, or an array of patterns";
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.list(reader, key, expected, parse).unwrap_or_default(),
            _ => self
                .text(reader, key, expected)
                .and_then(|text| {
                    let pattern = reader.parse_text(&text, parse)?;
                    Some(vec![Spanned::new(text.span(), pattern)])
                })
                .unwrap_or_default(),
        }
    }

    /// Reads the keys that select a part of the matrix.
    pub(super) fn selector(&mut self, reader: &mut Reader) -> Selector {
        fn bare(patterns: Vec<Spanned<Pattern>>) -> Vec<Pattern> {
            patterns.into_iter().map(Spanned::into_inner).collect()
        }
        let targets = bare(self.patterns(reader, "target", Pattern::for_names));
        let kernels = bare(self.patterns(reader, "kernel", str::parse));
        let drivers = bare(self.patterns(reader, "driver", str::parse));
        let architectures = self.patterns(reader, "architecture", Pattern::for_names);
        for pattern in &architectures {
            let known = crate::kernel::Architecture::ALL;
            if !known
                .iter()
                .any(|one| pattern.get_ref().matches_architecture(*one))
            {
                reader.error(
                    pattern.span(),
                    format!("`{}` matches no architecture", pattern.get_ref()),
                    "",
                    Some("amd64 and arm64 are supported".to_owned()),
                );
            }
        }
        Selector {
            targets,
            kernels,
            drivers,
            architectures: bare(architectures),
            artifacts: Vec::new(),
        }
    }

    /// Records an error for every unknown key.
    pub(super) fn finish(self, reader: &mut Reader) {
        for (key, _) in self.entries() {
            let name = key.get_ref().as_str();
            if !self.known.contains(&name) {
                let help = did_you_mean(name, self.known.iter().copied())
                    .unwrap_or_else(|| format!("known here: {}", self.known.join(", ")));
                reader.error(
                    key.span(),
                    format!("unknown key `{name}` in {}", self.name),
                    "",
                    Some(help),
                );
            }
        }
    }
}

/// Returns the directory of a file, which relative paths in it start from; empty for a bare file name.
pub(in crate::matrix) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
