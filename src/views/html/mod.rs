//! One page for a browser: a single file that sends no requests, and that works without JavaScript except for the
//! list of kernels.
//!
//! Foreign text is escaped where it enters the page, and a policy in the head forbids every request.

mod cards;
mod charts;
mod data;
mod escape;
mod missing;

use std::fmt::Write as _;
use std::io::{self, Write};

use self::cards::push_cards;
use self::charts::day;
use self::escape::escape;
use self::missing::push_missing;
use super::coverage::{Cell, Coverage, Failures, SignatureGroup};
use super::proofs::Proofs;
use super::subject::{Subject, View};
use crate::event::Finding;
use crate::report::BuildRecord;
use crate::text::{count, separated};

/// The number of groups of failures that have the end of a log.
const WITH_LOG: usize = 20;

/// The maximum number of shown groups of failures and reasons.
const SHOWN: usize = 200;

/// The number of slow builds that are shown.
const SLOWEST: usize = 20;

/// Writes the page.
pub(super) struct Html;

impl View for Html {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(page(subject)?.as_bytes())
    }
}

// Writing to a String cannot fail, so what `write!` returns is dropped throughout.
fn page(subject: &Subject<'_>) -> io::Result<String> {
    let manifest = subject.manifest;
    let failures = Failures::of(manifest);
    let coverage = Coverage::of(manifest);
    let proofs = Proofs::of(manifest);
    let reason = match &manifest.exit {
        Some(exit) => escape(&exit.reason),
        None => "the run has not ended".to_owned(),
    };
    let mut text = String::with_capacity(1 << 20);
    let _ = write!(
        text,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>Drivers of {}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#kernels\">Skip to the list of kernels</a>\n<header>\n<h1>{reason}</h1>\n\
         <p class=\"dim\">Run {}, {}{}</p>\n</header>\n<main>\n",
        day(manifest.run.started),
        include_str!("page.css"),
        escape(&manifest.run.id),
        manifest.run.started.strftime("%Y-%m-%d %H:%M UTC"),
        manifest
            .run
            .duration_seconds
            .map_or(String::new(), |seconds| format!(
                ", {}",
                charts::span(seconds)
            )),
    );
    push_cards(&mut text, subject, &failures, &proofs);
    push_findings(&mut text, &manifest.findings);
    push_changes(&mut text, subject);
    push_coverage(&mut text, &coverage);
    push_proofs(&mut text, &proofs);
    push_failures(&mut text, subject, &failures);
    push_missing(&mut text, manifest);
    push_time(&mut text, subject);
    push_sources(&mut text, subject);
    push_kernels(&mut text);
    let _ = write!(
        text,
        "</main>\n<script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
        data::json(manifest, &failures, &coverage)?,
        include_str!("page.js"),
    );
    Ok(text)
}

/// Adds the rules of the matrices that are out of date.
fn push_findings(text: &mut String, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    text.push_str("<section id=\"findings\"><h2>Outdated rules</h2>\n<ul>\n");
    for Finding { place, message, .. } in findings.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "<li class=\"warn\">{}: {}</li>",
            escape(place),
            escape(message)
        );
    }
    let more = findings.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "<li>and {}</li>", count(more, "more rule"));
    }
    text.push_str("</ul></section>\n");
}

fn push_changes(text: &mut String, subject: &Subject<'_>) {
    let Some(diff) = subject.diff else { return };
    text.push_str("<section id=\"changes\"><h2>Changes</h2>\n");
    let _ = writeln!(
        text,
        "<p class=\"dim\">compared with {}</p>",
        escape(&diff.old_run)
    );
    text.push_str("<div class=\"wide\"><table><thead><tr><th>change<th class=\"n\">artifacts<th>class<th>first error<th>builds</tr></thead><tbody>\n");
    for (change, count) in &diff.counts {
        let groups: Vec<_> = diff
            .groups
            .iter()
            .filter(|group| group.change == *change)
            .collect();
        if groups.is_empty() {
            let _ = writeln!(
                text,
                "<tr><th>{change}<td class=\"n\">{}<td><td><td></tr>",
                separated(*count)
            );
        }
        for group in groups.iter().take(SHOWN) {
            let builds: Vec<String> = group
                .builds
                .iter()
                .map(|build| escape(build.as_str()))
                .collect();
            let _ = writeln!(
                text,
                "<tr><th>{change}<td class=\"n\">{}<td>{}<td class=\"first\">{}<td>{}</tr>",
                separated(group.artifacts),
                group.class,
                escape(&group.signature),
                builds.join("<br>")
            );
        }
    }
    text.push_str("</tbody></table></div></section>\n");
}

