//! Tests of `[[known_failure]]` rules where other features meet them: parts of a plan, baselines, pages, CI systems.

use serde_json::{Value, json};

use driverkit_matrix::event::FindingKind;
use driverkit_matrix::report::read_manifest;
use support::grid::{Grid, rule};

const FOO: &str = "main.c:7:3: error: unknown type name 'foo'\n";
const THIRD: &str = "one/x86_64/debian_6.1.3-1-amd64_1";
const FOURTH: &str = "one/x86_64/debian_6.1.4-1-amd64_1";

/// A grid of four kernels, of which two modules do not compile; `rules` are added to its matrix.
fn broken(rules: &str) -> Grid {
    let grid = Grid::of_four();
    with_rules(&grid, rules);
    fail(&grid);
    grid
}

fn with_rules(grid: &Grid, rules: &str) {
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!("{matrix}\n{rules}"));
}

fn fail(grid: &Grid) {
    let then = json!({ "code": 2, "log": FOO });
    grid.fake(&[rule("module *6.1.[23]-1*", &then)]);
}

fn known(kernel: &str) -> String {
    format!("[[known_failure]]\nkernel = \"{kernel}\"\nreason = \"it lacks foo\"\n")
}

/// Runs the program as a step of GitHub; returns the exit code, standard output and standard error.
fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let mut program = grid.program(words);
    program.env("GITHUB_ACTIONS", "true");
    program.env("GITHUB_STEP_SUMMARY", grid.path("summary.md"));
    let output = program.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn read(grid: &Grid, name: &str) -> String {
    std::fs::read_to_string(grid.path(name)).unwrap()
}

#[test]
fn part_of_a_plan_does_not_show_that_a_rule_passes_unexpectedly() {
    let grid = broken(&known("6.1.[2-4]-1*"));
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(say(&grid, &["known"]).0, 0);
    let words = ["run", "matrix.toml", "--executor", "fake", "--only", FOURTH];
    let (code, _, text) = say(&grid, &words);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("::warning"), "{text}");
    assert_eq!(say(&grid, &["known"]).0, 0);
}

#[test]
fn outdated_rules_are_in_the_summary_and_on_the_page() {
    let grid = broken(&format!("{}{}", known("6.1.1-1*"), known("5.*")));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1);
    let (_, page, _) = say(&grid, &["report"]);
    let manifest = read_manifest(&grid.path("out")).unwrap();
    assert_eq!(manifest.findings.len(), 2);
    for finding in &manifest.findings {
        let line = format!("{}: {}", finding.place, finding.message);
        assert!(text.contains(&line), "{text}");
        assert!(page.contains(&line), "{page}");
    }
    assert!(text.contains("outdated rules"), "{text}");
}

#[test]
fn known_failure_is_no_regression() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    std::fs::copy(grid.path("out/manifest.json"), grid.path("old.json")).unwrap();
    grid.write_driver("driver", "other");
    fail(&grid);
    with_rules(&grid, &known("6.1.[23]-1*"));
    let all = "regressed,new-failure,lost,still-failing";
    let words = ["--baseline", "old.json", "--fail-on", all];
    let (code, text) = grid.run(&words);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("known-failure        2"), "{text}");
    let words = ["diff", "old.json", "out", "--fail-on", all];
    let (code, text, _) = say(&grid, &words);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 x compile: main.c: unknown type"), "{text}");
    let words = ["diff", "old.json", "out", "--fail-on", "known-failure"];
    assert_eq!(say(&grid, &words).0, 1);
    let (_, page, _) = say(&grid, &["report", "--baseline", "old.json"]);
    assert!(page.contains(">0 broke</strong>"), "{page}");
    // Without the rule, the failures have not been fixed, and count again.
    with_rules(&grid, "");
    let words = ["--baseline", "out", "--fail-on", "still-failing"];
    assert_eq!(grid.run(&words).0, 1);
}

#[test]
fn annotations_are_not_mixed_with_data() {
    let grid = broken("");
    let words = ["run", "matrix.toml", "--executor", "fake"];
    let (code, events, text) = say(&grid, &[&words[..], &["--message-format", "json"]].concat());
    assert_eq!(code, 1);
    for line in events.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    let annotation = "::error title=compile::2 artifacts: main.c: unknown type name 'foo'";
    let is_annotation = |line: &&str| line.starts_with(annotation);
    assert_eq!(text.lines().filter(is_annotation).count(), 1, "{text}");
}

#[test]
fn compilers_tells_the_ci_system_about_the_chosen_compilers_only() {
    let grid = broken("");
    let words = ["compilers", "matrix.toml", "--executor", "fake"];
    let (code, table, text) = say(&grid, &[&words[..], &["--format", "json"]].concat());
    assert_eq!(code, 1, "{text}");
    serde_json::from_str::<Value>(&table).unwrap();
    assert_eq!(text.matches("::error").count(), 1, "{text}");
    assert_eq!(read(&grid, "summary.md").matches("# Drivers:").count(), 1);
}

#[test]
fn known_failures_are_counted_apart_from_others_like_them() {
    let grid = broken(&known("6.1.2-1*"));
    let words = ["run", "matrix.toml", "--executor", "fake"];
    let (code, _, text) = say(&grid, &words);
    assert_eq!(code, 1);
    let annotation = format!(
        "::error title=compile::1 artifact: main.c: unknown type name 'foo', such as {THIRD}\n"
    );
    assert!(text.contains(&annotation), "{text}");
    let summary = read(&grid, "summary.md");
    assert!(summary.contains("| 1 | compile | main.c: "), "{summary}");
    assert!(
        summary.contains("| 1 | compile, known | main.c: "),
        "{summary}"
    );
    let (_, page, _) = say(&grid, &["report"]);
    let group = "<strong>1</strong> × compile";
    assert_eq!(page.matches(group).count(), 2, "{page}");
    assert!(
        text.contains("1 x compile: main.c:7: unknown type name 'foo' (module)\n"),
        "{text}"
    );
    assert!(
        text.contains("1 x compile: main.c:7: unknown type name 'foo' (module, known)\n"),
        "{text}"
    );
}

#[test]
fn only_all_shards_together_show_that_a_rule_is_outdated() {
    let rules = format!(
        "{}{}{}",
        known("6.1.[1-3]-1*"),
        known("6.1.[14]-1*"),
        known("5.*")
    );
    let grid = broken(&rules);
    assert_eq!(grid.run(&[]).0, 0);
    let whole = read_manifest(&grid.path("out")).unwrap().findings;
    let kinds: Vec<FindingKind> = whole.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [FindingKind::UnexpectedPass, FindingKind::Unused]);
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("shards/{}", &shard[..1]);
        assert_eq!(grid.run(&["--shard", shard, "--out", &out]).0, 0);
        assert_eq!(say(&grid, &["known", &out]).0, 0, "{shard}");
    }
    let shards = ["shards/3", "shards/1", "shards/2"];
    for parts in [&shards[..2], &shards] {
        let words = [&["manifest", "merge"], parts, &["--out", "night"]].concat();
        assert_eq!(say(&grid, &words).0, 0);
        let found = read_manifest(&grid.path("night")).unwrap().findings;
        let expected = if parts.len() == 3 { &whole[..] } else { &[] };
        let of = |finding: &driverkit_matrix::event::Finding| (finding.kind, finding.place.clone());
        let found: Vec<_> = found.iter().map(of).collect();
        assert_eq!(found, expected.iter().map(of).collect::<Vec<_>>());
    }
    assert_eq!(say(&grid, &["known", "night"]).0, 8 + 16);
}
