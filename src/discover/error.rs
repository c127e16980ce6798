//! Why a source gave nothing.

use std::ops::Range;

use super::mirror::DiscoverMirrorError;
use crate::diagnostic::Diagnostic;
use crate::fetch::FetchError;
use crate::fs::FileError;
use crate::matrix::{Matrix, TargetEntry};

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A list could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A list is not in the format that it should be.
    #[error("{name} is not a kernel list: {message}")]
    Format {
        /// The list.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Files that a person wrote, with everything that is wrong with them.
    #[error("{}", .0.first().map_or("bad input", Diagnostic::message))]
    Files(Vec<Diagnostic>),
    /// The source cannot do what the matrix asks; trying again changes nothing.
    #[error("{message}")]
    Unsupported {
        /// What it cannot do, and what can be done.
        message: String,
    },
    /// A server did not give a list.
    #[error("{cause}")]
    Fetch {
        /// What was tried.
        cause: FetchError,
    },
    /// A mirror could not be read.
    #[error(transparent)]
    Mirror(#[from] DiscoverMirrorError),
    /// One of these, with the place in the matrix that led to it.
    #[error("{error}")]
    At {
        /// The place.
        span: Range<usize>,
        /// What is wrong.
        error: Box<Self>,
    },
}

impl DiscoverError {
    /// Whether the matrix or its files are at fault, rather than a server.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::At { error, .. } => error.is_bad_input(),
            Self::Mirror(error) => !error.is_transient(),
            // 403, 404, 500 and no answer at all are one kind of fault: the list is not to be had.
            Self::Fetch { .. } => false,
            Self::File(_) | Self::Format { .. } | Self::Files(_) | Self::Unsupported { .. } => true,
        }
    }

    /// Whether the matrix or a file beside it is at fault, whatever servers say.
    pub fn is_own_fault(&self) -> bool {
        match self {
            Self::At { error, .. } => error.is_own_fault(),
            // A list of a server may be broken tonight.
            Self::Format { name, .. } => !name.contains("://"),
            Self::Mirror(_) | Self::Fetch { .. } => false,
            Self::File(_) | Self::Files(_) | Self::Unsupported { .. } => true,
        }
    }

    /// What was tried of a list that no server gave.
    pub(super) fn fetch_error(&self) -> Option<&FetchError> {
        match self {
            Self::At { error, .. } => error.fetch_error(),
            Self::Fetch { cause } => Some(cause),
            _ => None,
        }
    }

    /// The error with its place in the matrix; one that has a place keeps it.
    pub(super) fn at(self, span: Range<usize>) -> Self {
        match self {
            Self::At { .. } => self,
            error => Self::At {
                span,
                error: Box::new(error),
            },
        }
    }

    /// The error as messages: those of a person's own files with their places, everything else with the place in the
    /// matrix that led to it.
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