fn push_coverage(text: &mut String, coverage: &Coverage) {
    text.push_str("<section id=\"coverage\"><h2>Coverage</h2>\n<div class=\"wide\"><table id=\"coverage-table\"><caption>Available artifacts of those wanted; choose a cell to see its kernels</caption><thead><tr><th>target");
    for driver in &coverage.drivers {
        let _ = write!(
            text,
            "<th class=\"n\" scope=\"col\">{}",
            escape(driver.as_str())
        );
    }
    text.push_str("</tr></thead><tbody>\n");
    for (target, cells) in &coverage.targets {
        let target = escape(target.as_str());
        let _ = write!(text, "<tr><th scope=\"row\">{target}");
        for (position, driver) in coverage.drivers.iter().enumerate() {
            let Some(Cell {
                there,
                wanted,
                known,
            }) = cells.get(driver)
            else {
                text.push_str("<td>");
                continue;
            };
            let class = match there + known {
                all if all >= *wanted => "full",
                0 => "none",
                _ => "part",
            };
            let (there, wanted) = (separated(*there), separated(*wanted));
            let _ = write!(
                text,
                "<td><button class=\"{class}\" data-target=\"{target}\" data-driver=\"{position}\" \
                 aria-label=\"{target}, driver {}: {there} of {wanted}\">{there}/{wanted}</button>",
                escape(driver.as_str())
            );
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div></section>\n");
}

/// Adds the results of loading artifacts into their kernels.
fn push_proofs(text: &mut String, proofs: &Proofs) {
    if proofs.rows.is_empty() {
        return;
    }
    text.push_str("<section id=\"proofs\"><h2>Artifacts loaded into their kernels</h2>\n<div class=\"wide\"><table><thead><tr><th>target<th>driver<th class=\"n\">loaded<th class=\"n\">refused<th class=\"n\">not proven</tr></thead><tbody>\n");
    for ((target, driver), counts) in &proofs.rows {
        let refused = if counts.refused > 0 { " bad" } else { "" };
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}<td>{}<td class=\"n\">{}<td class=\"n{refused}\">{}<td class=\"n\">{}</tr>",
            escape(target.as_str()),
            escape(driver.as_str()),
            separated(counts.loaded),
            separated(counts.refused),
            separated(counts.not_proven)
        );
    }
    text.push_str("</tbody></table></div>\n");
    if !proofs.reasons.is_empty() {
        text.push_str("<ul>\n");
        for (result, reason, count) in proofs.reasons.iter().take(SHOWN) {
            let _ = writeln!(
                text,
                "<li>{} × {}: {}</li>",
                separated(*count),
                result.as_str(),
                escape(reason)
            );
        }
        text.push_str("</ul>\n");
    }
    text.push_str("</section>\n");
}

fn push_failures(text: &mut String, subject: &Subject<'_>, failures: &Failures<'_>) {
    text.push_str("<section id=\"failures\"><h2>Failures by signature</h2>\n");
    if failures.groups.is_empty() {
        text.push_str("<p class=\"good\">Nothing failed.</p>\n");
    }
    for (position, group) in failures.groups.iter().take(SHOWN).enumerate() {
        push_group(text, subject, group, position < WITH_LOG);
    }
    let more = failures.groups.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "<p>and {} of failure</p>", count(more, "more kind"));
    }
    text.push_str("</section>\n");
}

