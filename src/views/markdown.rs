//! A summary in Markdown, for the page of a CI job: at most 1 MiB, the newest failures first.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::coverage::{Coverage, Failures};
use super::proofs::Proofs;
use super::subject::{Subject, View};
use crate::history::{draw_markdown, escape_markdown};
use crate::text::{count, separated};

/// The maximum size of the summary: GitHub's limit for the summary of a step.
const MOST_BYTES: usize = 1 << 20;

/// The space reserved for the line that says what was cut.
const RESERVED_BYTES: usize = 256;

/// The number of sample builds of a group.
const SAMPLES: usize = 3;

/// The maximum number of shown reasons why artifacts were not proven.
const REASONS: usize = 10;

/// Writes Markdown.
pub(super) struct Markdown;

impl View for Markdown {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(text(subject, MOST_BYTES).as_bytes())
    }
}

/// Returns the summary in at most `most` bytes.
fn text(subject: &Subject<'_>, most: usize) -> String {
    let manifest = subject.manifest;
    let exit = manifest.exit.as_ref();
    let reason = exit.map_or("the run has not ended", |exit| exit.reason.as_str());
    let mut text = format!(
        "# Drivers: {}\n\nRun {}, {}.\n\n",
        escape_markdown(reason),
        escape_markdown(&manifest.run.id),
        manifest.run.started.strftime("%Y-%m-%d %H:%M UTC")
    );
    text.push_str("| status | artifacts |\n| --- | ---: |\n");
    for (status, count) in &manifest.totals.by_status {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {status} | {} |", separated(*count));
    }
    if !manifest.excluded.is_empty() {
        let _ = writeln!(
            text,
            "| excluded | {} |",
            separated(manifest.excluded.len())
        );
    }
    for finding in &manifest.findings {
        let (place, message) = (&finding.place, &finding.message);
        let _ = write!(
            text,
            "\n**{}**: {}\n",
            escape_markdown(place),
            escape_markdown(message)
        );
    }
    if let Some(diff) = subject.diff {
        text.push('\n');
        text.push_str(&draw_markdown(diff));
    }
    push_coverage(&mut text, &Coverage::of(manifest));
    push_proofs(&mut text, &Proofs::of(manifest));
    let failures = Failures::of(manifest);
    if failures.groups.is_empty() {
        return cut(text, most, 0);
    }
    text.push_str("\n## Failures\n\n| artifacts | class | first error | since | builds |\n| ---: | --- | --- | --- | --- |\n");
    let mut left = 0;
    for group in &failures.groups {
        let builds = group.members.iter().take(SAMPLES);
        let builds: Vec<String> = builds
            .map(|(build, _)| escape_markdown(build.build_id.as_str()))
            .collect();
        let since = group.oldest().map(|at| at.strftime("%Y-%m-%d").to_string());
        let known = if group.is_known { ", known" } else { "" };
        let line = format!(
            "| {} | {}{known} | {} | {} | {} |\n",
            separated(group.members.len()),
            group.class,
            escape_markdown(&group.signature),
            since.unwrap_or_default(),
            builds.join("<br>")
        );
        if left > 0 || text.len() + line.len() + RESERVED_BYTES > most {
            left += 1;
        } else {
            text.push_str(&line);
        }
    }
    cut(text, most, left)
}

fn push_coverage(text: &mut String, coverage: &Coverage) {
    text.push_str("\n## Coverage\n\n| target |");
    for driver in &coverage.drivers {
        let _ = write!(text, " {} |", escape_markdown(driver.as_str()));
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(coverage.drivers.len()));
    text.push('\n');
    for (target, cells) in &coverage.targets {
        let _ = write!(text, "| {} |", escape_markdown(target.as_str()));
        for driver in &coverage.drivers {
            let cell = cells.get(driver);
            let cell = cell.map_or(String::new(), |cell| {
                format!("{}/{}", separated(cell.there), separated(cell.wanted))
            });
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

/// Adds the results of loading artifacts into their kernels.
fn push_proofs(text: &mut String, proofs: &Proofs) {
    if proofs.rows.is_empty() {
        return;
    }
    text.push_str("\n## Proof\n\n| target | driver | loaded | refused | not proven |\n| --- | --- | ---: | ---: | ---: |\n");
    for ((target, driver), counts) in &proofs.rows {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            escape_markdown(target.as_str()),
            escape_markdown(driver.as_str()),
            separated(counts.loaded),
            separated(counts.refused),
            separated(counts.not_proven)
        );
    }
    for (result, reason, count) in proofs.reasons.iter().take(REASONS) {
        let _ = write!(
            text,
            "\n- {} × {}: {}",
            separated(*count),
            escape_markdown(result.as_str()),
            escape_markdown(reason)
        );
    }
    text.push('\n');
}

/// Adds the number of groups that were left out; cuts text that is still too long at the end of a line.
fn cut(mut text: String, most: usize, left: usize) -> String {
    let is_long = text.len() + RESERVED_BYTES > most;
    if is_long {
        let end = text.floor_char_boundary(most.saturating_sub(RESERVED_BYTES));
        let end = text[..end].rfind('\n').map_or(0, |position| position + 1);
        text.truncate(end);
    }
    let kinds = format!("{} of failure", count(left, "other kind"));
    let omitted = match (is_long, left) {
        (false, 0) => return text,
        (false, _) => kinds,
        (true, 0) => "The rest of the summary".to_owned(),
        (true, _) => format!("The rest of the summary, and {kinds}"),
    };
    let _ = write!(text, "\n{omitted} omitted: see the manifest.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_line_with_a_notice() {
        for (lines, left, notice) in [
            (
                1000,
                0,
                "\nThe rest of the summary omitted: see the manifest.\n",
            ),
            (
                1000,
                7,
                "\nThe rest of the summary, and 7 other kinds of failure omitted: see the manifest.\n",
            ),
            (
                3,
                1,
                "\n1 other kind of failure omitted: see the manifest.\n",
            ),
            (3, 0, ""),
        ] {
            let text = cut("a line\n".repeat(lines), 1000, left);
            assert!(text.len() <= 1000);
            let shown = text.strip_suffix(notice).unwrap();
            assert!(shown.ends_with("a line\n"), "{text}");
        }
    }
}
