//! Tests of the difference between two manifests.

use std::collections::BTreeMap;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::driver::Artifact;
use driverkit_matrix::event::{ArtifactReport, BuildReport, InputReport};
use driverkit_matrix::failure::{Failure, FailureClass, Phase, Status};
use driverkit_matrix::history::{Change, Diff, Night, diff, draw_markdown, draw_text, suggest};
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::matrix::Pattern;
use driverkit_matrix::report::{BuildRecord, Manifest, read_manifest};
use jiff::Timestamp;
use proptest::prelude::*;
use support::events::{build, facts, missing, not_run, report, there};
use support::nights::Year;

/// A kernel in a run: its number, its outcome and its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    number: u8,
    outcome: Outcome,
    package: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Built,
    Cached,
    Failed,
    Known,
    NotRun,
}

fn failure(release: &str) -> Failure {
    let message = format!("main.c: no {release} at line 17");
    Failure::new(FailureClass::Compile, Phase::Module, message)
}

fn record(kernel: Kernel) -> BuildRecord {
    let release = format!("6.1.{}-1-amd64", kernel.number);
    let build = build(&release, Architecture::Amd64, "8.1.0+driver");
    let artifact = match kernel.outcome {
        Outcome::Built => there(&build, Artifact::Module, Status::Built),
        Outcome::Cached => there(&build, Artifact::Module, Status::Cached),
        Outcome::Failed => missing(&build, Artifact::Module, &failure(&release)),
        Outcome::Known => ArtifactReport {
            status: Status::Known,
            ..missing(&build, Artifact::Module, &failure(&release))
        },
        Outcome::NotRun => not_run(&build, Artifact::Module),
    };
    BuildRecord::from(&BuildReport {
        artifacts: vec![artifact].into(),
        inputs: vec![InputReport {
            url: "http://mirror.example/a.deb".into(),
            sha256: Some(Sha256::of([kernel.package])),
            size_bytes: Some(1),
        }]
        .into(),
        ..report(&build, 0)
    })
}

/// Returns the manifest of a run, which either ended or was stopped by a signal.
fn manifest(kernels: &[Kernel], is_stopped: bool) -> Manifest {
    let mut manifest = Manifest::new(&facts("run", kernels.len(), kernels.len()));
    manifest.builds = kernels.iter().copied().map(record).collect();
    manifest.run.finished = Some("2026-11-23T02:00:00Z".parse::<Timestamp>().unwrap());
    manifest.run.stopped = is_stopped.then(|| "a signal".to_owned());
    manifest
}

fn kernel(number: u8, outcome: Outcome) -> Kernel {
    Kernel {
        number,
        outcome,
        package: number,
    }
}

fn changes(diff: &Diff) -> Vec<(String, Change)> {
    let name = |id: &str| id.rsplit('/').next().unwrap().to_owned();
    diff.changes
        .iter()
        .map(|one| (name(one.build_id.as_str()), one.change))
        .collect()
}

#[test]
fn every_pair_of_states_has_its_change() {
    use Outcome::{Built, Cached, Failed, Known, NotRun};
    for (before, now, expected) in [
        (None, Some(Built), Change::New),
        (None, Some(Failed), Change::NewFailure),
        (Some(Built), Some(Cached), Change::Unchanged),
        (Some(Cached), Some(Failed), Change::Regressed),
        (Some(Built), None, Change::Lost),
        (Some(Failed), Some(Built), Change::Fixed),
        (Some(Failed), Some(Failed), Change::StillFailing),
        (Some(Failed), None, Change::Gone),
        (None, Some(Known), Change::KnownFailure),
        (Some(Built), Some(Known), Change::KnownFailure),
        (Some(Failed), Some(Known), Change::KnownFailure),
        (Some(Known), Some(Known), Change::KnownFailure),
        (Some(Known), Some(Failed), Change::StillFailing),
        (Some(Known), Some(Built), Change::Fixed),
        (Some(Known), None, Change::Gone),
        (Some(NotRun), Some(Known), Change::Unknown),
        (Some(NotRun), Some(Built), Change::Unknown),
        (Some(Failed), Some(NotRun), Change::Unknown),
    ] {
        let side = |outcome: Option<Outcome>| {
            let kernels: Vec<Kernel> = outcome.map(|one| kernel(1, one)).into_iter().collect();
            manifest(&kernels, false)
        };
        let found = diff(&side(before), &side(now));
        assert_eq!(
            found.counts,
            BTreeMap::from([(expected, 1)]),
            "{before:?} {now:?}"
        );
    }
}