fn push_group(text: &mut String, subject: &Subject<'_>, group: &SignatureGroup<'_>, has_log: bool) {
    let since = group
        .oldest()
        .map_or(String::new(), |at| format!(", since {}", day(at)));
    let known = if group.is_known {
        "<span class=\"warn\">known</span> "
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "<details><summary>{known}<strong>{}</strong> × {} ({}{since}): {}</summary>",
        separated(group.members.len()),
        group.class,
        group.phase,
        escape(&group.signature)
    );
    let Some((build, artifact)) = group.members.first() else {
        text.push_str("</details>\n");
        return;
    };
    if let Some(failure) = &artifact.failure {
        let first = failure.first_error.as_ref().map(ToString::to_string);
        let first = first.unwrap_or_else(|| failure.message.clone());
        let _ = writeln!(text, "<p>First error: <code>{}</code></p>", escape(&first));
    }
    if let Some(known) = &artifact.known {
        let _ = writeln!(
            text,
            "<p class=\"warn\">Known failure ({}): {}</p>",
            escape(&known.place),
            escape(&known.reason)
        );
    }
    let _ = writeln!(
        text,
        "<p>Rebuild: <code>{}</code></p>",
        escape(&(subject.reproduce)(&build.build_id))
    );
    let names = group.members.iter().take(10);
    let names: Vec<String> = names
        .map(|(build, _)| escape(build.build_id.as_str()))
        .collect();
    let _ = writeln!(text, "<p class=\"dim\">{}</p>", names.join("<br>"));
    let log = artifact.log.as_ref().filter(|_| has_log);
    if let Some(excerpt) = log.and_then(|log| (subject.excerpt)(log)) {
        // Line by line, since `clean` joins lines.
        let lines: Vec<String> = excerpt.lines().map(escape).collect();
        let _ = writeln!(
            text,
            "<pre tabindex=\"0\" aria-label=\"end of the log\">{}</pre>",
            lines.join("\n")
        );
    }
    text.push_str("</details>\n");
}

fn push_time(text: &mut String, subject: &Subject<'_>) {
    let manifest = subject.manifest;
    text.push_str("<section id=\"time\"><h2>Time</h2>\n");
    text.push_str(&charts::bars(&charts::phases(manifest)));
    text.push_str(&charts::nights(subject));
    let mut slowest: Vec<&BuildRecord> = manifest
        .builds
        .iter()
        .filter(|build| build.cpu_seconds.is_some())
        .collect();
    slowest.sort_by(|left, right| {
        right
            .cpu_seconds
            .unwrap_or(0.0)
            .total_cmp(&left.cpu_seconds.unwrap_or(0.0))
    });
    if !slowest.is_empty() {
        text.push_str("<div class=\"wide\"><table><caption>Slowest builds</caption><thead><tr><th>build<th class=\"n\">CPU time<th class=\"n\">waited</tr></thead><tbody>\n");
        for build in slowest.into_iter().take(SLOWEST) {
            let _ = writeln!(
                text,
                "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
                escape(build.build_id.as_str()),
                charts::span(build.cpu_seconds.unwrap_or_default()),
                build.queued_seconds.map_or(String::new(), charts::span)
            );
        }
        text.push_str("</tbody></table></div>\n");
    }
    text.push_str("</section>\n");
}

fn push_sources(text: &mut String, subject: &Subject<'_>) {
    let recent = subject.complete_nights(7);
    text.push_str("<section id=\"sources\"><h2>Sources</h2>\n<div class=\"wide\"><table><caption>Kernels that each source names, over the last nights</caption><thead><tr><th>source");
    for night in &recent {
        let _ = write!(text, "<th class=\"n\">{}", day(night.run.started));
    }
    let is_complete = subject.manifest.run.extent().is_complete();
    let title = if is_complete {
        "this night"
    } else {
        "this run, incomplete"
    };
    let _ = writeln!(text, "<th class=\"n\">{title}</tr></thead><tbody>");
    let now = &subject.manifest.sources;
    let names: std::collections::BTreeSet<&String> = recent
        .iter()
        .flat_map(|night| night.sources.keys())
        .chain(now.keys())
        .collect();
    for name in names {
        let _ = write!(text, "<tr><td>{}", escape(name));
        for counts in recent.iter().map(|night| &night.sources).chain([now]) {
            let count = counts
                .get(name)
                .map_or(String::new(), |count| separated(*count));
            let _ = write!(text, "<td class=\"n\">{count}");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div></section>\n");
}

/// Adds the elements that the script fills.
fn push_kernels(text: &mut String) {
    text.push_str(
        "<noscript><p>The list of all kernels needs JavaScript; `manifest.csv` has it too.</p></noscript>\n\
         <section id=\"kernels\" hidden><h2>Kernels</h2>\n<div class=\"filter\" role=\"search\">\
         <label>Filter <input id=\"filter\" type=\"search\" autocomplete=\"off\" placeholder=\"debian 6.1 failed\"></label>\
         <label>Driver <select id=\"driver\"><option value=\"\">all</option></select></label>\
         <label>Status <select id=\"state\"><option value=\"\">all</option></select></label>\
         <span id=\"count\" role=\"status\" aria-live=\"polite\"></span></div>\n\
         <div class=\"wide\"><table><thead><tr><th>target<th>kernel<th>version<th>architecture<th>first seen<th>status<th>why</tr></thead>\
         <tbody id=\"rows\"></tbody></table></div></section>\n",
    );
}
