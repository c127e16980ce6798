//! One page for a browser: a single file that requests nothing, readable without its script down to the coverage table.
//!
//! Foreign texts are escaped where they enter the page, and a policy in its head forbids every request.

mod charts;
mod data;

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;

use self::charts::day;
use super::coverage::{Cell, Coverage, Failures, SignatureGroup};
use super::subject::{PastNight, Subject, View};
use crate::history::Change;
use crate::report::{BuildRecord, Manifest, clean};
use crate::text::count;

/// How many groups of failures have the end of a log.
const WITH_LOG: usize = 20;

/// How many groups of failures, kernels without a driver and slow builds are shown.
const SHOWN: usize = 200;

/// How many slow builds are shown.
const SLOWEST: usize = 20;

/// Writes the page.
pub(super) struct Html;

impl View for Html {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(page(subject)?.as_bytes())
    }
}

/// Returns foreign text as it may stand in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in clean(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

// Writing to a String cannot fail, so what `write!` returns is dropped throughout.
fn page(subject: &Subject<'_>) -> io::Result<String> {
    let manifest = subject.manifest;
    let failures = Failures::of(manifest);
    let coverage = Coverage::of(manifest);
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
    push_cards(&mut text, subject, &failures);
    push_changes(&mut text, subject);
    push_coverage(&mut text, &coverage);
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

/// The five questions of the morning.
fn push_cards(text: &mut String, subject: &Subject<'_>, failures: &Failures<'_>) {
    let manifest = subject.manifest;
    let there = PastNight::of(manifest).there();
    let planned = manifest.totals.artifacts_planned;
    // A group may hold failures that a rule expects beside others.
    let unexpected = failures.count() - failures.known();
    text.push_str("<ul class=\"cards\">\n");
    let class = if unexpected == 0 && there > 0 {
        "good"
    } else {
        "bad"
    };
    let _ = writeln!(
        text,
        "<li><h2>Did the night work?</h2><strong class=\"{class}\" id=\"there\">{there} of {planned}</strong>\
         <p>{unexpected} unexpected failures, {} known, {} left out by rules</p></li>",
        manifest.totals.artifacts_known(),
        manifest.excluded.len()
    );
    text.push_str("<li><h2>What broke since the baseline?</h2>");
    match subject.diff {
        None => text
            .push_str("<strong>first night</strong><p>There is no baseline to compare with.</p>"),
        Some(diff) => {
            let broken = diff.count(Change::Regressed) + diff.count(Change::NewFailure);
            let class = if broken == 0 { "good" } else { "bad" };
            let _ = write!(
                text,
                "<strong class=\"{class}\">{broken} broke</strong><p>{} fixed, {} new, {} lost</p><ul>",
                diff.count(Change::Fixed),
                diff.count(Change::New),
                diff.count(Change::Lost)
            );
            let broke = |change| matches!(change, Change::Regressed | Change::NewFailure);
            for group in diff
                .groups
                .iter()
                .filter(|group| broke(group.change))
                .take(3)
            {
                let _ = write!(
                    text,
                    "<li>{} × {}</li>",
                    group.artifacts,
                    escape(&group.signature)
                );
            }
            text.push_str("</ul>");
        }
    }
    text.push_str("</li>\n<li><h2>Which kernels lack a driver?</h2>");
    let missing = missing(manifest);
    let _ = write!(
        text,
        "<strong>{}</strong><ul>",
        count(missing.len(), "kernel")
    );
    for (build, since) in missing.iter().take(3) {
        let since = since.map_or(String::new(), |at| format!(" since {}", day(at)));
        let _ = write!(
            text,
            "<li>{} {}{since}</li>",
            build.target, build.kernel_release
        );
    }
    text.push_str("</ul></li>\n<li><h2>Is a source drying up?</h2>");
    push_drying(text, subject);
    text.push_str("</li>\n<li><h2>Where did the time go?</h2>");
    let total = manifest.run.duration_seconds.unwrap_or_default();
    let _ = write!(text, "<strong>{}</strong><ul>", charts::span(total));
    for (phase, seconds) in charts::phases(manifest).into_iter().take(3) {
        let _ = write!(text, "<li>{phase}: {} of work</li>", charts::span(seconds));
    }
    text.push_str("</ul></li>\n</ul>\n");
}

/// The sources that name fewer kernels than on the night before.
fn push_drying(text: &mut String, subject: &Subject<'_>) {
    let Some(last) = subject.history.last() else {
        text.push_str("<strong>unknown</strong><p>No earlier night is known.</p>");
        return;
    };
    let now = &subject.manifest.sources;
    let fewer: Vec<(&String, usize, usize)> = last
        .sources
        .iter()
        .map(|(source, before)| {
            (
                source,
                *before,
                now.get(source).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, before, now)| now < before)
        .collect();
    let class = if fewer.is_empty() { "good" } else { "warn" };
    let _ = write!(
        text,
        "<strong class=\"{class}\">{} shrank</strong><ul>",
        fewer.len()
    );
    for (source, before, now) in fewer.iter().take(3) {
        let _ = write!(text, "<li>{}: {now}, was {before}</li>", escape(source));
    }
    text.push_str("</ul>");
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
                "<tr><th>{change}<td class=\"n\">{count}<td><td><td></tr>"
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
                group.artifacts,
                group.class,
                escape(&group.signature),
                builds.join("<br>")
            );
        }
    }
    text.push_str("</tbody></table></div></section>\n");
}