#[test]
fn equal_runs_have_no_difference() {
    let one = manifest(
        &[kernel(1, Outcome::Built), kernel(2, Outcome::NotRun)],
        false,
    );
    let other = manifest(&[kernel(1, Outcome::Cached)], false);
    let found = diff(&other, &other);
    assert!(found.changes.is_empty() && found.groups.is_empty());
    assert_eq!(found.count(Change::Unchanged), 1);
    assert!(draw_text(&found).contains("nothing changed"));
    assert_eq!(diff(&one, &one).count(Change::Unknown), 1);
}

/// Returns the rows as an older version wrote them, with an index that contains only names.
fn with_index_of_names(bytes: &[u8]) -> Vec<u8> {
    let magic = [0x5e, 0x2a, 0x4d, 0x18];
    let at = bytes.windows(4).rposition(|four| four == magic).unwrap();
    let index = zstd::decode_all(&bytes[at + 8..]).unwrap();
    let names: String = String::from_utf8(index)
        .unwrap()
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n"
            } else {
                "build\trelease\n"
            }
        })
        .collect();
    let names = zstd::encode_all(names.as_bytes(), 1).unwrap();
    let length = u32::try_from(names.len()).unwrap().to_le_bytes();
    let head: &[u8] = &[0x5d, 0x2a, 0x4d, 0x18];
    [&bytes[..at], head, &length, &names].concat()
}

#[test]
fn the_index_of_the_rows_equals_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let year = Year {
        kernels: 100,
        drivers: 4,
        nights: 2,
    };
    year.write(folder.path());
    let of_rows = Night::of(&read_manifest(folder.path()).unwrap());
    assert!(of_rows.artifacts.iter().any(|one| one.failure.is_some()));
    assert!(of_rows.artifacts.iter().all(|one| one.inputs.is_some()));
    let of_index = || format!("{:?}", Night::read(folder.path()).unwrap());
    assert!(of_index() == format!("{of_rows:?}"));

    let rows = folder.path().join("builds.jsonl.zst");
    let bytes = std::fs::read(&rows).unwrap();
    driverkit_matrix::fs::write(&rows, with_index_of_names(&bytes)).unwrap();
    assert!(of_index() == format!("{of_rows:?}"));
}

#[test]
fn kernels_missing_from_a_partial_run_are_unknown() {
    let whole = manifest(
        &[kernel(1, Outcome::Failed), kernel(2, Outcome::Built)],
        false,
    );
    let stopped = manifest(&[kernel(2, Outcome::Built)], true);
    assert_eq!(diff(&stopped, &whole).count(Change::Unknown), 1);
    assert_eq!(diff(&whole, &stopped).count(Change::Unknown), 1);
    let shard = Some("1/2".to_owned());
    for (is_partial, shard) in [(true, None), (false, shard)] {
        let mut partial = manifest(&[kernel(2, Outcome::Built)], false);
        partial.run.is_partial = is_partial;
        partial.run.shard = shard;
        let found = diff(&whole, &partial);
        assert_eq!(found.count(Change::Unknown), 1, "{found:?}");
        assert_eq!(found.count(Change::Gone), 0, "{found:?}");
    }
}

