//! The kernels that lack a driver.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::charts::day;
use super::escape::escape;
use crate::event::ArtifactReport;
use crate::report::{BuildRecord, Manifest};
use crate::text::separated;

/// The maximum number of shown kernels.
const SHOWN: usize = 200;

/// Returns a build of each kernel that lacks a driver, sorted by how long it has been failing.
pub(super) fn missing(manifest: &Manifest) -> Vec<(&BuildRecord, Option<Timestamp>)> {
    let mut missing: Vec<(&BuildRecord, Option<Timestamp>)> = Vec::new();
    for build in &manifest.builds {
        let failing = build
            .artifacts
            .iter()
            .filter(|artifact| artifact.failing().is_some());
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

pub(super) fn push_missing(text: &mut String, manifest: &Manifest) {
    let missing = missing(manifest);
    text.push_str("<section id=\"missing\"><h2>Kernels that lack a driver, the longest first</h2>\n<div class=\"wide\"><table><thead><tr><th>target<th>kernel<th>architecture<th>first seen<th>failing since<th>class</tr></thead><tbody>\n");
    for (build, since) in missing.iter().take(SHOWN) {
        let failure = build.artifacts.iter().find_map(ArtifactReport::failing);
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{}<td>{}<td class=\"whole\">{}<td class=\"whole\">{}<td>{}</tr>",
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
        let _ = writeln!(text, "<p>and {} more: filter below</p>", separated(more));
    }
    text.push_str("</section>\n");
}
