//! Selects kernels of a source by `match`, `exclude`, `since` and `latest`.

use std::cmp::Ordering;
use std::sync::Arc;

use debversion::Version;
use jiff::civil::Date;

use super::listed::{Found, Listed};
use crate::kernel::{Architecture, Kernel, KernelRelease, TargetId};
use crate::matrix::{Selection, TargetEntry};

/// Whether a kernel belongs to the `[[target]]`, and `match`, `exclude` and `since` accept it. `first_seen` returns the
/// day since which the lock knows a kernel.
pub(super) fn takes(
    entry: &TargetEntry,
    selection: &Selection,
    found: &Found,
    first_seen: &dyn Fn(&Kernel) -> Date,
) -> bool {
    let kernel = &found.kernel;
    entry.name.get_ref().matches_name(kernel.target.as_str())
        && entry.architectures.contains(&kernel.architecture)
        && selection.takes(&kernel.release)
        && selection
            .since
            .is_none_or(|since| found.published.unwrap_or_else(|| first_seen(kernel)) >= since)
}

/// Keeps the kernels that the selection accepts.
pub(super) fn apply(
    entry: &TargetEntry,
    selection: &Selection,
    found: &mut Vec<Found>,
    first_seen: &dyn Fn(&Kernel) -> Date,
) {
    found.retain(|one| takes(entry, selection, one, first_seen));
    if let Some(latest) = selection.latest {
        keep_latest(found, latest as usize);
    }
}

/// Returns the kernels of a shared list that the selection accepts. `latest` is not applied here. If nobody else holds
/// the list, its kernels are moved, otherwise copied.
pub(super) fn from_shared(
    entry: &TargetEntry,
    selection: &Selection,
    list: Arc<Listed>,
    first_seen: &dyn Fn(&Kernel) -> Date,
) -> Listed {
    match Arc::try_unwrap(list) {
        Ok(mut list) => {
            list.found
                .retain(|one| takes(entry, selection, one, first_seen));
            list
        }
        Err(list) => {
            let taken = list
                .found
                .iter()
                .filter(|one| takes(entry, selection, one, first_seen));
            let found: Vec<Found> = taken.cloned().collect();
            let digests = found.iter().filter_map(|one| one.kernel.config_sha256);
            let configs = digests
                .filter_map(|digest| Some((digest, list.configs.get(&digest)?.clone())))
                .collect();
            Listed {
                found,
                configs,
                ..Listed::default()
            }
        }
    }
}

/// The kernels of which `latest = N` keeps the N newest: those of a target, architecture and flavour, for Amazon Linux
/// also of an upstream line.
pub(super) type LatestGroup = (TargetId, Architecture, String, Option<[u32; 2]>);

/// Returns the group of a kernel. For Amazon Linux, each upstream line counts separately, because it maintains several
/// lines in parallel (`kernel6.12-devel`).
pub(super) fn latest_group(kernel: &Kernel) -> LatestGroup {
    let flavour = flavour_of(&kernel.target, kernel.release.as_str()).to_owned();
    let has_lines = kernel.target.as_str().starts_with("amazonlinux2");
    let [major, minor, _] = kernel.release.numbers();
    let line = has_lines.then_some([major, minor]);
    (kernel.target.clone(), kernel.architecture, flavour, line)
}

/// Keeps the `count` newest kernels of each group.
pub(super) fn keep_latest(found: &mut Vec<Found>, count: usize) {
    let with_group = |one: Found| (latest_group(&one.kernel), one);
    let mut keyed: Vec<_> = found.drain(..).map(with_group).collect();
    keyed.sort_by(|(left_group, left), (right_group, right)| {
        let (left, right) = (&left.kernel, &right.kernel);
        left_group
            .cmp(right_group)
            .then_with(|| compare(&left.target, &right.release, &left.release))
            .then_with(|| right.version.cmp(&left.version))
    });
    let mut last = None;
    let mut kept = 0;
    keyed.retain(|(group, _)| {
        if last.as_ref() != Some(group) {
            last = Some(group.clone());
            kept = 0;
        }
        kept += 1;
        kept <= count
    });
    found.extend(keyed.into_iter().map(|(_, one)| one));
}

