//! Tests of concurrent runs.

use serde_json::json;

use support::grid::{Grid, rule};

#[test]
fn two_runs_share_a_cache_and_do_each_step_once() {
    let grid = Grid::of_four();
    let slow =
        json!({ "copies": { "module.ko": grid.path("module.ko") }, "delay-milliseconds": 300 });
    grid.fake(&[rule("module *", &slow)]);
    let runs = ["out", "other"].map(|out| grid.start(&["--out", out]));
    for mut run in runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    let jobs = grid.jobs();
    let count = |kind: &str| jobs.iter().filter(|job| *job == kind).count();
    assert_eq!(
        (count("check"), count("module")),
        (4, 4),
        "each step is done by one of the two runs"
    );
    let artifacts = |out: &str| {
        std::fs::read_dir(grid.path(out).join("one/x86_64"))
            .unwrap()
            .count()
    };
    assert_eq!((artifacts("out"), artifacts("other")), (4, 4));
}

#[test]
fn two_runs_cannot_share_an_output_directory() {
    let grid = Grid::new();
    let slow =
        json!({ "copies": { "module.ko": grid.path("module.ko") }, "delay-milliseconds": 3000 });
    grid.fake(&[rule("module *", &slow)]);
    let mut first = grid.start(&[]);
    grid.wait_for_jobs(1);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("another run is writing to out"), "{text}");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let jobs = grid.jobs();
    assert_eq!(jobs, ["check", "module"]);
}
