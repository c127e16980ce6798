//! Errors of reading a source.

use std::ops::Range;

use super::mirror::DiscoverMirrorError;
use crate::diagnostic::Diagnostic;
use crate::fetch::FetchError;
use crate::fs::FileError;
use crate::matrix::{Matrix, TargetEntry};

/// An error of reading a source.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A list could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A list does not have the expected format.
    #[error("{name} is not a kernel list: {message}")]
    Format {
        /// The name of the list.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// All errors in files that a user wrote.
    #[error("{}", .0.first().map_or("bad input", Diagnostic::message))]
    Files(Vec<Diagnostic>),
    /// The source does not support what the matrix asks for. A retry does not help.
    #[error("{message}")]
    Unsupported {
        /// What is not supported, and what to do instead.
        message: String,
    },
    /// A list could not be downloaded.
    #[error("{cause}")]
    Fetch {
        /// The attempts.
        cause: FetchError,
    },
    /// A mirror could not be read.
    #[error(transparent)]
    Mirror(#[from] DiscoverMirrorError),
    /// Another of these errors, with the place in the matrix that caused it.
    #[error("{error}")]
    At {
        /// The place.
        span: Range<usize>,
        /// The error.
        error: Box<Self>,
    },
}

impl DiscoverError {
    /// Creates the error of a source that does not support what the matrix asks for.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported {
            message: message.into(),
        }
    }

    /// Whether the cause is the matrix or its files, not a server.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::At { error, .. } => error.is_bad_input(),
            Self::Mirror(error) => !error.is_transient(),
            // 403, 404, 500 and no response are the same kind of error: the list is not available.
            Self::Fetch { .. } => false,
            Self::File(_) | Self::Format { .. } | Self::Files(_) | Self::Unsupported { .. } => true,
        }
    }

    /// Whether the cause is the matrix or a local file, independent of servers.
    pub fn is_own_fault(&self) -> bool {
        match self {
            Self::At { error, .. } => error.is_own_fault(),
            // A list on a server may be broken only temporarily.
            Self::Format { name, .. } => !name.contains("://"),
            Self::Mirror(_) | Self::Fetch { .. } => false,
            Self::File(_) | Self::Files(_) | Self::Unsupported { .. } => true,
        }
    }

    /// Returns the attempts if a list could not be downloaded.
    pub fn fetch_error(&self) -> Option<&FetchError> {
        match self {
            Self::At { error, .. } => error.fetch_error(),
            Self::Fetch { cause } => Some(cause),
            _ => None,
        }
    }

    /// Adds a place in the matrix to the error. An error that already has a place keeps it.
    pub(super) fn at(self, span: Range<usize>) -> Self {
        match self {
            Self::At { .. } => self,
            error => Self::At {
                span,
                error: Box::new(error),
            },
        }
    }

    /// Returns the error as diagnostics. Errors in a user's files keep their own places. Every other error gets the
    /// place in the matrix that caused it.
    pub fn diagnostics(&self, matrix: &Matrix, entry: &TargetEntry) -> Vec<Diagnostic> {
        let (span, error) = match self {
            Self::At { span, error } => (span.clone(), &**error),
            error => (entry.kernels.span(), error),
        };
        if let Self::Files(faults) = error {
            return faults.clone();
        }
        let message = format!("no kernels for `{}`: {error}", entry.name.get_ref());
        vec![Diagnostic::error(message).at(matrix.place(span), "asked for here")]
    }
}