/// Compares two releases by the rules of their distribution.
pub(super) fn compare(target: &TargetId, left: &KernelRelease, right: &KernelRelease) -> Ordering {
    let (left_text, right_text) = (left.as_str(), right.as_str());
    let id = target.as_str();
    let numbers = left.numbers().cmp(&right.numbers());
    if id == "debian" || id.starts_with("ubuntu") {
        return match (left_text.parse::<Version>(), right_text.parse::<Version>()) {
            (Ok(left_version), Ok(right_version)) => numbers
                .then(left_version.cmp(&right_version))
                .then_with(|| left.cmp(right)),
            _ => left.cmp(right),
        };
    }
    if RPM_TARGETS.iter().any(|prefix| id.starts_with(prefix)) {
        return rpm_version::rpm_evr_compare(left_text, right_text).then_with(|| left.cmp(right));
    }
    left.cmp(right)
}

/// Prefixes of the ids of distributions that use rpm packages.
const RPM_TARGETS: [&str; 12] = [
    "alinux",
    "almalinux",
    "amazonlinux",
    "centos",
    "fedora",
    "ol",
    "opensuse",
    "oracle",
    "photon",
    "redhat",
    "rocky",
    "sles",
];

/// Returns the flavour in the name of a release; empty for the default flavour. For most of Ubuntu's targets, the id
/// contains the flavour. For target `ubuntu`, only the release contains it.
pub(super) fn flavour_of<'a>(target: &TargetId, release: &'a str) -> &'a str {
    let id = target.as_str();
    match id {
        "debian" => {
            let start = release.trim_end_matches(|c: char| c.is_ascii_alphanumeric());
            let start = start.trim_end_matches('-');
            let flavours = ["cloud", "rt", "rpi", "grsec"];
            flavours
                .into_iter()
                .find_map(|one| {
                    start
                        .ends_with(&format!("-{one}"))
                        .then(|| &start[start.len() - one.len()..])
                })
                .unwrap_or_default()
        }
        "ol" if release.contains("uek") && rpm_variant(release).is_empty() => "uek",
        "arch" => ["hardened", "zen", "arch"]
            .into_iter()
            .find(|flavour| release.contains(flavour))
            .unwrap_or("lts"),
        _ if id.starts_with("ubuntu") => release
            .splitn(3, '-')
            .nth(2)
            .map(|rest| rest.split("-5.").next().unwrap_or(rest))
            .unwrap_or_default(),
        _ if RPM_TARGETS.iter().any(|prefix| id.starts_with(prefix)) => rpm_variant(release),
        _ => "",
    }
}

