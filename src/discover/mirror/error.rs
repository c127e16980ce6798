//! Why a mirror could not be read.

use crate::digest::Sha256;
use crate::fetch::{Answer, FetchError};
use crate::kernel::Architecture;

/// Why a mirror could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverMirrorError {
    /// No mirror has the suite.
    #[error("no mirror has the suite {suite}: {cause}")]
    NoSuite {
        /// The suite.
        suite: String,
        /// What was tried.
        cause: FetchError,
    },
    /// A mirror did not give one of its files.
    #[error("the mirror of {suite} cannot be read: {cause}")]
    Fetch {
        /// The suite.
        suite: String,
        /// What was tried.
        cause: FetchError,
    },
    /// A repository did not give one of its files.
    #[error("the repository cannot be read: {cause}")]
    Repository {
        /// The file.
        url: String,
        /// What was tried.
        cause: FetchError,
    },
    /// The suite has no packages of an architecture.
    #[error("the suite {suite} has no index for {architecture}")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The architecture.
        architecture: Architecture,
    },
    /// A file is not what the suite's `Release` file says: broken, or the mirror is just being updated.
    #[error("{url} has SHA-256 {found}, but its repository says {expected}")]
    Checksum {
        /// The file.
        url: String,
        /// The digest by the `Release` file.
        expected: Sha256,
        /// The digest that was found.
        found: Sha256,
    },
    /// A `Release` file without a good signature.
    #[error("{url} is not believed: {message}")]
    Signature {
        /// The file.
        url: String,
        /// What is wrong with its signature.
        message: String,
    },
    /// A `Release` file that is too old.
    #[error(
        "{url} was valid until {until} only: the mirror stands still; ask another one, or write allow_expired = true"
    )]
    Expired {
        /// The file.
        url: String,
        /// Its `Valid-Until`.
        until: jiff::Timestamp,
    },
    /// A file that cannot be understood.
    #[error("{url} is broken: {message}")]
    Broken {
        /// The file.
        url: String,
        /// What is wrong.
        message: String,
    },
}

impl DiscoverMirrorError {
    /// Whether the same question may be answered a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { .. } | Self::Checksum { .. } => true,
            Self::Repository { cause: source, .. } => !source.is_not_there(),
            _ => false,
        }
    }
}

/// The digests, where a file failed since it is not the one that an index tells of.
pub(super) fn wrong_digest(url: &str, source: &FetchError) -> Option<DiscoverMirrorError> {
    let mut answers = source.tried.iter().map(|tried| &tried.answer);
    answers.find_map(|answer| match answer {
        Answer::Checksum { expected, found } => Some(DiscoverMirrorError::Checksum {
            url: url.to_owned(),
            expected: *expected,
            found: *found,
        }),
        _ => None,
    })
}

/// A file that cannot be understood.
pub(super) fn broken(url: &str, message: impl Into<String>) -> DiscoverMirrorError {
    DiscoverMirrorError::Broken {
        url: url.to_owned(),
        message: message.into(),
    }
}
