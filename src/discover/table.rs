//! Reads kernels from a table: `from = "csv"` with a header line, or `from = "text"` with one kernel per line.

use std::sync::Arc;

use super::DiscoverError;
use super::listed::Listed;
use super::lists::{self, Entry};
use crate::diagnostic::{Diagnostic, Place, SourceFile};
use crate::kernel::Architecture;
use crate::matrix::{ListPlace, TargetEntry};

/// The maximum number of errors of a file that are shown.
const SHOWN_FAULTS: usize = 50;

/// The columns with their accepted names. The first name is the usual one.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("target", &["target"]),
    ("release", &["release", "kernelrelease", "kernel_release"]),
    ("version", &["version", "kernelversion", "kernel_version"]),
    ("architecture", &["architecture", "arch"]),
    ("headers", &["headers", "kernelurls", "packages"]),
    ("config", &["config", "kernelconfigdata"]),
];

/// The errors of a table, and its kernels. If a line is invalid, the whole table is rejected, because the user wrote
/// it.
struct Rows {
    file: Arc<SourceFile>,
    listed: Listed,
    faults: Vec<Diagnostic>,
}

impl Rows {
    /// Starts with a text. Returns an error if it contains conflict markers.
    fn of(place: &ListPlace, text: String) -> Result<Self, DiscoverError> {
        let path = if place.is_remote() {
            place.written.clone().into()
        } else {
            place.path()
        };
        let file = Arc::new(SourceFile { path, text });
        match file.conflict_marker() {
            Some(marker) => Err(DiscoverError::Files(vec![marker])),
            None => Ok(Self {
                file,
                listed: Listed::default(),
                faults: Vec::new(),
            }),
        }
    }

    /// Adds an error about the line that starts at a byte position of the file.
    fn fault(&mut self, start: usize, message: impl Into<String>, help: Option<String>) {
        let text = self.file.text.get(start..).unwrap_or_default();
        // Empty lines can precede the row.
        let line = text.trim_start_matches(['\r', '\n']);
        let start = start + text.len() - line.len();
        let line = line.lines().next().unwrap_or_default();
        let place = Place {
            file: Arc::clone(&self.file),
            span: start..start + line.len(),
        };
        let fault = Diagnostic::error(message).at(place, "");
        self.faults.push(fault.maybe_help(help));
    }

    /// Adds the kernels of a line. A line without an architecture adds one kernel for each architecture of the entry.
    fn add(&mut self, start: usize, texts: &Texts<'_>, entry: &TargetEntry, source: &Arc<str>) {
        let architectures = match texts.architecture.map(str::parse::<Architecture>) {
            None => entry.architectures.clone(),
            Some(Ok(architecture)) => vec![architecture],
            Some(Err(error)) => return self.fault(start, error.to_string(), None),
        };
        for architecture in architectures {
            let headers = texts.headers.unwrap_or_default().split_whitespace();
            let entry = Entry {
                target: texts.target.unwrap_or(entry.name.get_ref().as_str()),
                release: texts.release,
                version: texts.version,
                headers: headers.map(Into::into).collect(),
                config: texts.config,
            };
            match lists::read_entry(entry, architecture, source) {
                Ok((mut found, config)) => {
                    found.position = u32::try_from(start).unwrap_or(u32::MAX);
                    if let (Some(digest), Some(config)) = (found.kernel.config_sha256, config) {
                        self.listed.configs.insert(digest, config);
                    }
                    self.listed.found.push(found);
                }
                // Other architectures would give the same error.
                Err(reason) => return self.fault(start, reason, None),
            }
        }
    }

    fn finish(mut self) -> Result<Listed, DiscoverError> {
        if self.faults.is_empty() {
            let name = self.file.path.display().to_string();
            let text = self.file.text.as_bytes();
            let line_of = |start: &usize| {
                // Empty lines can precede the row.
                let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
                let empty = text[*start..].iter().take_while(is_end).count();
                1 + memchr::memchr_iter(b'\n', &text[..start + empty]).count()
            };
            let lines_of = |starts: &[usize]| starts.iter().map(line_of).collect();
            lists::merge_repeated(&name, &mut self.listed, Some(&lines_of));
            return Ok(self.listed);
        }
        let hidden = self.faults.len().saturating_sub(SHOWN_FAULTS);
        self.faults.truncate(SHOWN_FAULTS);
        if hidden > 0 {
            let message = format!("{hidden} more lines are invalid");
            self.faults.push(Diagnostic::error(message));
        }
        Err(DiscoverError::Files(self.faults))
    }
}

