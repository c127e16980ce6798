//! Helpers for Prometheus' text format.

use std::io::{self, Write};

/// Writes the header lines of a metric.
pub(super) fn head(output: &mut dyn Write, name: &str, help: &str) -> io::Result<()> {
    writeln!(output, "# HELP {name} {help}\n# TYPE {name} gauge")
}

/// Returns labels such as `{target="debian"}`.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}
