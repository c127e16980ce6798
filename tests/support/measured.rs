//! Says what runs of the program took.

use std::time::Duration;

use crate::measure::Measured;
use crate::tell::{median, tell};

/// The middle wall time.
pub fn wall(runs: &[Measured]) -> Duration {
    median(runs.iter().map(|run| run.wall).collect())
}

/// Prints the middle wall time and the highest memory.
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
