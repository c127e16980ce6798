//! Tests of `status`: the progress of a run, read from its journal.

use serde_json::{Value, json};

use crate::run::BUILD;
use support::grid::{Grid, rule};

fn status(grid: &Grid) -> Value {
    let output = grid.program(&["status", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn status_shows_a_running_a_killed_and_a_finished_run() {
    let grid = Grid::new();
    let output = grid.program(&["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no run has written to out"), "{text}");
    assert!(!grid.path("out").exists());

    grid.fake(&[rule("module *", &json!({ "hangs": true }))]);
    let mut run = grid.start(&[]);
    support::grid::wait_until("the module's job in the journal", || {
        let path = grid.path("out/.driverkit-matrix/journal.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.contains("\"module\"")
    });
    let found = status(&grid);
    assert_eq!(found["state"], "running");
    assert_eq!(found["builds_planned"], 1);
    assert_eq!(found["builds_finished"], 0);
    assert_eq!(found["running"][0]["build_id"], BUILD);
    assert_eq!(found["running"][0]["phase"], "module");
    let output = grid.program(&["status"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("0 of 1 build") && text.contains(BUILD),
        "{text}"
    );

    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(status(&grid)["state"], "killed");

    grid.fake(&[]);
    assert_eq!(grid.run(&[]).0, 0);
    let found = status(&grid);
    assert_eq!(found["state"], "finished");
    assert_eq!(found["exit_code"], 0);
    assert_eq!(found["artifacts"], json!({ "built": 1 }));
}
