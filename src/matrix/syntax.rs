//! Errors of a matrix that is not valid TOML.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::bracket::unclosed;
use crate::diagnostic::{Diagnostic, Place, SourceFile};

/// Returns the first fault of each line: after one, a parser often reports further faults in the rest of the line.
pub(super) fn syntax_errors(
    file: &Arc<SourceFile>,
    document: &DeTable<'_>,
    mut errors: Vec<toml::de::Error>,
) -> Vec<Diagnostic> {
    errors.sort_by_key(|error| error.span().unwrap_or_default().start);
    // Errors after an unclosed array are only its consequences.
    if errors.iter().any(|error| error.message().contains("array"))
        && let Some(start) = unclosed(&file.text)
    {
        let place = Place {
            file: Arc::clone(file),
            span: start..start + 1,
        };
        let error =
            Diagnostic::error("not TOML: this array is not closed").at(place, "opened here");
        return vec![error.help("write `]` after its last element")];
    }
    let mut diagnostics = Vec::new();
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let place = |span| Place {
            file: Arc::clone(file),
            span,
        };
        let (line, _) = place(span.clone()).line_and_column();
        if line == last_line {
            continue;
        }
        last_line = line;
        let message = error.message();
        if !message.contains("duplicate key") {
            let diagnostic = Diagnostic::error(format!("not TOML: {message}"));
            diagnostics.push(diagnostic.at(place(span), ""));
            continue;
        }
        let name = file.text.get(span.clone()).unwrap_or_default();
        let name = name.trim_matches(['"', '\'']);
        let mut diagnostic = Diagnostic::error(format!("`{name}` is given twice"))
            .at(place(span.clone()), "again here");
        if let Some(first) = last_key_before(document, name, span.start) {
            diagnostic = diagnostic.at(place(first), "first here");
        }
        diagnostics.push(diagnostic.help("remove one of the two"));
    }
    diagnostics
}

/// Returns the last position of the key `name` before a byte of the file, in any table.
fn last_key_before(table: &DeTable<'_>, name: &str, before: usize) -> Option<Range<usize>> {
    fn last_in(value: &DeValue<'_>, name: &str, before: usize) -> Option<Range<usize>> {
        match value {
            DeValue::Table(table) => last_key_before(table, name, before),
            DeValue::Array(array) => array
                .iter()
                .filter_map(|value| last_in(value.get_ref(), name, before))
                .max_by_key(|span| span.start),
            _ => None,
        }
    }
    table
        .iter()
        .flat_map(|(key, value)| {
            let own = (key.get_ref() == name && key.span().start < before).then(|| key.span());
            [own, last_in(value.get_ref(), name, before)]
        })
        .flatten()
        .max_by_key(|span| span.start)
}
