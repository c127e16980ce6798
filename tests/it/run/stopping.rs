//! Tests of runs that end early or are stopped.

use std::process::Child;
use std::time::Duration;

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use support::grid::{Grid, rule, rule_for, wait_until};

pub(super) fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn fail_fast_starts_no_new_build_and_lists_the_rest() {
    let grid = Grid::of_four();
    grid.fake(&[rule("module *", &json!({ "code": 2 }))]);
    let (code, text) = grid.run(&["--fail-fast", "--jobs", "1"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(
        grid.jobs().iter().filter(|job| *job == "module").count(),
        1,
        "{text}"
    );
    assert_eq!(
        grid.statuses(),
        [
            Status::Failed,
            Status::NotRun,
            Status::NotRun,
            Status::NotRun
        ]
    );
    assert!(text.contains("--fail-fast"), "{text}");
}

#[test]
fn without_fail_fast_the_run_continues() {
    let grid = Grid::of_four();
    grid.fake(&[rule_for(1, "module *", &json!({ "code": 2 }))]);
    assert_eq!(grid.run(&["--jobs", "1"]).0, 1);
    assert_eq!(
        grid.statuses(),
        [Status::Built, Status::Built, Status::Built, Status::Failed]
    );
}

#[test]
fn a_deadline_leaves_the_rest_for_the_next_run() {
    let grid = Grid::of_four();
    let slow =
        json!({ "copies": { "module.ko": grid.path("module.ko") }, "delay-milliseconds": 3000 });
    grid.fake(&[rule("module *", &slow)]);
    let (code, text) = grid.run(&["--jobs", "1", "--deadline", "2s"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("deadline"), "{text}");
    // Builds that have started may finish, and their results count.
    let statuses = grid.statuses();
    assert!(statuses.contains(&Status::NotRun), "{statuses:?}");
    assert!(
        statuses
            .iter()
            .all(|status| [Status::NotRun, Status::Built].contains(status))
    );
    grid.fake(&[]);
    assert_eq!(grid.run(&[]).0, 0);
}

#[test]
fn the_number_of_concurrent_jobs_is_limited() {
    let grid = Grid::of_four();
    grid.fake(&[rule("*", &json!({ "hangs": true }))]);
    let mut child = grid.start(&["--jobs", "2"]);
    grid.wait_for_jobs(2);
    // A third job would start within this time: only the limit prevents it.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(grid.jobs().len(), 2);
    send(&child, Signal::INT);
    child.wait().unwrap();
}

#[test]
fn a_signal_ends_running_jobs_and_leaves_a_complete_manifest() {
    for signal in [Signal::INT, Signal::TERM] {
        let grid = Grid::of_four();
        grid.fake(&[rule("module *", &json!({ "hangs": true }))]);
        let mut child = grid.start(&["--jobs", "1"]);
        wait_until("a module", || {
            std::fs::read_to_string(grid.path("journal"))
                .unwrap_or_default()
                .contains("module ")
        });
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let manifest = grid.manifest();
        assert_eq!(manifest.exit.as_ref().unwrap().code, 130);
        assert!(manifest.run.finished.is_some());
        let statuses = grid.statuses();
        assert_eq!(statuses.len(), 4);
        assert_eq!(statuses[0], Status::Cancelled);
        // A build whose headers were being read when the signal came is cancelled too.
        let is_unfinished = |status| [Status::Cancelled, Status::NotRun].contains(status);
        assert!(statuses.iter().all(is_unfinished), "{statuses:?}");
        let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
        assert_eq!(csv.lines().count(), 5, "{csv}");

        grid.jobs();
        grid.fake(&[]);
        assert_eq!(grid.run(&[]).0, 0);
        assert_eq!(grid.jobs().iter().filter(|job| *job == "module").count(), 4);
    }
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let grid = Grid::new();
    let deaf = json!({ "hangs": true, "ignores-cancellation": true });
    grid.fake(&[rule("module *", &deaf)]);
    let mut child = grid.start(&[]);
    grid.wait_for_jobs(2);
    send(&child, Signal::INT);
    wait_until("the first signal", || {
        let journal = grid.path("out/.driverkit-matrix/journal.jsonl");
        std::fs::read_to_string(journal)
            .unwrap_or_default()
            .contains("stopping")
    });
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    grid.fake(&[]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_job_that_ignores_a_signal_does_not_delay_the_manifest() {
    let grid = Grid::new();
    let deaf = json!({ "hangs": true, "ignores-cancellation": true });
    grid.fake(&[rule("module *", &deaf)]);
    let mut child = grid.start(&[]);
    grid.wait_for_jobs(2);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let manifest = grid.manifest();
    assert_eq!(manifest.exit.as_ref().unwrap().code, 130);
    assert_eq!(grid.statuses(), [Status::Cancelled]);
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "cancelled", "{message}");
}

#[test]
fn a_signal_ends_a_run_that_waits_for_another_run() {
    let grid = Grid::new();
    grid.fake(&[rule("module *", &json!({ "hangs": true }))]);
    let mut first = grid.start(&["--out", "first"]);
    grid.wait_for_jobs(2);
    let mut second = grid.start(&["--out", "second"]);
    wait_until("the second run", || {
        let journal = grid.path("second/.driverkit-matrix/journal.jsonl");
        std::fs::read_to_string(journal)
            .unwrap_or_default()
            .contains("build_started")
    });
    send(&second, Signal::INT);
    assert_eq!(second.wait().unwrap().code(), Some(130));
    let manifest = read_manifest(&grid.path("second/manifest.json")).unwrap();
    assert_eq!(manifest.builds[0].status, Status::NotRun);
    assert_eq!(first.try_wait().unwrap(), None);
    send(&first, Signal::KILL);
    first.wait().unwrap();
}

#[test]
fn a_killed_run_is_continued_and_leaves_nothing_behind() {
    let grid = Grid::of_four();
    // The first two modules are built, the next one hangs.
    let good = json!({ "copies": { "module.ko": grid.path("module.ko") } });
    grid.fake(&[
        rule_for(2, "module *", &good),
        rule("module *", &json!({ "hangs": true })),
    ]);
    let mut child = grid.start(&["--jobs", "1"]);
    let path = grid.path("out/manifest.json");
    let is_built = || {
        let Ok(manifest) = read_manifest(&path) else {
            return false;
        };
        manifest
            .builds
            .iter()
            .filter(|build| build.status == Status::Built)
            .count()
            == 2
    };
    wait_until("two modules", is_built);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(is_built());
    assert!(read_manifest(&path).unwrap().run.finished.is_none());
    let folders = || {
        let entries = std::fs::read_dir(grid.path("cache/temporary")).unwrap();
        entries.count()
    };
    assert!(folders() > 0, "the killed run had nothing to leave behind");

    grid.jobs();
    grid.write("out/one/x86_64/.dkm-tmp-left", "half a module");
    grid.fake(&[]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs().iter().filter(|job| *job == "module").count(), 2);
    assert_eq!(folders(), 0);
    let is_leftover = |entry: &walkdir::DirEntry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with(fs::TEMPORARY_PREFIX)
    };
    assert!(
        !walkdir::WalkDir::new(grid.path(""))
            .into_iter()
            .flatten()
            .any(|entry| is_leftover(&entry))
    );
}
