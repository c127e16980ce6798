//! The first screen of the page, with the five questions of the morning.

use std::fmt::Write as _;

use super::charts::{self, day};
use super::escape::escape;
use super::missing::missing;
use crate::history::Change;
use crate::text::{count, separated};
use crate::views::coverage::Failures;
use crate::views::proofs::{ProofCounts, Proofs};
use crate::views::subject::{PastNight, Subject};

/// Adds the cards with the five questions of the morning.
pub(super) fn push_cards(
    text: &mut String,
    subject: &Subject<'_>,
    failures: &Failures<'_>,
    proofs: &Proofs,
) {
    let manifest = subject.manifest;
    let there = PastNight::of(manifest).there();
    let planned = manifest.totals.artifacts_planned;
    let unexpected = failures.count() - failures.known();
    text.push_str("<ul class=\"cards\">\n");
    let class = if unexpected == 0 && there > 0 {
        "good"
    } else {
        "bad"
    };
    let _ = writeln!(
        text,
        "<li><h2>Did the night work?</h2><strong class=\"{class}\" id=\"there\">{} of {}</strong>\
         <p>{}, {} known, {} left out by rules</p>",
        separated(there),
        separated(planned),
        count(unexpected, "unexpected failure"),
        separated(manifest.totals.artifacts_known()),
        separated(manifest.excluded.len())
    );
    let ProofCounts {
        loaded,
        refused,
        not_proven,
    } = proofs.total();
    if loaded + refused + not_proven > 0 {
        let _ = writeln!(
            text,
            "<p>in their kernels: {} loaded, {} refused, {} not proven</p>",
            separated(loaded),
            separated(refused),
            separated(not_proven)
        );
    }
    text.push_str("</li>\n");
    text.push_str("<li><h2>What broke since the baseline?</h2>");
    match subject.diff {
        None => text
            .push_str("<strong>first night</strong><p>There is no baseline to compare with.</p>"),
        Some(diff) => {
            let broken = diff.count(Change::Regressed) + diff.count(Change::NewFailure);
            let class = if broken == 0 { "good" } else { "bad" };
            let _ = write!(
                text,
                "<strong class=\"{class}\">{} broke</strong><p>{} fixed, {} new, {} lost</p><ul>",
                separated(broken),
                separated(diff.count(Change::Fixed)),
                separated(diff.count(Change::New)),
                separated(diff.count(Change::Lost))
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
                    separated(group.artifacts),
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

/// Adds the sources that name fewer kernels than in the previous complete night.
fn push_drying(text: &mut String, subject: &Subject<'_>) {
    if let Some(shortfall) = subject.manifest.run.extent().shortfall() {
        let _ = write!(
            text,
            "<strong>unknown</strong><p>This run {}, so its sources are not compared.</p>",
            escape(&shortfall)
        );
        return;
    }
    let Some(&last) = subject.complete_nights(1).first() else {
        text.push_str("<strong>unknown</strong><p>No earlier complete night is known.</p>");
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
        "<strong class=\"{class}\">{} of {} shrank</strong><ul>",
        fewer.len(),
        last.sources.len()
    );
    for (source, before, now) in fewer.iter().take(3) {
        let (now, before) = (separated(*now), separated(*before));
        let _ = write!(text, "<li>{}: {now}, was {before}</li>", escape(source));
    }
    text.push_str("</ul>");
}
