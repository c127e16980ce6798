//! SVG charts of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::failure::Phase;
use crate::report::Manifest;
use crate::views::subject::{PastNight, Subject};

/// The maximum number of nights in a chart.
const NIGHTS: usize = 400;

/// Returns the date in UTC.
pub(super) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// Returns text such as `1 h 12 min`, `3 min 20 s`, `4.5 s`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    // Rounded first, so that the seconds are never 60.
    let seconds = seconds.round();
    let minutes = (seconds / 60.0).floor();
    if minutes < 60.0 {
        return format!("{minutes} min {} s", seconds - minutes * 60.0);
    }
    let hours = (minutes / 60.0).floor();
    format!("{hours} h {} min", minutes - hours * 60.0)
}

/// Returns the total duration of each phase in seconds, the longest first.
pub(super) fn phases(manifest: &Manifest) -> Vec<(Phase, f64)> {
    let mut phases: BTreeMap<Phase, f64> = BTreeMap::new();
    for (phase, seconds) in manifest
        .builds
        .iter()
        .flat_map(|build| &build.phase_seconds)
    {
        *phases.entry(*phase).or_default() += seconds;
    }
    let mut phases: Vec<(Phase, f64)> = phases.into_iter().collect();
    phases.sort_by(|left, right| right.1.total_cmp(&left.1));
    phases
}

/// Draws a bar for each phase.
pub(super) fn bars(phases: &[(Phase, f64)]) -> String {
    let most = phases.first().map_or(0.0, |(_, seconds)| *seconds);
    if most <= 0.0 {
        return "<p class=\"dim\">No build did any work.</p>\n".to_owned();
    }
    let height = phases.len() * 24 + 4;
    let mut text = format!(
        "<svg role=\"img\" aria-label=\"Work by phase\" width=\"640\" height=\"{height}\" viewBox=\"0 0 640 {height}\">"
    );
    for (position, (phase, seconds)) in phases.iter().enumerate() {
        let y = position * 24 + 4;
        let width = (seconds / most * 400.0).max(1.0);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "<text x=\"0\" y=\"{}\">{phase}</text><rect class=\"bar\" x=\"100\" y=\"{y}\" width=\"{width:.1}\" height=\"16\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 13,
            width + 106.0,
            y + 13,
            span(*seconds)
        );
    }
    text.push_str("</svg>\n");
    text
}

/// Draws the coverage and the duration of each night.
pub(super) fn nights(subject: &Subject<'_>) -> String {
    let now = PastNight::of(subject.manifest);
    let mut nights = subject.complete_nights(NIGHTS);
    nights.push(&now);
    if nights.len() < 2 {
        return "<p class=\"dim\">No earlier night to compare with.</p>\n".to_owned();
    }
    let covered = |night: &PastNight| {
        let planned = u32::try_from(night.totals.artifacts_planned)
            .unwrap_or(u32::MAX)
            .max(1);
        let there = u32::try_from(night.there()).unwrap_or(u32::MAX);
        f64::from(there) / f64::from(planned)
    };
    let took = |night: &PastNight| night.run.duration_seconds.unwrap_or_default();
    let longest = nights.iter().map(|night| took(night)).fold(1.0, f64::max);
    let first = day(nights[0].run.started);
    let last = day(now.run.started);
    let mut text = line(
        "Coverage over the nights, 0 to 100 %",
        &nights
            .iter()
            .map(|night| covered(night))
            .collect::<Vec<_>>(),
        (&first, &last),
        &format!("{:.1} %", covered(&now) * 100.0),
    );
    text += &line(
        &format!("Time of each night, up to {}", span(longest)),
        &nights
            .iter()
            .map(|night| took(night) / longest)
            .collect::<Vec<_>>(),
        (&first, &last),
        &span(took(&now)),
    );
    text
}

/// Draws a line through values from 0 to 1.
fn line(title: &str, values: &[f64], (first, last): (&str, &str), now: &str) -> String {
    let step = 560.0 / f64::from(u32::try_from(values.len() - 1).unwrap_or(u32::MAX));
    let mut x = 4.0;
    let mut points = String::new();
    for value in values {
        // Writing to a String cannot fail.
        let _ = write!(
            points,
            "{x:.1},{:.1} ",
            104.0 - value.clamp(0.0, 1.0) * 96.0
        );
        x += step;
    }
    format!(
        "<figure><figcaption>{title}</figcaption><svg role=\"img\" aria-label=\"{title}; now {now}\" width=\"640\" height=\"124\" viewBox=\"0 0 640 124\">\
         <line class=\"axis\" x1=\"4\" x2=\"564\" y1=\"104\" y2=\"104\"/><line class=\"axis\" x1=\"4\" x2=\"564\" y1=\"8\" y2=\"8\"/>\
         <polyline class=\"line\" points=\"{}\"/><text x=\"4\" y=\"120\">{first}</text><text x=\"500\" y=\"120\">{last}</text>\
         <text x=\"570\" y=\"60\">{now}</text></svg></figure>\n",
        points.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_printed_with_two_units_at_most() {
        assert_eq!(span(4.52), "4.5 s");
        assert_eq!(span(59.96), "1 min 0 s");
        assert_eq!(span(200.0), "3 min 20 s");
        assert_eq!(span(239.7), "4 min 0 s");
        assert_eq!(span(3599.8), "1 h 0 min");
        assert_eq!(span(4320.0), "1 h 12 min");
    }
}
