//! Why a publication as a whole fails.

use crate::bucket::{BucketError, BucketFault};
use crate::fs::FileError;

/// Why nothing more could be published, audited or removed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The destination refuses or does not answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] FileError),
    /// The destination has an index that this version cannot use.
    #[error("{message}")]
    Index {
        /// What is wrong with it.
        message: String,
        /// What to do.
        help: String,
    },
    /// Somebody must decide first.
    #[error("{message}")]
    Refused {
        /// What was refused.
        message: String,
        /// What to do.
        help: String,
    },
}

impl PublishError {
    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Bucket(error) => error.help.as_deref(),
            Self::Index { help, .. } | Self::Refused { help, .. } => Some(help),
            Self::File(_) => None,
        }
    }

    /// Whether the user must change something, rather than what is around the program.
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

/// Whether every further request would fail in the same way.
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
