//! The directories of builder images.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Context};
use crate::image::Catalogue;

/// The directories of builder images and their descriptions.
#[derive(Clone, Debug, Args)]
pub(super) struct Folders {
    /// Directory with the descriptions of builder images [default: `images` if it exists, otherwise the descriptions
    /// in this program]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS")]
    image_descriptions: Option<PathBuf>,
    /// Directory of the built images [default: images in the cache directory]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGES")]
    pub(super) images: Option<PathBuf>,
}

impl Folders {
    /// The directory with the descriptions; `None` if none is given and `images` does not exist.
    pub(super) fn described(&self) -> Option<&Path> {
        let usual = Some(Path::new("images")).filter(|folder| folder.is_dir());
        self.image_descriptions.as_deref().or(usual)
    }

    /// The described images.
    pub(super) fn catalogue(&self) -> Result<Catalogue, CliError> {
        let catalogue = match self.described() {
            Some(folder) => Catalogue::read(folder),
            None => Catalogue::of_the_project(),
        };
        catalogue.map_err(|error| CliError::input(error.to_string()))
    }

    /// The directory of the built images.
    pub(super) fn built(&self, context: &Context) -> PathBuf {
        self.images
            .clone()
            .unwrap_or_else(|| context.cache.join("images"))
    }
}
