//! Measures how long a run takes from SIGTERM to its end while it has many packages to unpack: twelve kernels, each
//! with its own package of 20,000 files. The sender of the signal usually kills the process ten seconds later, and the
//! manifest must be complete by then.
//!
//! `cargo bench --bench stop`

use std::time::{Duration, Instant};

use driverkit_matrix::fs;
use rustix::process::{Pid, Signal, kill_process};
use support::grid::{Grid, RELEASE, deb, wait_until};
use support::tell::{median, tell};

const KERNELS: usize = 12;
const FILES: usize = 20_000;
const RUNS: usize = 5;

fn main() {
    let grid = Grid::new();
    let numbers: Vec<String> = (1..=KERNELS).map(|number| number.to_string()).collect();
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
    let took: Vec<Duration> = (0..RUNS).map(|_| stop(&grid)).collect();
    let worst = took.iter().max().copied().unwrap_or_default();
    let result = format!(
        "{:.2} s (median of {RUNS}), at most {:.2} s",
        median(took).as_secs_f64(),
        worst.as_secs_f64()
    );
    let what = format!("SIGTERM with {KERNELS} unpacks under way or queued, until the end");
    tell(&what, &result, "1 s");
}

/// Starts a run without a cache, and stops it during its first unpacks.
fn stop(grid: &Grid) -> Duration {
    for name in ["cache", "out"] {
        // The directories do not exist before the first run.
        drop(std::fs::remove_dir_all(grid.path(name)));
    }
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