/// Returns the variant of a kernel in an rpm: the part after the architecture (`+64k`, `.debug`, `_v2`). If the release
/// has no architecture, returns its last word (`-rt`, `-azure`).
fn rpm_variant(release: &str) -> &str {
    let machine = Architecture::ALL.map(Architecture::machine);
    let behind = machine.iter().find_map(|machine| {
        let position = release.rfind(machine)?;
        release.get(position + machine.len()..)
    });
    match (behind, release.rsplit_once('-')) {
        (Some(behind), _) => behind.trim_start_matches(['+', '.']),
        (None, Some((_, "default"))) => "",
        (None, Some((_, word))) if word == "64kb" || word.starts_with(char::is_alphabetic) => word,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: &str, release: &str, architecture: Architecture) -> Found {
        let kernel = super::super::listed::new_kernel(
            target.parse().unwrap(),
            release.parse().unwrap(),
            architecture,
            "kernel-crawler".into(),
        );
        Found {
            kernel: kernel.into(),
            published: None,
            position: 0,
        }
    }

    fn latest(target: &str, releases: &[&str], count: usize) -> Vec<String> {
        let amd64 = Architecture::Amd64;
        let mut all: Vec<Found> = releases
            .iter()
            .map(|release| found(target, release, amd64))
            .collect();
        keep_latest(&mut all, count);
        all.iter()
            .map(|one| one.kernel.release.to_string())
            .collect()
    }

    #[test]
    fn newest_by_the_rules_of_the_distribution() {
        // For rpm, a number is newer than a word. For dpkg, and in a text comparison, a word is newer.
        let centos = ["4.18.0-80.el8.x86_64", "4.18.0-80.1.2.el8_0.x86_64"];
        assert_eq!(latest("centos", &centos, 1), ["4.18.0-80.1.2.el8_0.x86_64"]);
        let debian = [
            "6.0~rc7-1~exp1-amd64",
            "6.0.2-1-amd64",
            "6.0.2-1~bpo11+1-amd64",
        ];
        assert_eq!(latest("debian", &debian, 1), ["6.0.2-1-amd64"]);
        let ubuntu = ["5.4.0-99-generic", "5.4.0-100-generic"];
        assert_eq!(latest("ubuntu-generic", &ubuntu, 1), ["5.4.0-100-generic"]);
        let flatcar = ["3033.2.4", "3185.0.0", "3185.0.10"];
        assert_eq!(latest("flatcar", &flatcar, 2), ["3185.0.10", "3185.0.0"]);
    }

    #[test]
    fn flavours_count_apart() {
        let ol = [
            "4.18.0-80.el8.x86_64",
            "5.4.17-2136.311.6.el8uek.x86_64",
            "5.4.17-2011.7.4.el8uek.x86_64",
        ];
        assert_eq!(
            latest("ol", &ol, 1),
            ["4.18.0-80.el8.x86_64", "5.4.17-2136.311.6.el8uek.x86_64"]
        );
        for (target, release, flavour) in [
            ("debian", "5.10.178-3-cloud-amd64", "cloud"),
            ("debian", "5.10.178-3-amd64", ""),
            ("debian", "5.10.0-0.deb10.17-rt-amd64", "rt"),
            ("arch", "6.0.10.zen2-1", "zen"),
            ("arch", "5.15.79-1", "lts"),
            ("ubuntu", "5.4.0-128-generic", "generic"),
            ("ubuntu-aws", "5.0.0-1021-aws-5.0", "aws"),
            ("centos", "4.18.0-80.el8.x86_64", ""),
        ] {
            assert_eq!(
                flavour_of(&target.parse().unwrap(), release),
                flavour,
                "{release}"
            );
        }
    }

    #[test]
    fn lines_of_amazon_linux_count_apart() {
        let releases = [
            "6.1.102-108.177.amzn2023.x86_64",
            "6.1.119-129.201.amzn2023.x86_64",
            "6.12.40-64.114.amzn2023.x86_64",
            "6.18.2-1.1.amzn2023.x86_64",
            "6.12.37-61.105.amzn2023.x86_64",
        ];
        assert_eq!(
            latest("amazonlinux2023", &releases, 1),
            [
                "6.1.119-129.201.amzn2023.x86_64",
                "6.12.40-64.114.amzn2023.x86_64",
                "6.18.2-1.1.amzn2023.x86_64",
            ]
        );
        let first = ["4.14.128-87.105.amzn1.x86_64", "4.9.17-8.31.amzn1.x86_64"];
        assert_eq!(latest("amazonlinux", &first, 1), [first[0]]);
    }

    #[test]
    fn architectures_count_apart() {
        let mut all = vec![
            found("debian", "6.1.9-1", Architecture::Amd64),
            found("debian", "6.1.10-1", Architecture::Amd64),
            found("debian", "5.10.1-1", Architecture::Arm64),
            found("debian", "6.1.8-1", Architecture::Amd64),
        ];
        keep_latest(&mut all, 2);
        let releases: Vec<&str> = all.iter().map(|one| one.kernel.release.as_str()).collect();
        assert_eq!(releases, ["6.1.10-1", "6.1.9-1", "5.10.1-1"]);
    }
}
