//! Renders a [`Diff`] for people.

use std::fmt::Write as _;

use super::{Change, Diff, Group};
use crate::report::clean;
use crate::text::separated;

/// The maximum number of builds that are listed for a change.
const NAMED: usize = 10;

/// The changes whose builds are listed; others are only counted.
const LISTED: [Change; 5] = [
    Change::Lost,
    Change::Fixed,
    Change::New,
    Change::Renamed,
    Change::Gone,
];

/// Returns the difference as plain text: counts, failures by signature, then lists of artifacts.
pub fn draw_text(diff: &Diff) -> String {
    let mut text = format!("{} compared with {}\n", diff.new_run, diff.old_run);
    for (change, count) in &diff.counts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {change:<14} {:>7}", separated(*count));
    }
    if diff.changes.is_empty() {
        text.push_str("nothing changed\n");
    }
    let mut last = None;
    for group in &diff.groups {
        if last != Some(group.change) {
            let _ = writeln!(text, "\n{}", group.change);
            last = Some(group.change);
        }
        let _ = writeln!(
            text,
            "  {} x {}: {}{}",
            separated(group.artifacts),
            group.class,
            clean(&group.signature),
            since(group)
        );
        for build in &group.builds {
            let _ = writeln!(text, "      {build}");
        }
    }
    for (change, lines) in listed(diff) {
        let _ = writeln!(text, "\n{change}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// Like [`draw_text`], but as Markdown.
pub fn draw_markdown(diff: &Diff) -> String {
    let mut text = format!(
        "## {} compared with {}\n\n| change | artifacts |\n| --- | ---: |\n",
        escape_markdown(&diff.new_run),
        escape_markdown(&diff.old_run)
    );
    for (change, count) in &diff.counts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {change} | {} |", separated(*count));
    }
    if !diff.groups.is_empty() {
        text.push_str("\n| change | artifacts | class | first error | builds |\n| --- | ---: | --- | --- | --- |\n");
        for group in &diff.groups {
            let builds: Vec<String> = group
                .builds
                .iter()
                .map(|build| escape_markdown(build.as_str()))
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {}{} | {} |",
                group.change,
                separated(group.artifacts),
                group.class,
                escape_markdown(&group.signature),
                since(group),
                builds.join("<br>")
            );
        }
    }
    for (change, lines) in listed(diff) {
        let _ = writeln!(text, "\n### {change}\n");
        for line in lines {
            let _ = writeln!(text, "- {}", escape_markdown(&line));
        }
    }
    text
}

/// Returns since when the artifacts of a group have been failing, unless the group is new.
fn since(group: &Group) -> String {
    match group.failing_since {
        Some(at) if matches!(group.change, Change::StillFailing | Change::KnownFailure) => {
            format!(" (since {})", at.strftime("%Y-%m-%d"))
        }
        _ => String::new(),
    }
}

/// Returns the artifacts of listed changes, one per line, at most [`NAMED`] for each change.
fn listed(diff: &Diff) -> Vec<(Change, Vec<String>)> {
    LISTED
        .into_iter()
        .filter_map(|change| {
            let of_change = diff.changes.iter().filter(|one| one.change == change);
            let mut lines: Vec<String> = of_change
                .take(NAMED)
                .map(|one| match &one.renamed_from {
                    Some(before) => format!("{} ({}), was {before}", one.build_id, one.id.artifact),
                    None => format!("{} ({})", one.build_id, one.id.artifact),
                })
                .collect();
            let more = diff.count(change).saturating_sub(lines.len());
            if more > 0 {
                lines.push(format!("and {} more", separated(more)));
            }
            (!lines.is_empty()).then_some((change, lines))
        })
        .collect()
}

/// Escapes foreign text for a cell of a Markdown table, so that it is one line without markup.
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in clean(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' | '\r' => escaped.push(' '),
            '&' => escaped.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}
