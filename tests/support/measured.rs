//! Prints the measurements of runs of the program.

use std::time::Duration;

use crate::measure::Measured;
use crate::tell::{median, tell};

/// Returns the median of the wall times.
pub fn wall(runs: &[Measured]) -> Duration {
    median(runs.iter().map(|run| run.wall).collect())
}

/// Prints the median of the wall times and the highest memory.
pub fn report(what: &str, runs: &[Measured], target: &str) {
    let peak = runs.iter().map(|run| run.peak_mebibytes).max();
    let result = format!(
        "{:.3} s (median of {}), {} MiB",
        wall(runs).as_secs_f64(),
        runs.len(),
        peak.unwrap_or_default()
    );
    tell(what, &result, target);
}
