//! Kernels in a table: `from = "csv"` with a header line, `from = "text"` with a kernel a line.

use std::sync::Arc;

use super::lists::{self, Entry, ListedKernel};
use super::{DiscoverError, Listed};
use crate::kernel::Architecture;
use crate::matrix::TargetEntry;

/// The columns, by the names that they may have; the first is the usual one.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("target", &["target"]),
    ("release", &["release", "kernelrelease", "kernel_release"]),
    ("version", &["version", "kernelversion", "kernel_version"]),
    ("architecture", &["architecture", "arch"]),
    ("headers", &["headers", "kernelurls", "packages"]),
    ("config", &["config", "kernelconfigdata"]),
];

/// Reads a CSV file. Needed is the column `release`; the others may be missing or empty: `target` is the entry's then,
/// and without `architecture` a kernel is there for all of the entry's. Several `headers` are parted by blanks;
/// `config` is base64.
pub(super) fn read_csv(
    name: &str,
    bytes: &[u8],
    entry: &TargetEntry,
) -> Result<Listed, DiscoverError> {
    let wrong = |message: String| DiscoverError::Format {
        name: name.to_owned(),
        message,
    };
    if lists::is_web_page(bytes) {
        return Err(wrong("it is a web page".to_owned()));
    }
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let head = reader.headers().map_err(|error| wrong(error.to_string()))?;
    let mut places = [None; COLUMNS.len()];
    for (position, column) in head.iter().enumerate() {
        let known = COLUMNS
            .iter()
            .position(|(_, names)| names.contains(&column.to_ascii_lowercase().as_str()));
        match known {
            Some(known) if places[known].is_some() => {
                return Err(wrong(format!(
                    "its column {} is there twice",
                    COLUMNS[known].0
                )));
            }
            Some(known) => places[known] = Some(position),
            None => {
                let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
                let help = crate::diagnostic::did_you_mean(column, names.iter().copied())
                    .unwrap_or_else(|| format!("known are {}", names.join(", ")));
                return Err(wrong(format!(
                    "its first line has an unknown column `{column}`: {help}"
                )));
            }
        }
    }
    if places[1].is_none() {
        return Err(wrong("its first line has no column `release`".to_owned()));
    }
    let source: Arc<str> = "csv".into();
    let mut read = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                read.push(Err(error.to_string()));
                continue;
            }
        };
        let cell = |column: usize| {
            let text = record.get(places[column]?)?;
            (!text.is_empty()).then_some(text)
        };
        let line = record.position().map_or(0, csv::Position::line);
        let texts = Texts {
            target: cell(0),
            release: cell(1).unwrap_or_default(),
            version: cell(2),
            architecture: cell(3),
            headers: cell(4),
            config: cell(5),
        };
        read.extend(rows(&texts, entry, &source, line));
    }
    lists::collect(name, read)
}

/// Reads a text file: `release [version [architecture]]` a line; `#` begins a comment.
pub(super) fn read_text(
    name: &str,
    bytes: &[u8],
    entry: &TargetEntry,
) -> Result<Listed, DiscoverError> {
    let wrong = |message: String| DiscoverError::Format {
        name: name.to_owned(),
        message,
    };
    if lists::is_web_page(bytes) {
        return Err(wrong("it is a web page".to_owned()));
    }
    let text = str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let source: Arc<str> = "text".into();
    let mut read = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default();
        let mut words = text.split_whitespace();
        let Some(release) = words.next() else {
            continue;
        };
        let texts = Texts {
            release,
            version: words.next(),
            architecture: words.next(),
            ..Texts::default()
        };
        match words.next() {
            Some(more) => read.push(Err(format!(
                "line {line}: `{more}` is more than release, version and architecture"
            ))),
            None => read.extend(rows(&texts, entry, &source, line)),
        }
    }
    lists::collect(name, read)
}

#[derive(Default)]
struct Texts<'a> {
    target: Option<&'a str>,
    release: &'a str,
    version: Option<&'a str>,
    architecture: Option<&'a str>,
    headers: Option<&'a str>,
    config: Option<&'a str>,
}

/// The kernels of a line: one of each architecture of the entry, where it names none.
fn rows(
    texts: &Texts<'_>,
    entry: &TargetEntry,
    source: &Arc<str>,
    line: u64,
) -> Vec<Result<ListedKernel, String>> {
    let at = |reason: String| format!("line {line}: {reason}");
    let architectures = match texts.architecture.map(str::parse::<Architecture>) {
        None => entry.architectures.clone(),
        Some(Ok(architecture)) => vec![architecture],
        Some(Err(error)) => return vec![Err(at(error.to_string()))],
    };
    let read = |architecture| {
        let headers = texts.headers.unwrap_or_default().split_whitespace();
        let entry = Entry {
            target: texts.target.unwrap_or(entry.name.get_ref().as_str()),
            release: texts.release,
            version: texts.version,
            headers: headers.map(str::to_owned).collect(),
            config: texts.config,
        };
        lists::read_entry(entry, architecture, source).map_err(at)
    };
    architectures.into_iter().map(read).collect()
}
