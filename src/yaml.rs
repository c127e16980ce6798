//! Reads YAML with the byte range of every node. No other file calls the YAML crate.
//!
//! In: a [`SourceFile`]. Out: a [`Node`], whose scalars are strings as written (`5.10` stays `5.10`, `no` stays `no`),
//! so that the caller decides their type; or a type of the caller through serde.

use std::ops::Range;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_yaml::{Location, Options, Spanned};

use crate::diagnostic::{Diagnostic, Place, SourceFile, plain_words};

/// The maximum number of nodes: more than any hand-written file has. The limit rejects exponentially nested aliases.
const NODES: usize = 20_000;

/// A part of a YAML file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The byte range of the node.
    pub span: Range<usize>,
    /// The value of the node.
    pub value: Value,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A missing value, `~` or `null`.
    Nothing,
    /// A scalar as written, without quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The string of a scalar; `None` for anything else.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a file. A file without content is an empty mapping.
pub fn read_node(file: &Arc<SourceFile>) -> Result<Node, Diagnostic> {
    let raw: Spanned<Option<Raw>> = parse(file)?;
    let span = span_of(&raw.defined);
    Ok(match raw.value {
        Some(value) => node(&file.text, span, value),
        None => Node {
            span,
            value: Value::Map(Vec::new()),
        },
    })
}

/// Returns the byte range of the line that ends the first document, if another document follows.
pub fn end_of_first_document(text: &str) -> Option<Range<usize>> {
    if !text.contains("\n---") && !text.contains("\n...") {
        return None;
    }
    let mut start = 0;
    let mut has_content = false;
    let mut end: Option<Range<usize>> = None;
    for line in text.split_inclusive('\n') {
        let span = start..start + line.trim_end().len();
        start += line.len();
        let marker = ["---", "..."].into_iter().find(|marker| {
            let rest = line.strip_prefix(marker);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        });
        let content = line[marker.map_or(0, str::len)..].trim_start();
        let is_content = !content.is_empty() && !content.starts_with(['#', '%']);
        if marker.is_some() && has_content && end.is_none() {
            end = Some(span);
        }
        if is_content && end.is_some() {
            return end;
        }
        has_content |= is_content;
    }
    None
}

/// Deserializes a file into a type of the caller.
pub fn read<T: DeserializeOwned>(file: &Arc<SourceFile>) -> Result<T, Diagnostic> {
    parse(file)
}

/// Writes a value as YAML.
pub fn write(value: &impl Serialize) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}

fn parse<T: DeserializeOwned>(file: &Arc<SourceFile>) -> Result<T, Diagnostic> {
    if let Some(marker) = file.conflict_marker() {
        return Err(marker);
    }
    let mut options = Options::default();
    if let Some(budget) = &mut options.budget {
        budget.max_nodes = NODES;
    }
    serde_yaml::from_str_with_options(&file.text, options).map_err(|error| {
        let error = error.without_snippet();
        let span = error.location().map_or(0..0, |location| span_of(&location));
        // The place is drawn below, so the position in the crate's message is removed.
        let message = plain_words(&error);
        // Removes the crate's advice, which is for programmers.
        let message = message
            .split(", set DuplicateKeyPolicy")
            .next()
            .unwrap_or(&message);
        let place = Place {
            file: Arc::clone(file),
            span,
        };
        let is_json = file.path.extension().is_some_and(|found| found == "json");
        let format = if is_json { "JSON" } else { "YAML" };
        Diagnostic::error(format!("not valid {format}: {message}")).at(place, "")
    })
}

fn span_of(location: &Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().unwrap_or_default();
    let length = span.byte_len().unwrap_or_default();
    let of = |number| usize::try_from(number).unwrap_or_default();
    of(start)..of(start) + of(length)
}

fn node(text: &str, span: Range<usize>, raw: Raw) -> Node {
    let value = match raw {
        Raw::Nothing => Value::Nothing,
        Raw::Text(text) => Value::Text(text),
        // The crate parsed a number or a boolean; the node keeps the string as written.
        Raw::Plain => Value::Text(text.get(span.clone()).unwrap_or_default().trim().to_owned()),
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| spanned(text, item)).collect())
        }
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<Raw>, Spanned<Raw>)| {
                (spanned(text, key), spanned(text, value))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { span, value }
}

