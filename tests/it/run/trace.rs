//! Tests of what `--log` says about a run.

use driverkit_matrix::fs;
use serde_json::json;

use support::grid::{Grid, rule_for};
use support::server::Server;

/// Runs the grid with `--log FILTER` and returns the records.
fn records(grid: &Grid, filter: &str, code: i32) -> Vec<String> {
    let log = grid.path("log");
    fs::remove_file(&log).unwrap();
    let file = log.to_str().unwrap();
    let (found, text) = grid.run(&["--log", filter, "--log-file", file]);
    assert_eq!(found, code, "{text}");
    let text = fs::read_to_string(&log).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn assert_has(records: &[String], words: &[&str]) {
    let has = |record: &String| words.iter().all(|word| record.contains(word));
    assert!(records.iter().any(has), "{words:?}: {records:#?}");
}

#[test]
fn trace_names_urls_steps_and_the_reason_of_a_retry() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let host = server.address.replace("http://", "");
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"http://user:s3cret@{host}/none\", \"{0}\"]\n",
        server.address
    );
    grid.write_matrix(&format!("{matrix}\n{mirrors}"));
    let lost = json!({ "infrastructure-error": "the machine is gone" });
    grid.fake(&[rule_for(1, "module *", &lost)]);
    let first = records(&grid, "trace", 0);
    assert_has(&first, &["no usable outcome", "step=\"module/", "key="]);
    assert_has(&first, &["a URL gave no file", "/none/", "404"]);
    assert_has(&first, &["fetched", &server.address, "sha256="]);
    assert_has(
        &first,
        &["retrying a job", "the machine is gone", "phase=module"],
    );
    assert_has(&first, &["ended", "step=\"module/", "outcome=artifact"]);
    assert!(!first.concat().contains("s3cret"), "{first:#?}");
    let second = records(&grid, "engine=trace", 0);
    assert_has(&second, &["found", "step=\"module/", "outcome=artifact"]);
}