/// Reads a CSV file. The column `release` is required. The others can be missing or empty: the default `target` is the
/// entry's, and without `architecture` a kernel exists for each architecture of the entry. Several `headers` are
/// separated by spaces. `config` is base64.
pub(super) fn read_csv(
    place: &ListPlace,
    text: String,
    entry: &TargetEntry,
) -> Result<Listed, DiscoverError> {
    let mut rows = Rows::of(place, text)?;
    let file = Arc::clone(&rows.file);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(file.text.as_bytes());
    let columns = match reader.headers() {
        Ok(head) => columns_of(head, &mut rows),
        Err(error) => {
            rows.fault(0, error.to_string(), None);
            None
        }
    };
    let Some(columns) = columns else {
        return rows.finish();
    };
    let source: Arc<str> = "csv".into();
    for record in reader.records() {
        let start = |position: Option<&csv::Position>| {
            let byte = position.map_or(0, csv::Position::byte);
            usize::try_from(byte).unwrap_or_default()
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let message = match error.kind() {
                    csv::ErrorKind::UnequalLengths {
                        expected_len, len, ..
                    } => format!("expected {expected_len} cells as in the first line, got {len}"),
                    _ => error.to_string(),
                };
                rows.fault(start(error.position()), message, None);
                continue;
            }
        };
        let cell = |column: usize| {
            let text = record.get(columns[column]?)?;
            (!text.is_empty()).then_some(text)
        };
        let Some(release) = cell(1) else {
            let message = "column `release` is empty in this row";
            rows.fault(start(record.position()), message, None);
            continue;
        };
        let texts = Texts {
            target: cell(0),
            release,
            version: cell(2),
            architecture: cell(3),
            headers: cell(4),
            config: cell(5),
        };
        rows.add(start(record.position()), &texts, entry, &source);
    }
    rows.finish()
}

/// Returns the position of each of [`COLUMNS`] in the first line.
fn columns_of(head: &csv::StringRecord, rows: &mut Rows) -> Option<[Option<usize>; COLUMNS.len()]> {
    let mut places = [None; COLUMNS.len()];
    for (position, column) in head.iter().enumerate() {
        let known = COLUMNS
            .iter()
            .position(|(_, names)| names.contains(&column.to_ascii_lowercase().as_str()));
        match known {
            Some(known) if places[known].is_some() => {
                let message = format!("duplicate column `{}`", COLUMNS[known].0);
                rows.fault(0, message, None);
            }
            Some(known) => places[known] = Some(position),
            None => {
                let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
                let help = crate::diagnostic::did_you_mean(column, names.iter().copied())
                    .unwrap_or_else(|| format!("known columns: {}", names.join(", ")));
                rows.fault(0, format!("unknown column `{column}`"), Some(help));
            }
        }
    }
    if places[1].is_none() {
        let help =
            "the first line names the columns, as in target,release,version,architecture,headers";
        rows.fault(0, "missing column `release`", Some(help.to_owned()));
    }
    rows.faults.is_empty().then_some(places)
}

/// Reads a text file. Each line is `release [version [architecture]]`; `#` starts a comment.
pub(super) fn read_text(
    place: &ListPlace,
    text: String,
    entry: &TargetEntry,
) -> Result<Listed, DiscoverError> {
    let mut rows = Rows::of(place, text)?;
    let file = Arc::clone(&rows.file);
    let source: Arc<str> = "text".into();
    let mut next = 0;
    for line in file.text.split_inclusive('\n') {
        let start = next;
        next += line.len();
        let text = line.split('#').next().unwrap_or_default();
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
            Some(more) => {
                let message =
                    format!("unexpected `{more}` after release, version and architecture");
                rows.fault(start, message, None);
            }
            None => rows.add(start, &texts, entry, &source),
        }
    }
    rows.finish()
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
