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
    /// A file of a suite cannot be downloaded.
    #[error("the mirror of {suite} cannot be read: {cause}")]
    Fetch {
        /// The suite.
        suite: String,
        /// What was tried.
        cause: FetchError,
    },
    /// A file of a repository cannot be downloaded.
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
    /// A file does not have the digest that the index lists: the file is broken, or the mirror is being updated.
    #[error("{url} has SHA-256 {found}, but its repository lists {expected}")]
    Checksum {
        /// The file.
        url: String,
        /// The digest that the index lists.
        expected: Sha256,
        /// The digest that was found.
        found: Sha256,
    },
    /// A `Release` file has no valid signature.
    #[error("{url} cannot be verified: {message}")]
    Signature {
        /// The file.
        url: String,
        /// What is wrong with its signature.
        message: String,
    },
    /// A `Release` file has expired.
    #[error(
        "{url} expired at {until}: the mirror is no longer updated; use another mirror, or set allow_expired = true"
    )]
    Expired {
        /// The file.
        url: String,
        /// Its `Valid-Until`.
        until: jiff::Timestamp,
    },
    /// A file has invalid content.
    #[error("{url} is broken: {message}")]
    Broken {
        /// The file.
        url: String,
        /// What is wrong.
        message: String,
    },
}

impl DiscoverMirrorError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { .. } | Self::Checksum { .. } => true,
            Self::Repository { cause: source, .. } => !source.is_not_there(),
            _ => false,
        }
    }
}

/// Returns the error with both digests if a download failed because its digest was not the one in the index.
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

/// Returns the error for a file with invalid content.
pub(super) fn broken(url: &str, message: impl Into<String>) -> DiscoverMirrorError {
    DiscoverMirrorError::Broken {
        url: url.to_owned(),
        message: message.into(),
    }
}
