//! Errors that make a whole publication fail.

use crate::bucket::{BucketError, BucketFault};
use crate::fs::FileError;

/// An error of publishing, auditing or removing.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The destination rejects requests or does not respond.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An error of a local file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The destination has an index that this version cannot use.
    #[error("{message}")]
    Index {
        /// The problem.
        message: String,
        /// What to do.
        help: String,
    },
    /// The operation needs a decision of the user first.
    #[error("{message}")]
    Refused {
        /// What was rejected, and why.
        message: String,
        /// What to do.
        help: String,
    },
}

impl PublishError {
    /// Returns what to do about the error.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Bucket(error) => error.help.as_deref(),
            Self::Index { help, .. } | Self::Refused { help, .. } => Some(help),
            Self::File(_) => None,
        }
    }

    /// Returns true if the user has to change something, rather than the environment of the program.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Bucket(error) => {
                matches!(error.fault, BucketFault::Settings | BucketFault::NoBucket)
            }
            Self::File(error) => !error.is_disk_full(),
            Self::Index { .. } | Self::Refused { .. } => true,
        }
    }
}

/// Returns true if every further request would fail in the same way.
pub(super) fn is_systemic(fault: BucketFault) -> bool {
    match fault {
        BucketFault::Settings
        | BucketFault::Credentials
        | BucketFault::NoBucket
        | BucketFault::ReadForbidden
        | BucketFault::ReadOnly
        | BucketFault::Region
        | BucketFault::Clock
        | BucketFault::NotAStore
        | BucketFault::Proxy
        | BucketFault::Unreachable => true,
        BucketFault::ListForbidden
        | BucketFault::Throttled
        | BucketFault::Server
        | BucketFault::NotFound
        | BucketFault::Changed
        | BucketFault::Damaged
        | BucketFault::Files
        | BucketFault::Other => false,
    }
}
