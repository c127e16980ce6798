//! Reports the result of a run to the CI system in which it runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::messages::put_error;
use super::report::Nights;
use super::{CliError, Context};
use crate::report::clean;
use crate::text::count;
use crate::views::{Failures, Format};

/// The number of annotations that are written: GitHub shows ten of each kind for a step.
const ANNOTATIONS: usize = 10;

/// The GitHub step that the program runs in.
#[derive(Debug, Default)]
pub(super) struct Step {
    summary: Option<PathBuf>,
    has_annotations: bool,
}

impl Step {
    /// Reads the step from the environment variables.
    pub(super) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            has_annotations: variable("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        }
    }

    /// Returns true if the step accepts a summary or annotations.
    pub(super) fn wants_anything(&self) -> bool {
        self.summary.is_some() || self.has_annotations
    }

    /// Adds a run to the step's summary, and annotates its failures. An error is printed but does not fail the run.
    pub(super) fn tell(&self, context: &Context, nights: &Nights) {
        let summary = match &self.summary {
            Some(summary) => nights
                .draw(Format::Markdown)
                .and_then(|text| append(summary, &text)),
            None => Ok(()),
        };
        if self.has_annotations {
            // On standard error, which GitHub reads too: standard output may be data.
            put_error(&annotations(nights));
        }
        if let Err(error) = summary {
            context.notice(&format!(
                "failed to write the step's summary: {error}; drivers and manifest are complete"
            ));
        }
    }
}

fn append(path: &Path, text: &[u8]) -> Result<(), CliError> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text));
    written.map_err(|error| CliError::infrastructure(format!("{}: {error}", path.display())))
}

/// Returns an error for each kind of unexpected failure, and a warning for each outdated rule.
fn annotations(nights: &Nights) -> String {
    let mut lines = Vec::new();
    let failures = Failures::of(nights.manifest());
    let unexpected = failures.groups.iter().filter(|group| !group.is_known);
    for group in unexpected.take(ANNOTATIONS) {
        let first = group.members.first();
        let first = first.map_or(String::new(), |(build, _)| {
            format!(", such as {}", build.build_id)
        });
        let message = format!(
            "{}: {}{first}",
            count(group.members.len(), "artifact"),
            clean(&group.signature)
        );
        lines.push(format!(
            "::error title={}::{}\n",
            property(group.class.as_str()),
            data(&message)
        ));
    }
    for finding in nights.manifest().findings.iter().take(ANNOTATIONS) {
        let (file, line) = finding
            .place
            .rsplit_once(':')
            .unwrap_or((&finding.place, "1"));
        lines.push(format!(
            "::warning file={},line={}::{}\n",
            property(file),
            property(line),
            data(&clean(&finding.message))
        ));
    }
    lines.concat()
}

/// Escapes the text of a command, so that it cannot end the line.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes the value of a property, so that it cannot end the property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_workflow_commands_is_escaped() {
        assert_eq!(data("a\n::error::b 100%"), "a%0A::error::b 100%25");
        assert_eq!(property("a,line=1::b"), "a%2Cline=1%3A%3Ab");
    }
}
