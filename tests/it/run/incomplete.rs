//! Tests of commands that look at earlier nights after a run that covered only a part of the plan or was stopped.

use serde_json::{Value, json};

use super::BUILD;
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

/// Runs only one build.
fn partial(grid: &Grid) {
    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
}

/// Makes a run that its first failure stops, so that other builds are not started.
fn stopped(grid: &Grid) {
    grid.write_driver("driver", "stopped");
    grid.fake(&[rule("module *", &json!({ "code": 2 }))]);
    assert_eq!(grid.run(&["--fail-fast", "--jobs", "1"]).0, 1);
    assert!(grid.manifest().run.stopped.is_some());
}

/// From now on, one module does not compile.
fn break_one(grid: &Grid) {
    grid.write_driver("driver", "broken");
    let log = "main.c:7:3: error: unknown type name 'foo'\n";
    grid.fake(&[rule("module *6.1.2-1*", &json!({ "code": 2, "log": log }))]);
}

/// Returns the ID of the last run in `out`.
fn run_id(grid: &Grid) -> String {
    grid.manifest().run.id
}

#[test]
fn the_baseline_of_an_output_directory_is_its_newest_complete_night() {
    for (interrupt, expected) in [
        (partial as fn(&Grid), "covers only a part of its plan"),
        (stopped, "was stopped"),
    ] {
        let grid = Grid::of_four();
        assert_eq!(grid.run(&[]).0, 0);
        let night = run_id(&grid);
        interrupt(&grid);
        let last = run_id(&grid);
        std::fs::copy(grid.path("out/manifest.json"), grid.path("last.json")).unwrap();
        break_one(&grid);
        let words = ["--baseline", "out", "--fail-on", "regressed", "--report"];
        let (code, text) = grid.run(&[&words[..], &["markdown=night.md"]].concat());
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("regressed: 1"), "{text}");
        let notice = format!("baseline out: the last run, {last}, {expected}");
        assert!(text.contains(&notice), "{text}");
        assert!(text.contains(&format!("compared with {night}")), "{text}");
        let page = std::fs::read_to_string(grid.path("night.md")).unwrap();
        assert!(page.contains("| regressed | 1 |"), "{page}");

        // A manifest that is named itself is used as it is.
        let (code, text, notice) = say(&grid, &["diff", "last.json", "out"]);
        assert_eq!(code, 0, "{notice}");
        assert!(text.contains("unknown"), "{text}");
        assert!(!notice.contains("baseline"), "{notice}");
    }
}

#[test]
fn a_partial_baseline_without_a_complete_night_is_used_and_reported() {
    let grid = Grid::of_four();
    partial(&grid);
    let (code, text) = grid.run(&["--baseline", "out", "--out", "other"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no earlier run in it is complete"), "{text}");
    assert!(text.contains("unknown              3"), "{text}");
    let (code, text, notice) = say(&grid, &["diff", "out", "other"]);
    assert_eq!(code, 0, "{notice}");
    assert!(text.contains("unknown              3"), "{text}");
    assert!(
        notice.contains("no earlier run in it is complete"),
        "{notice}"
    );
}

#[test]
fn reports_and_statistics_skip_a_stopped_night() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    stopped(&grid);
    let (_, text, _) = say(&grid, &["stats"]);
    assert!(!text.contains("  0  of 4"), "{text}");
    break_one(&grid);
    assert_eq!(grid.run(&[]).0, 1);

    let (code, page, _) = say(&grid, &["report"]);
    assert_eq!(code, 0);
    assert!(page.contains(">1 broke</strong>"), "{page}");
    let title = "Coverage over the nights, 0 to 100 %";
    let chart = &page[page.find(title).unwrap()..];
    let points = chart.split("points=\"").nth(1).unwrap();
    let points = points.split('"').next().unwrap();
    assert_eq!(points.split(' ').count(), 2, "{points}");

    let (_, text, _) = say(&grid, &["stats"]);
    let nights = text.split("coverage over the nights").nth(1).unwrap();
    assert_eq!(nights.matches("of 4").count(), 2, "{nights}");
    let (_, text, _) = say(&grid, &["stats", "--format", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    let nights = found["nights"].as_array().unwrap();
    let partial: Vec<&Value> = nights.iter().map(|night| &night["is_partial"]).collect();
    assert_eq!(partial, [&json!(false), &json!(true), &json!(false)]);
}

#[test]
fn sources_are_compared_between_complete_nights_only() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    partial(&grid);
    // The run of one build does not show that its source shrank.
    let (_, page, _) = say(&grid, &["report"]);
    assert!(!page.contains("shrank"), "{page}");
    grid.write_matrix(&grid.matrix(&["1", "2"]));
    assert_eq!(grid.run(&[]).0, 0);
    let (_, page, _) = say(&grid, &["report"]);
    assert!(page.contains("1 of 1 shrank"), "{page}");
    assert!(page.contains(": 2, was 4</li>"), "{page}");
    let table = page.split("id=\"sources\"").nth(1).unwrap();
    let row = table.split("<tbody>").nth(1).unwrap();
    let row = row.split("</tr>").next().unwrap();
    assert!(row.ends_with("<td class=\"n\">4<td class=\"n\">2"), "{row}");
}

#[test]
fn the_newest_complete_night_is_kept_whatever_follows() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    // This complete run has nothing to do, so it is no night of its own.
    assert_eq!(grid.run(&[]).0, 0);
    let night = run_id(&grid);
    for _ in 0..10 {
        partial(&grid);
    }
    break_one(&grid);
    let (_, text) = grid.run(&["--baseline", "out"]);
    assert!(text.contains(&format!("compared with {night}")), "{text}");
}