fn push_coverage(text: &mut String, coverage: &Coverage) {
    text.push_str("<section id=\"coverage\"><h2>Coverage</h2>\n<div class=\"wide\"><table id=\"coverage-table\"><caption>Artifacts that there are, of those wanted; choose a cell to see its kernels</caption><thead><tr><th>target");
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

fn push_failures(text: &mut String, subject: &Subject<'_>, failures: &Failures<'_>) {
    text.push_str("<section id=\"failures\"><h2>Failures by what they have in common</h2>\n");
    if failures.groups.is_empty() {
        text.push_str("<p class=\"good\">Nothing failed.</p>\n");
    }
    for (position, group) in failures.groups.iter().take(SHOWN).enumerate() {
        push_group(text, subject, group, position < WITH_LOG);
    }
    let more = failures.groups.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "<p>and {more} more kinds of failure</p>");
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
        group.members.len(),
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
        "<p>Do it again: <code>driverkit-matrix rebuild {}</code></p>",
        escape(build.build_id.as_str())
    );
    let names = group.members.iter().take(10);
    let names: Vec<String> = names
        .map(|(build, _)| escape(build.build_id.as_str()))
        .collect();
    let _ = writeln!(text, "<p class=\"dim\">{}</p>", names.join("<br>"));
    let log = artifact.log.as_ref().filter(|_| has_log);
    if let Some(excerpt) = log.and_then(|log| (subject.excerpt)(log)) {
        // Line by line: `clean` makes one line of what it is given.
        let lines: Vec<String> = excerpt.lines().map(escape).collect();
        let _ = writeln!(
            text,
            "<pre tabindex=\"0\" aria-label=\"end of the log\">{}</pre>",
            lines.join("\n")
        );
    }
    text.push_str("</details>\n");
}

/// A build of each kernel that lacks a driver, the longest without first.
fn missing(manifest: &Manifest) -> Vec<(&BuildRecord, Option<Timestamp>)> {
    let mut missing: Vec<(&BuildRecord, Option<Timestamp>)> = Vec::new();
    for build in &manifest.builds {
        let failing = build
            .artifacts
            .iter()
            .filter(|artifact| artifact.failure.is_some());
        let Some(since) = failing.map(|artifact| artifact.failing_since).min() else {
            continue;
        };
        let is_same = |other: &BuildRecord| {
            other.kernel_release == build.kernel_release
                && other.target == build.target
                && other.kernel_version == build.kernel_version
                && other.architecture == build.architecture
        };
        match missing.last_mut() {
            Some((last, oldest)) if is_same(last) => *oldest = (*oldest).min(since).or(since),
            _ => missing.push((build, since)),
        }
    }
    missing.sort_by_key(|(_, since)| (since.is_none(), *since));
    missing
}

fn push_missing(text: &mut String, manifest: &Manifest) {
    let missing = missing(manifest);
    text.push_str("<section id=\"missing\"><h2>Kernels that lack a driver, the longest first</h2>\n<div class=\"wide\"><table><thead><tr><th>target<th>kernel<th>architecture<th>first seen<th>failing since<th>class</tr></thead><tbody>\n");
    for (build, since) in missing.iter().take(SHOWN) {
        let failure = build
            .artifacts
            .iter()
            .find_map(|artifact| artifact.failure.as_ref());
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(build.target.as_str()),
            escape(build.kernel_release.as_str()),
            build.architecture,
            build
                .first_seen
                .map_or(String::new(), |day| day.to_string()),
            since.map_or(String::new(), day),
            failure.map_or("", |failure| failure.class.as_str()),
        );
    }
    text.push_str("</tbody></table></div>\n");
    let more = missing.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "<p>and {more} more: filter below</p>");
    }
    text.push_str("</section>\n");
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
        text.push_str("<div class=\"wide\"><table><caption>Slowest builds</caption><thead><tr><th>build<th class=\"n\">processor time<th class=\"n\">waited</tr></thead><tbody>\n");
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
    let recent = &subject.history[subject.history.len().saturating_sub(7)..];
    text.push_str("<section id=\"sources\"><h2>Sources</h2>\n<div class=\"wide\"><table><caption>Kernels that each source names, over the last nights</caption><thead><tr><th>source");
    for night in recent {
        let _ = write!(text, "<th class=\"n\">{}", day(night.run.started));
    }
    text.push_str("<th class=\"n\">this night</tr></thead><tbody>\n");
    let now = &subject.manifest.sources;
    let names: std::collections::BTreeSet<&String> = recent
        .iter()
        .flat_map(|night| night.sources.keys())
        .chain(now.keys())
        .collect();
    for name in names {
        let _ = write!(text, "<tr><td>{}", escape(name));
        for counts in recent.iter().map(|night| &night.sources).chain([now]) {
            let count = counts.get(name).map_or(String::new(), ToString::to_string);
            let _ = write!(text, "<td class=\"n\">{count}");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div></section>\n");
}

/// What the script fills.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_no_markup() {
        assert_eq!(
            escape("<script>alert('\"&')</script>"),
            "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;"
        );
    }
}