#[test]
fn a_kernel_with_the_same_packages_and_another_name_is_renamed() {
    let renamed = Kernel {
        package: 1,
        ..kernel(2, Outcome::Built)
    };
    let found = diff(
        &manifest(&[kernel(1, Outcome::Built)], false),
        &manifest(&[renamed], false),
    );
    assert_eq!(found.counts, BTreeMap::from([(Change::Renamed, 1)]));
    let from = found.changes[0].renamed_from.as_ref().unwrap();
    assert!(from.as_str().contains("6.1.1-1"), "{from}");
    // If two new kernels have the packages of the lost kernel, neither counts as renamed.
    let other = Kernel {
        package: 1,
        ..kernel(3, Outcome::Built)
    };
    let found = diff(
        &manifest(&[kernel(1, Outcome::Built)], false),
        &manifest(&[renamed, other], false),
    );
    assert_eq!(
        found.counts,
        BTreeMap::from([(Change::Lost, 1), (Change::New, 2)])
    );
}

#[test]
fn failures_with_one_cause_are_one_group() {
    let before: Vec<Kernel> = (1..=5)
        .map(|number| kernel(number, Outcome::Built))
        .collect();
    let now: Vec<Kernel> = (1..=5)
        .map(|number| kernel(number, Outcome::Failed))
        .collect();
    let found = diff(&manifest(&before, false), &manifest(&now, false));
    assert_eq!(found.groups.len(), 1);
    let group = &found.groups[0];
    assert_eq!((group.change, group.artifacts), (Change::Regressed, 5));
    assert_eq!(group.signature, "main.c: no * at line #");
    assert_eq!(group.builds.len(), 3);
    assert!(draw_text(&found).contains("5 x compile: main.c: no * at line #"));
}

#[test]
fn continuing_failures_show_their_first_day() {
    let failing = |since: [&str; 2]| {
        let mut manifest = manifest(
            &[kernel(1, Outcome::Failed), kernel(2, Outcome::Failed)],
            false,
        );
        for (build, since) in manifest.builds.iter_mut().zip(since) {
            build.artifacts[0].failing_since = Some(since.parse().unwrap());
        }
        manifest
    };
    let days = ["2026-05-02T01:00:00Z", "2026-04-30T01:00:00Z"];
    let found = diff(&failing(days), &failing(days));
    let line = "2 x compile: main.c: no * at line # (since 2026-04-30)";
    assert!(draw_text(&found).contains(line), "{}", draw_text(&found));
    assert!(draw_markdown(&found).contains("(since 2026-04-30)"));
}

