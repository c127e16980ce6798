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
    #[error("{name} is no kernel list: {message}")]
    Format {
        /// The list.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The source cannot do what the matrix asks; trying again changes nothing.
    #[error("{message}")]
    Unsupported {
        /// What it cannot do, and what can be done.
        message: String,
    },
    /// A server did not give a list.
    #[error("{source}")]
    Fetch {
        /// What was tried.
        source: FetchError,
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
            Self::Fetch { source } => source.is_not_there(),
            Self::File(_) | Self::Format { .. } | Self::Unsupported { .. } => true,
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

    /// The error as a message at the place that led to it.
    pub fn diagnostic(&self, matrix: &Matrix, entry: &TargetEntry) -> Diagnostic {
        let span = match self {
            Self::At { span, .. } => span.clone(),
            _ => entry.kernels.span(),
        };
        Diagnostic::error(format!("no kernels for `{}`: {self}", entry.name.get_ref()))
            .at(matrix.place(span), "asked for here")
    }
}
