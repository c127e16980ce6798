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

/// The names on the command line of a benchmark, which choose among its parts.
pub struct Chosen(Vec<String>);

impl Chosen {
    /// Reads the command line; cargo adds flags of its own.
    pub fn from_command_line() -> Self {
        let words = std::env::args().skip(1);
        Self(words.filter(|word| !word.starts_with('-')).collect())
    }

    /// Whether a part is named.
    pub fn names(&self, part: &str) -> bool {
        self.0.iter().any(|name| name == part)
    }

    /// Whether a part is named, or none is.
    pub fn wants(&self, part: &str) -> bool {
        self.0.is_empty() || self.names(part)
    }
}