#[test]
fn the_suggested_rule_matches_exactly_the_failures() {
    // Ranges, single kernels, and more of them than fit on a line.
    let failing = |number: u8| number.is_multiple_of(7) || (100..=140).contains(&number);
    let outcome = |number| {
        if failing(number) {
            Outcome::Failed
        } else {
            Outcome::Built
        }
    };
    let kernels: Vec<Kernel> = (1..=200)
        .map(|number| kernel(number, outcome(number)))
        .collect();
    let rules = suggest(&Night::of(&manifest(&kernels, false)));
    let rules: toml::Table = rules.parse().unwrap();
    let rules = rules["known_failure"].as_array().unwrap();
    assert_eq!(rules.len(), 1, "{rules:?}");
    let patterns = rules[0]["kernel"].as_array().unwrap().iter();
    let patterns: Vec<Pattern> = patterns
        .map(|pattern| pattern.as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(patterns.len(), 23, "{patterns:?}");
    for number in 1..=200 {
        let release = format!("6.1.{number}-1-amd64").parse().unwrap();
        let is_held = patterns.iter().any(|one| one.matches_release(&release));
        assert_eq!(is_held, failing(number), "{release}");
    }
}

#[test]
fn markup_in_messages_is_escaped_in_markdown() {
    let mut now = manifest(&[kernel(1, Outcome::Failed)], false);
    let failure = now.builds[0].artifacts[0].failure.as_mut().unwrap();
    failure.message = "<script>|`x`](http://h) \u{1b}[31m".to_owned();
    let text = draw_markdown(&diff(&manifest(&[], false), &now));
    assert!(
        text.contains("&lt;script&gt;\\|\\`x\\`\\](http://h)"),
        "{text}"
    );
    assert!(
        !text.contains('\u{1b}') && !text.contains("<script>"),
        "{text}"
    );
    let json = serde_json::to_value(diff(&manifest(&[], false), &now)).unwrap();
    assert_eq!(json["changes"][0]["change"], "new-failure");
    assert_eq!(json["counts"]["new-failure"], 1);
}

fn kernels() -> impl Strategy<Value = Vec<Kernel>> {
    let outcome = prop_oneof![
        Just(Outcome::Built),
        Just(Outcome::Cached),
        Just(Outcome::Failed),
        Just(Outcome::Known),
        Just(Outcome::NotRun)
    ];
    let kernel = (0_u8..8, outcome, 0_u8..4).prop_map(|(number, outcome, package)| Kernel {
        number,
        outcome,
        package,
    });
    proptest::collection::vec(kernel, 0..8).prop_map(|mut kernels| {
        kernels.sort_by_key(|kernel| kernel.number);
        kernels.dedup_by_key(|kernel| kernel.number);
        kernels
    })
}

/// Computes the same by searching both lists for each kernel.
fn naive(old: &[Kernel], new: &[Kernel], stopped: (bool, bool)) -> Vec<(u8, Change)> {
    let find = |kernels: &[Kernel], number| {
        kernels
            .iter()
            .copied()
            .find(|kernel| kernel.number == number)
    };
    let is_there = |kernel: &Kernel| matches!(kernel.outcome, Outcome::Built | Outcome::Cached);
    let moved = |kernel: Kernel, from: &[Kernel], to: &[Kernel]| {
        let is_like = |one: &&Kernel| one.package == kernel.package && is_there(one);
        let alone = |kernels: &[Kernel], others: &[Kernel]| {
            let only = kernels
                .iter()
                .filter(is_like)
                .filter(|one| find(others, one.number).is_none());
            only.count() == 1
        };
        is_there(&kernel) && alone(from, to) && alone(to, from)
    };
    let mut found = Vec::new();
    for number in 0..8 {
        let (before, now) = (find(old, number), find(new, number));
        let change = match (before, now) {
            (None, None) => continue,
            (None, Some(now)) if moved(now, old, new) => Change::Renamed,
            (Some(before), None) if moved(before, old, new) => continue,
            (Some(one), _) | (_, Some(one)) if one.outcome == Outcome::NotRun => Change::Unknown,
            (Some(_), Some(now)) if now.outcome == Outcome::NotRun => Change::Unknown,
            (None, Some(_)) if stopped.0 => Change::Unknown,
            (Some(_), None) if stopped.1 => Change::Unknown,
            (_, Some(now)) if now.outcome == Outcome::Known => Change::KnownFailure,
            (None, Some(now)) if is_there(&now) => Change::New,
            (None, Some(_)) => Change::NewFailure,
            (Some(before), None) if is_there(&before) => Change::Lost,
            (Some(_), None) => Change::Gone,
            (Some(before), Some(now)) => match (is_there(&before), is_there(&now)) {
                (true, true) => continue,
                (true, false) => Change::Regressed,
                (false, true) => Change::Fixed,
                (false, false) => Change::StillFailing,
            },
        };
        found.push((number, change));
    }
    found.sort_by_key(|&(number, change)| (change, number));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_difference_equals_that_of_a_naive_search(
        old in kernels(),
        new in kernels(),
        stopped in any::<(bool, bool)>(),
    ) {
        let found = diff(&manifest(&old, stopped.0), &manifest(&new, stopped.1));
        let expected: Vec<(String, Change)> = naive(&old, &new, stopped)
            .into_iter()
            .map(|(number, change)| (format!("debian_6.1.{number}-1-amd64_1"), change))
            .collect();
        prop_assert_eq!(changes(&found), expected);
    }
}
