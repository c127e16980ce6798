//! Prints the results of a benchmark.

use std::time::Duration;

/// Returns the median of some durations.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// Prints one result next to its target.
#[expect(clippy::print_stdout, reason = "a benchmark's result is its output")]
pub fn tell(what: &str, result: &str, target: &str) {
    println!("{what:<44} {result:<38} target {target}");
}

/// The names on the command line of a benchmark, which select its parts.
pub struct Chosen(Vec<String>);

impl Chosen {
    /// Reads the command line; flags, which cargo adds, are ignored.
    pub fn from_command_line() -> Self {
        let words = std::env::args().skip(1);
        Self(words.filter(|word| !word.starts_with('-')).collect())
    }

    /// Whether a part is named.
    pub fn names(&self, part: &str) -> bool {
        self.0.iter().any(|name| name == part)
    }

    /// Whether a part is named, or no part is named.
    pub fn wants(&self, part: &str) -> bool {
        self.0.is_empty() || self.names(part)
    }
}
