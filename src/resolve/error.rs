//! Errors that prevent a plan or the start of a run.

use crate::diagnostic::Diagnostic;
use crate::discover::lock::LockError;
use crate::exit::ExitStatus;
use crate::fs::FileError;
use crate::report::ManifestError;

/// Why a plan could not be created or a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// All errors found in files that the user wrote.
    #[error("{}", .0.first().map_or("bad input", Diagnostic::message))]
    Diagnostics(Vec<Diagnostic>),
    /// Other invalid input.
    #[error("{message}")]
    Input {
        /// The error message.
        message: String,
        /// Advice, shown as `help:`.
        help: Option<String>,
    },
    /// An invalid lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine, a server or the network failed.
    #[error("{message}")]
    Infrastructure {
        /// The error message.
        message: String,
        /// Advice, shown as `help:`.
        help: Option<String>,
    },
}

impl From<ManifestError> for ResolveError {
    fn from(error: ManifestError) -> Self {
        let is_missing = matches!(&error, ManifestError::File(error) if error.is_not_found());
        Self::Input {
            message: error.to_string(),
            help: is_missing
                .then(|| "name the output directory of a run, or its manifest".to_owned()),
        }
    }
}

impl ResolveError {
    /// Returns the exit status for this error.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Diagnostics(_)
            | Self::Input { .. }
            | Self::Lock(
                LockError::Newer { .. }
                | LockError::Text(_)
                | LockError::Contradictions(_)
                | LockError::Config { .. },
            ) => ExitStatus::BadInput,
            Self::Lock(LockError::File(error)) | Self::File(error) if !error.is_disk_full() => {
                ExitStatus::BadInput
            }
            Self::Lock(_) | Self::File(_) | Self::Infrastructure { .. } => {
                ExitStatus::Infrastructure
            }
        }
    }

    /// Returns an error for invalid input, without help.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            help: None,
        }
    }

    /// Returns an error for a failure of the machine, a server or the network, without help.
    pub fn infrastructure(message: impl Into<String>) -> Self {
        Self::Infrastructure {
            message: message.into(),
            help: None,
        }
    }
}
