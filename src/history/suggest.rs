//! `[[known_failure]]` rules for the failures of a night, for a person to edit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Night, NightArtifact};
use crate::driver::DriverVersion;
use crate::failure::{FailureClass, Status};
use crate::kernel::{KernelRelease, TargetId};
use crate::report::{clean, signature};
use crate::text::count;

/// How many releases a rule lists where no range holds them alone.
const LISTED: usize = 20;

/// Failures that one rule would expect.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    class: FailureClass,
    signature: String,
    target: &'a TargetId,
}

/// Returns rules in TOML for the failures of a night that no rule expects, one for each signature and target, each with the
/// narrowest range of releases that holds the failures and nothing that was built.
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
            signature: signature(failure, row.id.names(&row.build_id)),
            target: &row.id.target,
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
    let releases: BTreeSet<&KernelRelease> =
        rows.iter().map(|row| &row.id.kernel_release).collect();
    let built: BTreeSet<&KernelRelease> = night
        .artifacts
        .iter()
        .filter(|row| row.status.is_success() && row.id.target == *group.target)
        .filter(|row| drivers.contains(&row.id.driver_version))
        .filter(|row| artifacts.contains(row.id.artifact.as_str()))
        .map(|row| &row.id.kernel_release)
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
    let _ = writeln!(text, "kernel = {}", kernels(&releases, &built, LISTED));
    let drivers: Vec<String> = drivers.iter().map(|one| quoted(one.as_str())).collect();
    let _ = writeln!(text, "driver = [{}]", drivers.join(", "));
    let artifacts: Vec<String> = artifacts.iter().map(|one| quoted(one)).collect();
    let _ = writeln!(text, "artifact = [{}]", artifacts.join(", "));
    let _ = writeln!(text, "class = {}", quoted(group.class.as_str()));
    let _ = writeln!(text, "message = {}", quoted(&expression(&group.signature)));
    text.push_str("reason = \"\"  # why is this expected?\n# link = \"\"\n# owner = \"\"\n# expires = 2027-01-31\n\n");
}

/// The narrowest pattern for `releases`: a range if it holds none of `others`, else the first `listed` of the releases.
pub(super) fn kernels(
    releases: &BTreeSet<&KernelRelease>,
    others: &BTreeSet<&KernelRelease>,
    listed: usize,
) -> String {
    let (Some(first), Some(last)) = (releases.first(), releases.last()) else {
        return quoted("*");
    };
    if releases.len() == 1 {
        return quoted(first.as_str());
    }
    let range = format!(">={first}, <={last}");
    let pattern: Option<crate::matrix::Pattern> = range.parse().ok();
    let holds_no_other = pattern.is_some_and(|pattern| {
        releases
            .iter()
            .all(|release| pattern.matches_release(release))
            && !others
                .iter()
                .any(|release| pattern.matches_release(release))
    });
    if holds_no_other {
        return quoted(&range);
    }
    let names: Vec<String> = releases
        .iter()
        .take(listed)
        .map(|release| quoted(release.as_str()))
        .collect();
    let more = releases.len().saturating_sub(listed);
    let more = if more > 0 {
        format!("]  # and {more} more")
    } else {
        "]".to_owned()
    };
    format!("[{}{more}", names.join(", "))
}

/// A regular expression for a signature.
fn expression(signature: &str) -> String {
    regex::escape(signature)
        .replace(r"\*", ".*")
        .replace(r"\#", "[0-9a-f]+")
        .replace('#', "[0-9a-f]+")
}

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(clean(text).into_owned()).to_string()
}
