//! The commands of the morning on simulated nights of 51,472 builds, each a process of its own: `diff`, `why`, `report`,
//! `stats`; and how long 70 known failures take.
//!
//! `cargo bench --bench morning`. The nights are those of tests/support/nights.rs.

use std::path::Path;
use std::process::Command;

use support::measure::{Measured, measure};
use support::nights::WHOLE;
use support::tell::{median, tell};

const RUNS: usize = 7;

fn main() {
    let folder = tempfile::Builder::new()
        .prefix("morning-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary folder");
    let folder = folder.path();
    WHOLE.write(&folder.join("out"));
    let old = std::fs::read_dir(folder.join("out/.driverkit-matrix/manifests")).expect("nights");
    let old = old
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a night");
    let size = std::fs::metadata(folder.join("out/builds.jsonl.zst"))
        .expect("rows")
        .len();
    tell(
        "builds.jsonl.zst",
        &format!("{:.1} MB", megabytes(size)),
        "12 MB",
    );
    let old = old.to_str().expect("UTF-8");
    timed(
        folder,
        "diff of two nights",
        &["diff", old, "out"],
        "0.3 s, 150 MB",
    );
    timed(folder, "why KERNEL", &["why", "6.1.77-1.ph5"], "0.05 s");
    timed(
        folder,
        "why BUILD",
        &["why", "3.0.0+driver/x86_64/photon_6.1.77-1.ph5_1"],
        "0.05 s",
    );
    timed(
        folder,
        "why, a part of many names",
        &["why", "6.1.7"],
        "0.05 s",
    );
    timed(
        folder,
        "report --format html",
        &["report", "out", "--output", "night.html"],
        "1 s",
    );
    let size = std::fs::metadata(folder.join("night.html"))
        .expect("a page")
        .len();
    tell("the page", &format!("{:.1} MB", megabytes(size)), "8 MB");
    timed(
        folder,
        "report --format markdown",
        &["report", "out", "--format", "markdown"],
        "none",
    );
    timed(folder, "stats", &["stats", "out"], "none");
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
}

fn timed(folder: &Path, what: &str, words: &[&str], target: &str) {
    let run = || {
        measure(
            Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
                .args(words)
                .current_dir(folder),
        )
    };
    let runs: Vec<Measured> = (0..RUNS).map(|_| run()).collect();
    let wall = median(runs.iter().map(|run| run.wall).collect());
    let peak = runs
        .iter()
        .map(|run| run.peak_mebibytes)
        .max()
        .unwrap_or_default();
    tell(
        what,
        &format!("{:.3} s (median of {RUNS}), {peak} MiB", wall.as_secs_f64()),
        target,
    );
}
