//! Says what came of a benchmark.

use std::time::Duration;

/// The middle one of some durations.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// Prints one result beside what is asked of it.
#[expect(clippy::print_stdout, reason = "a benchmark's result is its output")]
pub fn tell(what: &str, result: &str, target: &str) {
    println!("{what:<44} {result:<38} target {target}");
}
