//! Warnings about sources that lost more kernels than is plausible.

use std::collections::BTreeSet;

use super::Context;
use super::refreshed::Refreshed;
use crate::diagnostic::Diagnostic;
use crate::discover::lock::Doubt;
use crate::text::{count, write_columns};

/// The maximum number of losses that a help line names one by one.
const NAMED_DOUBTS: usize = 3;

/// Prints a table of implausible losses, one row each. Returns whether there were any.
pub(crate) fn warn_of_doubts(context: &Context, refreshed: &Refreshed) -> bool {
    let doubts: Vec<(&str, &Doubt)> = refreshed
        .changes
        .iter()
        .flat_map(|(label, changes)| changes.doubts.iter().map(move |doubt| (&**label, doubt)))
        .collect();
    if doubts.is_empty() {
        return false;
    }
    let (lock, matrix) = (refreshed.path.display(), refreshed.matrix.display());
    let mut rows = vec![
        [
            "  SOURCE",
            "TARGET",
            "SERIES",
            "ARCHITECTURE",
            "BEFORE",
            "NOW",
        ]
        .map(str::to_owned),
    ];
    for (label, doubt) in &doubts {
        let series = match doubt.series.to_string() {
            all if all.is_empty() => "all".to_owned(),
            series => series,
        };
        rows.push([
            match (&doubt.source, &doubt.place) {
                (None, _) => format!("  {label}"),
                (Some(source), None) => format!("  {label}: {source}"),
                (Some(source), Some(place)) => format!("  {label}: {source} ({place})"),
            },
            doubt.target.to_string(),
            series,
            doubt.architecture.to_string(),
            doubt.before.to_string(),
            doubt.now.to_string(),
        ]);
    }
    let mut table = Vec::new();
    // Writing to a Vec cannot fail.
    drop(write_columns(
        &mut table,
        [false, false, false, false, true, true],
        &rows,
    ));
    let names: BTreeSet<String> = doubts.iter().map(|(_, doubt)| doubt.name()).collect();
    let named: Vec<String> = names
        .iter()
        .take(NAMED_DOUBTS)
        .map(|name| format!("--accept-shrink \"{name}\""))
        .collect();
    let patterns = if names.len() > NAMED_DOUBTS {
        "; one pattern can name several: \"ubuntu-*\", or \"*\" for all"
    } else {
        ""
    };
    let losses = count(doubts.len(), "loss");
    let warning = Diagnostic::warning(format!(
        "{lock}: {losses} not believed, so the missing kernels stay, marked unconfirmed"
    ))
    .help(format!(
        "look at the source; if the kernels are really gone, run `driverkit-matrix lock {matrix} {}`{patterns}",
        named.join(" ")
    ));
    context.warn(&[warning]);
    // One message per line: long messages are truncated, and this table has to be complete.
    for line in String::from_utf8_lossy(&table).lines() {
        context.notice(line.trim_end());
    }
    true
}
