//! The index of outcomes, from which runs of cached builds read.

use std::path::PathBuf;
use std::time::Duration;

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use serde_json::json;

use crate::run::NOTHING;
use support::grid::{Grid, rule};

const INDEX: &str = "cache/outcomes/index-1";

/// Outcomes are indexed if they are older than the steps in which file systems count time.
fn pause() {
    std::thread::sleep(Duration::from_millis(200));
}

/// Returns a grid of four builds in the cache, with an index.
fn indexed() -> Grid {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    assert!(!grid.path(INDEX).exists());
    pause();
    is_cached(&grid, &[]);
    assert!(grid.path(INDEX).is_file());
    grid.jobs();
    grid
}

fn is_cached(grid: &Grid, words: &[&str]) {
    let (code, text) = grid.run(words);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 cached"), "{text}");
}

fn outcome_files(grid: &Grid) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(grid.path("cache/outcomes/v1")).into_iter();
    let files = files.map(|entry| entry.unwrap().into_path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect()
}

/// Makes all outcome files unreadable in a way that their directories do not show.
fn damage_files(grid: &Grid) {
    for path in outcome_files(grid) {
        fs::write_unsynced(&path, "").unwrap();
    }
}

/// Returns the file with the outcome of the module of a build.
fn outcome_of(grid: &Grid, build: usize) -> PathBuf {
    let key = grid.manifest().builds[build].artifacts[0].key.unwrap();
    let key = key.to_string();
    let path = grid.path(&format!("cache/outcomes/v1/{}/{key}.json", &key[..2]));
    assert!(path.exists());
    path
}

#[test]
fn a_cached_run_reads_the_index_and_not_the_outcomes() {
    let grid = indexed();
    damage_files(&grid);
    is_cached(&grid, &[]);
    assert_eq!(grid.jobs(), NOTHING);
    fs::remove_file(&grid.path(INDEX)).unwrap();
    assert_eq!(grid.run(&[]).0, 0);
    assert!(!grid.jobs().is_empty());
}

#[test]
fn only_the_step_of_a_removed_outcome_runs_again() {
    let grid = indexed();
    fs::remove_file(&outcome_of(&grid, 2)).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module"]);
    pause();
    is_cached(&grid, &[]);
    assert_eq!(grid.jobs(), NOTHING);
}

#[test]
fn a_damaged_index_costs_no_outcome() {
    let grid = indexed();
    let whole = fs::read(&grid.path(INDEX)).unwrap();
    let middle = whole.len() / 4;
    let mut changed = whole.clone();
    changed[middle] ^= 1;
    for damaged in [&whole[..middle], b"", &changed] {
        grid.write(INDEX, damaged);
        is_cached(&grid, &[]);
        assert_eq!(grid.jobs(), NOTHING);
        // The run has written another one.
        damage_files(&grid);
        is_cached(&grid, &[]);
        assert_eq!(grid.jobs(), NOTHING);
        std::fs::remove_dir_all(grid.path("cache/outcomes")).unwrap();
        assert_eq!(grid.run(&[]).0, 0);
        pause();
        grid.jobs();
    }
}

#[test]
fn an_index_that_cannot_be_written_changes_no_result() {
    let grid = Grid::of_four();
    fs::create_folder(&grid.path(INDEX)).unwrap();
    assert_eq!(grid.run(&[]).0, 0);
    pause();
    is_cached(&grid, &[]);
    let names = std::fs::read_dir(grid.path("cache/outcomes")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index-1", "used", "v1"]);
}

#[test]
fn commands_that_remove_outcomes_take_them_from_the_index() {
    let grid = indexed();
    let path = outcome_of(&grid, 0);
    fs::write_unsynced(&path, "").unwrap();
    is_cached(&grid, &[]);
    assert_eq!(grid.jobs(), NOTHING);
    let verify = ["cache", "verify", "--remove"];
    grid.program(&verify).assert().success();
    assert!(!path.exists());
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["module"]);

    pause();
    is_cached(&grid, &[]);
    grid.jobs();
    let gc = ["cache", "gc", "--unused-days", "0"];
    grid.program(&gc).assert().success();
    assert_eq!(outcome_files(&grid), Vec::<PathBuf>::new());
    assert!(!grid.path(INDEX).exists());
    assert_eq!(grid.run(&[]).0, 0);
    assert!(grid.jobs().contains(&"module".to_owned()));
}

#[test]
fn a_retried_failure_replaces_its_entry() {
    let grid = Grid::of_four();
    grid.fake(&[rule("module *", &json!({ "code": 2 }))]);
    assert_eq!(grid.run(&[]).0, 1);
    pause();
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.path(INDEX).is_file());
    assert_eq!(grid.statuses(), [Status::Failed; 4]);
    grid.fake(&[]);
    grid.jobs();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.jobs(), NOTHING);
    let (code, text) = grid.run(&["--retry", "failed"]);
    assert_eq!(code, 0, "{text}");
    pause();
    is_cached(&grid, &[]);
    is_cached(&grid, &[]);
}

#[test]
fn runs_at_the_same_time_leave_a_whole_index() {
    let grid = indexed();
    for _ in 0..3 {
        fs::remove_file(&grid.path(INDEX)).unwrap();
        let outs = ["one", "two", "three"];
        let runs = outs.map(|out| grid.start(&["--out", out]));
        for mut run in runs {
            assert!(run.wait().unwrap().success());
        }
    }
    damage_files(&grid);
    grid.jobs();
    is_cached(&grid, &[]);
    assert_eq!(grid.jobs(), NOTHING);
}
