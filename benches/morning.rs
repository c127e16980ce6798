//! The commands that users run after a night, on simulated nights of 51,472 builds, each in its own process: `diff`,
//! `why`, `report`, `stats`; and the time that 70 rules for known failures take.
//!
//! `cargo bench --bench morning [-- nights|known]`. The nights are those of tests/support/nights.rs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::driver::Artifact;
use driverkit_matrix::event::BuildReport;
use driverkit_matrix::failure::Status;
use driverkit_matrix::history::KnownFailures;
use driverkit_matrix::kernel::{Architecture, Kernel};
use driverkit_matrix::matrix;
use driverkit_matrix::plan::Build;
use support::events;
use support::measure::{Measured, measure};
use support::nights::WHOLE;
use support::tell::{Chosen, median, tell};

const RUNS: usize = 7;

fn main() {
    let chosen = Chosen::from_command_line();
    if chosen.wants("nights") {
        nights();
    }
    if chosen.wants("known") {
        known_failures();
    }
}

fn nights() {
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

/// The number of rules: globs, ranges and names in turn, each with a regular expression.
const RULES: usize = 70;

/// The number of releases in the real lists.
const RELEASES: usize = 8_128;

/// Reads the rules, applies them to a failure of each kernel, and determines which rules are outdated.
fn known_failures() {
    let rules: String = (0..RULES).map(rule).collect();
    let text = format!(
        "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\nkernels = [{{ release = \"6.1.0-1-amd64\" }}]\n{rules}"
    );
    let (builds, reports): (Vec<Build>, Vec<BuildReport>) = (0..RELEASES).map(failed).unzip();
    let kernels: Vec<&Kernel> = builds.iter().map(|build| &*build.kernel).collect();
    let today = jiff::civil::date(2026, 1, 1);
    let mut known = 0;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let mut reports = reports.clone();
        let start = Instant::now();
        let file = SourceFile {
            path: "m.toml".into(),
            text: text.clone(),
        };
        let matrix = matrix::read(Arc::new(file)).expect("a matrix");
        let rules = KnownFailures::new(matrix.known_failures, &kernels, today);
        for report in &mut reports {
            rules.apply(report);
        }
        drop(rules.findings());
        times.push(start.elapsed());
        let artifacts = reports.iter().flat_map(|report| &report.artifacts);
        known = artifacts.filter(|one| one.status == Status::Known).count();
    }
    assert!(known > 0, "no rule applies");
    tell(
        "70 known failures on 8,128 releases",
        &format!(
            "{:.1} ms, {known} of the failures are known",
            median(times).as_secs_f64() * 1000.0
        ),
        "50 ms",
    );
}

fn rule(number: usize) -> String {
    let minor = number % 20;
    let kernel = match number % 3 {
        0 => format!("5.{minor}.*-generic"),
        1 => format!(">=4.{minor}, <4.{minor}.90"),
        _ => format!("*-{number}-aws"),
    };
    format!(
        "[[known_failure]]\nkernel = \"{kernel}\"\nclass = \"compile\"\nmessage = 'fillers_{number}\\.c: .*of function .[a-z_]+'\n\
         reason = \"rule {number}\"\n"
    )
}

/// Returns a build of a driver that no new kernel accepts, and its report.
fn failed(number: usize) -> (Build, BuildReport) {
    let release = match number % 4 {
        0 => format!("5.{}.0-{number}-generic", number % 20),
        1 => format!("4.{}.{}-1.el8.x86_64", number % 20, number / 80),
        2 => format!("6.1.{}-{}-aws", number / 70, number % 70),
        _ => format!("5.10.{number}-215.amzn2.x86_64"),
    };
    let build = events::build(&release, Architecture::Amd64, "8.1.0+driver");
    let mut failure = events::compile_error();
    if let Some(error) = &mut failure.first_error {
        error.file = format!("fillers_{}.c", number % RULES);
    }
    let report = BuildReport {
        artifacts: vec![events::missing(&build, Artifact::Module, &failure)].into(),
        ..events::report(&build, 0)
    };
    (build, report)
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