fn spanned(text: &str, raw: Spanned<Raw>) -> Node {
    node(text, span_of(&raw.defined), raw.value)
}

enum Raw {
    Nothing,
    Plain,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Raw, E> {
        Err(E::custom("binary values are not supported"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Spanned<Raw>, Spanned<Raw>)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<Raw>>()? {
            if !matches!(key.value, Raw::Text(_) | Raw::Plain) {
                return Err(A::Error::custom("a key that is not a string"));
            }
            let value = access.next_value()?;
            entries.push((key, value));
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Arc<SourceFile> {
        Arc::new(SourceFile {
            path: "a.yaml".into(),
            text: text.to_owned(),
        })
    }

    fn entries(text: &str) -> Vec<(String, String)> {
        let file = file(text);
        let Value::Map(entries) = read_node(&file).unwrap().value else {
            panic!("no mapping")
        };
        let entry = |(key, value): &(Node, Node)| {
            let place = Place {
                file: file.clone(),
                span: value.span.clone(),
            };
            let (line, column) = place.line_and_column();
            let value = match &value.value {
                Value::Text(text) => format!("{text}@{line}:{column}"),
                other => format!("{other:?}"),
            };
            (key.text().unwrap().to_owned(), value)
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn scalars_keep_their_spelling_and_position() {
        let found = entries("# ä\na: 5.10\nb: \"59\"\nc: no\nd: 0x1F # x\ne: 'it''s'\nf: true\n");
        let expected = [
            ("a", "5.10@2:4"),
            ("b", "59@3:4"),
            ("c", "no@4:4"),
            ("d", "0x1F@5:4"),
            ("e", "it's@6:4"),
            ("f", "true@7:4"),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn lists_mappings_and_missing_values_are_read() {
        let node = read_node(&file("a: [x, 1]\nb:\n  c: ~\n")).unwrap();
        let Value::Map(entries) = node.value else {
            panic!("no mapping")
        };
        let Value::List(items) = &entries[0].1.value else {
            panic!("no list")
        };
        assert_eq!(items[1].text(), Some("1"));
        let Value::Map(inner) = &entries[1].1.value else {
            panic!("no mapping")
        };
        assert_eq!(inner[0].1.value, Value::Nothing);
        for empty in ["", "# nothing\n", "---\n"] {
            assert_eq!(read_node(&file(empty)).unwrap().value, Value::Map(vec![]));
        }
    }

    #[test]
    fn invalid_yaml_is_reported_with_its_place() {
        for (text, place) in [
            ("a: [1\nb: 2\n", ""),
            ("a: 1\na: 2\n", "a.yaml:2:1"),
            ("a: b: c\n", "a.yaml:1"),
            ("{", ""),
        ] {
            let error = read_node(&file(text)).unwrap_err();
            assert!(error.message().starts_with("not valid YAML: "), "{text}");
            assert!(error.draw(false).contains(place), "{}", error.draw(false));
        }
    }

    #[test]
    fn the_second_document_starts_after_a_marker() {
        for (text, end) in [
            ("a: 1\n---\nb: 2\n", Some(5..8)),
            ("---\na: 1\n--- # x\nb: 2\n", Some(9..16)),
            ("a: 1\n...\n# x\nb: 2\n", Some(5..8)),
            ("--- {a: 1}\n--- {b: 1}\n", Some(11..21)),
            ("---\na: 1\n", None),
            ("a: 1\n...\n", None),
            ("a: 1\n---\n# x\n", None),
            ("a: |\n  ---\n  x\n----\n", None),
        ] {
            assert_eq!(end_of_first_document(text), end, "{text}");
        }
    }

    #[test]
    fn exponentially_nested_aliases_are_rejected() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let item = format!("*a{}", level - 1);
            let items = vec![item; 9].join(", ");
            text = format!("{text}a{level}: &a{level} [{items}]\n");
        }
        assert!(read_node(&file(&text)).is_err());
    }
}
