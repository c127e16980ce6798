//! Tests of `diff`: what changed between two nights.

use serde_json::{Value, json};

use support::grid::{Grid, rule};

fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let output = grid.program(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn diff_of_two_nights_reports_regressions_and_fails_on_request() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    std::fs::copy(grid.path("out/manifest.json"), grid.path("old.json")).unwrap();
    let (code, text, _) = say(&grid, &["diff", "old.json"]);
    assert_eq!(code, 0);
    assert!(text.contains("nothing changed"), "{text}");

    grid.write_driver("driver", "other");
    let log = "main.c:7:3: error: unknown type name 'foo'\n";
    grid.fake(&[rule(
        "module *6.1.[23]-1*",
        &json!({ "code": 2, "log": log }),
    )]);
    assert_eq!(grid.run(&[]).0, 1);
    let (code, text, _) = say(&grid, &["diff", "old.json", "out"]);
    assert_eq!(code, 0);
    assert!(
        text.contains("2 x compile: main.c: unknown type name 'foo'"),
        "{text}"
    );
    let words = ["diff", "old.json", "--fail-on", "regressed,lost"];
    let (code, _, text) = say(&grid, &words);
    assert_eq!(code, 1);
    assert!(text.contains("regressed: 2"), "{text}");
    assert_eq!(say(&grid, &["diff", "old.json", "--fail-on", "lost"]).0, 0);

    let (code, text, _) = say(&grid, &["diff", "old.json", "--format", "json"]);
    assert_eq!(code, 0);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["counts"], json!({ "regressed": 2, "unchanged": 2 }));
    let (_, text, _) = say(&grid, &["diff", "old.json", "--format", "markdown"]);
    assert!(text.contains("| regressed | 2 |"), "{text}");
}

#[test]
fn diff_names_a_file_that_is_no_manifest() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    grid.write("cut.json", "{\"schema\": 1, ");
    grid.write("newer.json", "{\"schema\": 99}");
    for (file, expected) in [
        ("cut.json", "cut.json is not a manifest"),
        ("newer.json", "manifest schema 99"),
        ("none", "none"),
    ] {
        let (code, _, text) = say(&grid, &["diff", file]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let (code, _, text) = say(&grid, &["diff", "out", "--fail-on", "worse"]);
    assert_eq!(code, 2);
    assert!(text.contains("expected one of regressed"), "{text}");
}

#[test]
fn run_compares_itself_with_a_baseline() {
    let grid = Grid::of_four();
    let (code, text) = grid.run(&["--baseline", "out"]);
    assert_eq!(code, 0);
    assert!(text.contains("baseline out does not exist"), "{text}");
    grid.write_driver("driver", "other");
    grid.fake(&[rule(
        "module *6.1.2-1*",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    )]);
    let (code, text) = grid.run(&["--baseline", "out", "--fail-on", "regressed"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("regressed: 1"), "{text}");
    // The build failed in the earlier run as well, so nothing got worse.
    let (code, text) = grid.run(&["--baseline", "out", "--fail-on", "regressed,new-failure"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("still-failing        1"), "{text}");
    assert_eq!(grid.run(&["--baseline", "out"]).0, 1);
}

#[test]
fn baseline_of_another_grid_or_without_a_manifest_is_reported() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    std::fs::copy(grid.path("out/manifest.json"), grid.path("old.json")).unwrap();
    let matrix = std::fs::read_to_string(grid.path("matrix.toml")).unwrap();
    grid.write_matrix(&matrix.replace("\"one\"", "\"two\""));
    assert_eq!(grid.run(&[]).0, 0);
    let expected = "have no artifact in common: they are of different plans";
    for words in [
        &["diff", "old.json"][..],
        &["report", "--baseline", "old.json"],
    ] {
        let (code, _, text) = say(&grid, words);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    assert!(!say(&grid, &["diff", "out"]).2.contains(expected));
    let (code, _, text) = say(&grid, &["report", "--baseline", "nowhere"]);
    assert_eq!(code, 0);
    assert!(text.contains("baseline nowhere does not exist"), "{text}");
}
