//! Errors of `images`.

use std::io;

use crate::cli::CliError;
use crate::diagnostic::did_you_mean;
use crate::image::RecordError;
use crate::image::build::BuildError;

/// An error of `images`.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImagesError {
    #[error("no builder image is called `{name}`; expected one of {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("failed to write the list")]
    Output(#[from] io::Error),
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Unknown {
                ref name,
                ref known,
            } => Self::Input {
                message: error.to_string(),
                help: did_you_mean(name, known.split(", ")),
            },
            _ => Self::infrastructure(crate::error::chain(&error)),
        }
    }
}
