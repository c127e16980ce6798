//! The command line that repeats one build.

use serde::{Deserialize, Serialize};

use crate::plan::BuildId;

/// The command line that repeats one build, for the first line of its logs and for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reproduce {
    /// `rebuild BUILD`, followed by these arguments.
    Rebuild(Vec<String>),
    /// These arguments only, because the command runs only one build.
    Same(Vec<String>),
}

impl Reproduce {
    /// Returns the command line for this build.
    pub fn command(&self, id: &BuildId) -> String {
        let (command, words) = match self {
            Self::Rebuild(words) => (vec!["driverkit-matrix", "rebuild", id.as_str()], words),
            Self::Same(words) => (Vec::new(), words),
        };
        let words = words.iter().map(String::as_str);
        // Command-line arguments contain no NUL.
        shlex::try_join(command.into_iter().chain(words)).unwrap_or_default()
    }
}
