//! The sample pages in docs/samples are the current output of the program. `make samples` writes them again.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;
use support::nights::Year;

/// A small grid with the nights of a year.
const YEAR: Year = Year {
    kernels: 120,
    drivers: 3,
    nights: 365,
};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples")
}

/// Compares the page of the night in `out` with a sample, or writes the sample if `UPDATE_SAMPLES` is set.
#[track_caller]
fn check(out: &Path, name: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
        .arg("report")
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let sample = samples().join(name);
    if std::env::var_os("UPDATE_SAMPLES").is_some() {
        fs::write(&sample, &output.stdout).unwrap();
    }
    assert!(
        std::fs::read(&sample).unwrap() == output.stdout,
        "docs/samples/{name} is outdated: run `make samples`"
    );
    assert!(
        output.stdout.len() < 500_000,
        "the sample is too large for a repository"
    );
}

#[test]
fn the_sample_of_a_year_is_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    YEAR.write(folder.path());
    check(folder.path(), "year.html");
}

#[test]
fn the_sample_of_the_demo_is_up_to_date() {
    check(&samples().join("demo"), "demo.html");
}
