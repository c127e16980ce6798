//! Measures how a run answers signals:
//!
//! - `end`: the time from SIGTERM to the end of a run that has many packages to unpack: twelve kernels, each with its own
//!   package of 20,000 files. The sender of the signal usually kills the process ten seconds later, and the manifest
//!   must be complete by then.
//! - `answer`: the time from SIGINT to the first output about it, with 16 jobs under way while a driver of 20,000 files
//!   is copied into the store.
//!
//! `cargo bench --bench stop -- [end] [answer]`

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use driverkit_matrix::fs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::grid::{Grid, RELEASE, deb, rule, wait_until};
use support::tell::{Chosen, median, tell};

/// The kernels of `end`.
const KERNELS: usize = 12;
/// The builds under way of `answer`.
const BUILDS: usize = 16;
const FILES: usize = 20_000;
const RUNS: usize = 5;

fn main() {
    let chosen = Chosen::from_command_line();
    if chosen.wants("end") {
        end();
    }
    if chosen.wants("answer") {
        answer();
    }
}

fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|number| number.to_string()).collect()
}

fn end() {
    let grid = Grid::new();
    let numbers = numbers(KERNELS);
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for number in &numbers {
        grid.write_headers(number, RELEASE);
        let files: Vec<(String, String)> = (0..FILES)
            .map(|file| {
                let name = format!("usr/lib/linux-kbuild-6.1/scripts/{}/{file}", file % 100);
                (name, format!("{number} {file}\n").repeat(100))
            })
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_str()))
            .collect();
        let [_, _, kbuild] = grid.headers(number);
        fs::write(&kbuild, deb(&files)).expect("written");
    }
    grid.write_matrix(&grid.matrix(&numbers));
    let took = (0..RUNS).map(|_| stop(&grid)).collect();
    let what = format!("SIGTERM with {KERNELS} unpacks under way or queued, until the end");
    tell_times(&what, took, "1 s");
}

fn tell_times(what: &str, took: Vec<Duration>, target: &str) {
    let worst = took.iter().max().copied().unwrap_or_default();
    let result = format!(
        "{} ms (median of {RUNS}), at most {} ms",
        median(took).as_millis(),
        worst.as_millis()
    );
    tell(what, &result, target);
}

/// Starts a run without a cache, and stops it during its first unpacks.
fn stop(grid: &Grid) -> Duration {
    empty(grid);
    let mut child = grid.start(&["--jobs", "2"]);
    wait_until("an unpack", || {
        let made = walkdir::WalkDir::new(grid.path("cache/temporary")).into_iter();
        made.flatten().take(2000).count() == 2000
    });
    let start = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let status = child.wait().expect("it ends");
    let took = start.elapsed();
    assert_eq!(status.code(), Some(130));
    let exit = grid.manifest().exit.expect("a complete manifest");
    assert_eq!(exit.code, 130);
    took
}

/// Removes what the last run left.
fn empty(grid: &Grid) {
    for name in ["cache", "out"] {
        // The directories do not exist before the first run.
        drop(std::fs::remove_dir_all(grid.path(name)));
    }
    drop(std::fs::remove_file(grid.path("journal")));
}

fn answer() {
    let grid = Grid::new();
    let numbers = numbers(BUILDS);
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for number in &numbers {
        grid.write_headers(number, RELEASE);
    }
    grid.write_driver("large", "large");
    for file in 0..FILES {
        let path = grid.path(&format!("large/{}/{file}.h", file % 100));
        fs::create_folder(path.parent().expect("a directory")).expect("a writable folder");
        fs::write_unsynced(&path, format!("{file}\n").repeat(100)).expect("a writable folder");
    }
    let matrix = grid.matrix(&numbers);
    grid.write_matrix(&matrix.replace(r#"drivers = ["one"]"#, r#"drivers = ["one", "large"]"#));
    grid.edit_matrix(
        "[driver.\"one\"]",
        "[driver.\"large\"]\nsource = { path = \"large\" }\nmodule_name = \"scap\"\n\n[driver.\"one\"]",
    );
    grid.fake(&[rule("*", &json!({ "hangs": true }))]);
    let (first, last) = (0..RUNS).map(|_| interrupt(&grid)).unzip();
    let what = format!("SIGINT with {BUILDS} jobs under way and a driver being copied, until");
    tell_times(&format!("{what} the answer"), first, "100 ms");
    tell_times(&format!("{what} the end"), last, "none");
}

/// Interrupts a run without a cache during the copy; returns the times to the first output about it and to the end.
fn interrupt(grid: &Grid) -> (Duration, Duration) {
    empty(grid);
    let jobs = BUILDS.to_string();
    let mut command = grid.command(&["--jobs", &jobs]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let answered = std::thread::spawn(move || {
        let mut answered = None;
        for line in lines.map_while(Result::ok) {
            if line.contains("interrupted by a signal") {
                answered.get_or_insert_with(Instant::now);
            }
        }
        answered.expect("an answer")
    });
    grid.wait_for_jobs(BUILDS);
    wait_until("a copy", || copied(grid) > 2000);
    let files = copied(grid);
    assert!(files < FILES, "the copy ended before the signal");
    let start = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let status = child.wait().expect("it ends");
    let end = start.elapsed();
    assert_eq!(status.code(), Some(130));
    let answered = answered.join().expect("a thread that ends");
    (answered.duration_since(start), end)
}

/// Returns how many files of the large driver are in the store or being copied into it.
fn copied(grid: &Grid) -> usize {
    let files = walkdir::WalkDir::new(grid.path("cache/temporary")).into_iter();
    let is_of_driver = |file: &walkdir::DirEntry| file.path().extension() == Some("h".as_ref());
    files.flatten().filter(is_of_driver).count()
}
