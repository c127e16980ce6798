//! Tests of runs that end early or are stopped.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

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
    let slow =
        json!({ "copies": { "module.ko": grid.path("module.ko") }, "delay-milliseconds": 100 });
    grid.fake(&[rule("module *", &slow)]);
    let log = grid.path("log");
    let words = ["--jobs", "2", "--log", "engine=debug", "--log-file"];
    let (code, text) = grid.run(&[&words[..], &[log.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{text}");
    let (mut running, mut most, mut ended) = (0, 0, 0);
    for line in fs::read_to_string(&log).unwrap().lines() {
        if line.contains("starting a job") {
            running += 1;
        } else if line.contains("a job ended") {
            running -= 1;
            ended += 1;
        }
        most = most.max(running);
    }
    // On a busy machine, two short jobs may not overlap.
    assert_eq!(running, 0);
    assert!((1..=2).contains(&most), "{most}");
    assert_eq!(ended, grid.jobs().len());
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

/// More drivers than the program has threads for asynchronous tasks are read by `git archive`, which does not end.
#[test]
fn a_signal_is_answered_while_the_sources_of_16_drivers_are_read() {
    let grid = Grid::new();
    let names: Vec<String> = (1..=16).map(|number| format!("v{number}")).collect();
    write_clone(&grid, &names);
    let of_drivers: Vec<String> = names
        .iter()
        .map(|name| {
            let source = format!("{{ git = \"clone\", ref = \"{name}\" }}");
            format!("[driver.\"{name}\"]\nsource = {source}\nmodule_name = \"scap\"\n")
        })
        .collect();
    grid.edit_matrix("[\"one\"]", &format!("{names:?}"));
    let one = "[driver.\"one\"]\nsource = { path = \"driver\" }\nmodule_name = \"scap\"\n";
    grid.edit_matrix(one, &of_drivers.concat());
    // A git that reads a commit until the file `hold` is removed.
    let hold = grid.path("hold");
    grid.write("hold", "");
    grid.write(
        "bin/git",
        format!(
            "#!/bin/sh\nPATH=${{PATH#*:}}\ncase \" $* \" in\n*\" archive \"*)\n    echo \"$*\" >>{began}\n    \
             while [ -e {hold} ]; do sleep 0.05; done\n    echo >{ended}\n    exit 1\nesac\nexec git \"$@\"\n",
            began = grid.path("began").display(),
            hold = hold.display(),
            ended = grid.path("ended").display(),
        ),
    );
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(grid.path("bin/git"), executable).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut child = grid
        .command(&["--jobs", "16"])
        .env("PATH", format!("{}:{path}", grid.path("bin").display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("16 copies", || {
        let began = std::fs::read_to_string(grid.path("began")).unwrap_or_default();
        began.lines().count() == 16
    });
    send(&child, Signal::INT);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("interrupted by a signal")));
    // The rest is read by another thread, so that the program is not blocked by a full pipe.
    let rest = std::thread::spawn(move || lines.count());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(grid.manifest().builds.len(), 16);
    assert!(!grid.path("ended").exists(), "a copy ended");
    std::fs::remove_file(hold).unwrap();
    rest.join().unwrap();
}

/// Writes the sources of a driver into the repository `clone`, with one commit and tag for each name.
fn write_clone(grid: &Grid, names: &[String]) {
    let git = |words: &[&str]| {
        let status = Command::new("git")
            .current_dir(grid.path("clone"))
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(words)
            .status();
        assert!(status.unwrap().success(), "git {words:?}");
    };
    for (number, name) in names.iter().enumerate() {
        grid.write_driver("clone", name);
        if number == 0 {
            git(&["init", "--quiet"]);
        }
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", name]);
        git(&["tag", name]);
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
