//! Suggests `[[known_failure]]` rules for the failures of a night, which the user edits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::known::has_message;
use super::{Night, NightArtifact};
use crate::driver::DriverVersion;
use crate::failure::{FailureClass, Status};
use crate::kernel::{KernelRelease, TargetId};
use crate::matrix::message_pattern;
use crate::report::{clean, signature_expression};
use crate::text::count;

/// The maximum number of patterns of a rule on one line.
const ON_A_LINE: usize = 4;

/// Failures that one rule would expect.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    class: FailureClass,
    /// A regular expression for their messages.
    message: String,
    target: &'a TargetId,
}

/// Returns rules in TOML for the failures of a night that no rule expects: one for each signature and target, with the
/// architectures and the narrowest ranges of releases that contain the failures but no successful build.
pub fn suggest(night: &Night) -> String {
    let mut groups: BTreeMap<Group<'_>, Vec<&NightArtifact>> = BTreeMap::new();
    for row in &night.artifacts {
        let Some(failure) = &row.failure else {
            continue;
        };
        if row.status == Status::Known || failure.class == FailureClass::Cancelled {
            continue;
        }
        let group = Group {
            class: failure.class,
            message: signature_expression(failure, row.id.names(&row.build_id)),
            target: &row.id.kernel.target,
        };
        groups.entry(group).or_default().push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let mut text = String::new();
    for (group, rows) in groups {
        push_rule(&mut text, &group, &rows, night);
    }
    text
}

fn push_rule(text: &mut String, group: &Group<'_>, rows: &[&NightArtifact], night: &Night) {
    let drivers: BTreeSet<&DriverVersion> = rows.iter().map(|row| &row.id.driver_version).collect();
    let artifacts: BTreeSet<&str> = rows.iter().map(|row| row.id.artifact.as_str()).collect();
    let architectures: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.id.kernel.architecture.as_str())
        .collect();
    let releases: BTreeSet<&KernelRelease> =
        rows.iter().map(|row| &row.id.kernel.release).collect();
    let built: BTreeSet<&KernelRelease> = night
        .artifacts
        .iter()
        .filter(|row| row.status.is_success() && row.id.kernel.target == *group.target)
        .filter(|row| drivers.contains(&row.id.driver_version))
        .filter(|row| artifacts.contains(row.id.artifact.as_str()))
        .filter(|row| architectures.contains(row.id.kernel.architecture.as_str()))
        .map(|row| &row.id.kernel.release)
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# {} of {}, such as {}",
        count(rows.len(), "artifact"),
        count(releases.len(), "kernel"),
        rows[0].build_id
    );
    text.push_str("[[known_failure]]\n");
    let _ = writeln!(text, "target = {}", quoted(group.target.as_str()));
    let _ = writeln!(text, "kernel = {}", kernels(&releases, &built));
    let architectures: Vec<String> = architectures.iter().map(|one| quoted(one)).collect();
    let _ = writeln!(text, "architecture = [{}]", architectures.join(", "));
    let drivers: Vec<String> = drivers.iter().map(|one| quoted(one.as_str())).collect();
    let _ = writeln!(text, "driver = [{}]", drivers.join(", "));
    let artifacts: Vec<String> = artifacts.iter().map(|one| quoted(one)).collect();
    let _ = writeln!(text, "artifact = [{}]", artifacts.join(", "));
    let _ = writeln!(text, "class = {}", quoted(group.class.as_str()));
    if matches_all(&clean(&group.message), rows) {
        let _ = writeln!(text, "message = {}", quoted(&group.message));
    }
    text.push_str("reason = \"\"  # why is this expected?\n# link = \"\"\n# owner = \"\"\n# expires = 2027-01-31\n\n");
}

/// Returns the narrowest patterns for `releases`: a range for each sequence of them between two of `others`,
/// otherwise their names.
pub(super) fn kernels(
    releases: &BTreeSet<&KernelRelease>,
    others: &BTreeSet<&KernelRelease>,
) -> String {
    // A release that is in both sets does not separate ranges.
    let others: Vec<&KernelRelease> = others.difference(releases).copied().collect();
    let mut stretches: Vec<Vec<&KernelRelease>> = Vec::new();
    let mut passed = 0;
    for &release in releases {
        let before = passed;
        passed += others[passed..].partition_point(|other| *other < release);
        match stretches.last_mut() {
            Some(stretch) if passed == before => stretch.push(release),
            _ => stretches.push(vec![release]),
        }
    }
    let patterns: Vec<String> = stretches
        .iter()
        .flat_map(|stretch| of_stretch(stretch, &others))
        .map(|pattern| quoted(&pattern))
        .collect();
    match patterns.as_slice() {
        [] => quoted("*"),
        [one] => one.clone(),
        several if several.len() <= ON_A_LINE => format!("[{}]", several.join(", ")),
        several => format!("[\n    {},\n]", several.join(",\n    ")),
    }
}

/// Returns a range for adjacent releases if it contains all of them and none of `others`; otherwise their names.
fn of_stretch(stretch: &[&KernelRelease], others: &[&KernelRelease]) -> Vec<String> {
    if let [first, .., last] = stretch {
        let range = format!(">={first}, <={last}");
        let pattern: Option<crate::matrix::Pattern> = range.parse().ok();
        let is_exact = pattern.is_some_and(|pattern| {
            let holds = |release: &&KernelRelease| pattern.matches_release(release);
            stretch.iter().all(holds) && !others.iter().any(holds)
        });
        if is_exact {
            return vec![range];
        }
    }
    stretch.iter().map(ToString::to_string).collect()
}

/// Returns true if a rule with this message matches all failures: it may be too large, or the messages may have
/// characters that a matrix cannot show.
fn matches_all(message: &str, rows: &[&NightArtifact]) -> bool {
    message_pattern(message).is_ok_and(|pattern| {
        let mut failures = rows.iter().filter_map(|row| row.failure.as_deref());
        failures.all(|failure| has_message(failure, &pattern))
    })
}

/// Returns a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(clean(text).into_owned()).to_string()
}
