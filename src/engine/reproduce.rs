//! The command line that does one build again.

use crate::plan::Build;

/// The command line that does one build again, for the first line of its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reproduce {
    /// `rebuild BUILD` and these words.
    Rebuild(Vec<String>),
    /// These words, because the command does only one build.
    Same(Vec<String>),
}

impl Reproduce {
    /// The command line for this build.
    pub(crate) fn command(&self, build: &Build) -> String {
        let id = build.id();
        let (command, words) = match self {
            Self::Rebuild(words) => (vec!["driverkit-matrix", "rebuild", id.as_str()], words),
            Self::Same(words) => (Vec::new(), words),
        };
        let words = words.iter().map(String::as_str);
        // Words of a command line hold no NUL.
        shlex::try_join(command.into_iter().chain(words)).unwrap_or_default()
    }
}
