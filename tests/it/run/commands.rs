//! Tests of `explain` and `cache`.

use std::path::PathBuf;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::run::{BUILD, MODULE, NOTHING};
use support::grid::{Grid, rule};

fn explain(grid: &Grid) -> Value {
    let words = [
        "explain",
        BUILD,
        "matrix.toml",
        "--executor",
        "fake",
        "--json",
    ];
    let output = grid.program(&words).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the names of the steps and whether each is cached.
fn steps(explanation: &Value) -> Vec<(String, bool)> {
    let steps = explanation["steps"].as_array().unwrap();
    let step = |step: &Value| {
        let name = step["inputs"]["step"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        (name.to_owned(), !step["result"].is_null())
    };
    let mut steps: Vec<_> = steps.iter().map(step).collect();
    steps.sort();
    steps.dedup();
    steps
}

#[test]
fn explain_shows_what_is_cached_and_what_changed() {
    let grid = Grid::new();
    assert!(steps(&explain(&grid)).iter().all(|(_, is_known)| !is_known));

    grid.run(&[]);
    grid.jobs();
    let known = explain(&grid);
    assert!(
        steps(&known).contains(&("module".to_owned(), true)),
        "{known}"
    );
    assert!(
        steps(&known).iter().all(|(_, is_known)| *is_known),
        "{known}"
    );
    assert_eq!(known["since_last_run"][0]["changes"], json!([]));

    grid.edit_matrix("retries = 1", "gcc = \"11\"");
    let changed = explain(&grid);
    assert!(
        steps(&changed).contains(&("check".to_owned(), false)),
        "{changed}"
    );
    assert!(
        steps(&changed).contains(&("unpack".to_owned(), true)),
        "{changed}"
    );

    grid.edit_matrix("gcc = \"11\"", "retries = 1");
    grid.write_driver("driver", "other");
    grid.run(&["--out", "elsewhere"]);
    let changed = explain(&grid);
    let fields: Vec<&str> = changed["since_last_run"][0]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["driver tree"]);
    let said = |words: &[&str]| {
        let question = ["explain", BUILD, "matrix.toml", "--executor", "fake"];
        let output = grid.program(&[&question, words].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let verbose = said(&["--verbose"]);
    assert!(
        verbose.contains("module since the last run:\n  driver tree: "),
        "{verbose}"
    );
    let sentence = said(&[]);
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    assert!(
        verbose.starts_with(&sentence) && sentence.lines().count() == 1,
        "{sentence}"
    );
    assert!(
        sentence.starts_with(&format!("cached since {today}: built, ")),
        "{sentence}"
    );
}

#[test]
fn explain_changes_nothing() {
    let grid = Grid::new();
    grid.run(&[]);
    grid.jobs();
    driverkit_matrix::fs::remove_file(&grid.path(MODULE)).unwrap();
    let before = stats(&grid);
    explain(&grid);
    assert!(!grid.path(MODULE).exists());
    driverkit_matrix::fs::remove_file(&blob(&grid)).unwrap();
    explain(&grid);
    assert_eq!(stats(&grid)["outcomes"], before["outcomes"]);
    assert_eq!(grid.jobs(), NOTHING);
}

#[test]
fn explain_says_in_one_sentence_why_a_build_is_not_cached() {
    let said = |grid: &Grid| {
        let question = ["explain", BUILD, "matrix.toml", "--executor", "fake"];
        let output = grid.program(&question).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let grid = Grid::new();
    assert_eq!(
        said(&grid),
        "not cached: its packages have not been downloaded\n"
    );
    // `explain` has created nothing.
    assert!(!grid.path("cache").exists() && !grid.path("out").exists());
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "/x/main.c:1:2: error: bad\n" }),
    )]);
    grid.run(&[]);
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    assert_eq!(
        said(&grid),
        format!("cached since {today}: compile error\n")
    );
    grid.write_driver("driver", "other");
    grid.run(&["--out", "elsewhere", "--executor", "fake"]);
    grid.fake(&[]);
    grid.write_driver("driver", "third");
    let text = said(&grid);
    assert!(
        text.starts_with(&format!(
            "cached since {today}: compile error; would be rebuilt: "
        )),
        "{text}"
    );
}

#[test]
fn explain_refuses_a_build_that_is_not_planned() {
    let grid = Grid::new();
    grid.program(&[
        "explain",
        "one/x86_64/debian_9.9_1",
        "matrix.toml",
        "--executor",
        "fake",
    ])
    .assert()
    .code(2)
    .stderr(contains("debian_9.9_1"));
}

fn stats(grid: &Grid) -> Value {
    let output = grid
        .program(&["cache", "stats", "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn stats_count_trees_and_failures() {
    let grid = Grid::new();
    assert_eq!(stats(&grid)["outcomes"], 0);
    grid.fake(&[rule("module *", &json!({ "code": 2 }))]);
    grid.run(&[]);
    let found = stats(&grid);
    // The trees of three packages and of the driver.
    assert_eq!(
        (&found["trees"], &found["failures"]),
        (&json!(4), &json!(1))
    );
    grid.program(&["cache", "stats"])
        .assert()
        .success()
        .stdout(contains("1 of them failures"));
}

#[test]
fn gc_removes_unused_files_and_the_next_run_creates_them_again() {
    let grid = Grid::new();
    grid.run(&[]);
    grid.jobs();
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(24 * 100);
    for entry in walkdir::WalkDir::new(grid.path("cache"))
        .into_iter()
        .flatten()
    {
        if entry.file_type().is_file() {
            std::fs::File::open(entry.path())
                .unwrap()
                .set_modified(old)
                .unwrap();
        }
    }
    grid.program(&["cache", "gc", "--trees", "0"])
        .assert()
        .success();
    let found = stats(&grid);
    assert_eq!(
        (&found["trees"], &found["outcomes"], &found["blobs"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(grid.path(MODULE).exists());
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["check", "module"]);
}

/// Returns the path of the module in the store.
fn blob(grid: &Grid) -> PathBuf {
    let name = grid.record().artifacts[0].sha256.unwrap().to_string();
    grid.path("cache/blobs").join(&name[..2]).join(name)
}

#[test]
fn verify_finds_and_removes_changed_files() {
    let grid = Grid::new();
    grid.run(&[]);
    grid.jobs();
    grid.program(&["cache", "verify"])
        .assert()
        .success()
        .stdout("all contents match their digests\n");
    let blob = blob(&grid);
    driverkit_matrix::fs::write(&blob, "broken").unwrap();
    let tree = std::fs::read_dir(grid.path("cache/trees"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    driverkit_matrix::fs::write(&tree.join("new"), "new").unwrap();
    let names = || contains(blob.display().to_string()).and(contains(tree.display().to_string()));
    grid.program(&["cache", "verify"])
        .assert()
        .code(1)
        .stdout(names());
    grid.program(&["cache", "verify", "--remove"])
        .assert()
        .success()
        .stdout(names());
    grid.program(&["cache", "verify"]).assert().success();
    assert!(!blob.exists() && !tree.exists());
    driverkit_matrix::fs::remove_file(&grid.path(MODULE)).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    // The checks run again too if the changed tree was one of the kernel's: their answers depend on it.
    assert!(grid.jobs().contains(&"module".to_owned()));
}
