//! All described images.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::description::{DescriptionError, ImageDescription};
use crate::fs::{self, FileError};

/// The project's image descriptions by name, embedded for users who have the program without its sources.
const OF_THE_PROJECT: [(&str, &str); 5] = [
    ("bookworm", include_str!("../../images/bookworm.toml")),
    ("bullseye", include_str!("../../images/bullseye.toml")),
    ("proof", include_str!("../../images/proof.toml")),
    ("sid", include_str!("../../images/sid.toml")),
    ("trixie", include_str!("../../images/trixie.toml")),
];

/// Why the directory of descriptions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The directory or a file in it cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A description cannot be used.
    #[error("{}: {cause}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: DescriptionError,
    },
}

/// All described images, sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    images: Vec<ImageDescription>,
}

impl Catalogue {
    /// Reads all `*.toml` files of a directory.
    pub fn read(folder: &Path) -> Result<Self, CatalogueError> {
        let entries = std::fs::read_dir(folder).map_err(FileError::of("read directory", folder))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(FileError::of("read directory", folder))?
                .path();
            if path.extension() == Some(OsStr::new("toml")) {
                paths.push(path);
            }
        }
        paths.sort();
        let images = paths.iter().map(|path| read_description(path));
        Ok(Self {
            images: images.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the project's images as described when this program was built.
    pub fn of_the_project() -> Result<Self, CatalogueError> {
        let images = OF_THE_PROJECT.iter().map(|(name, text)| {
            ImageDescription::parse(text, name).map_err(|cause| CatalogueError::Description {
                path: PathBuf::from(format!("images/{name}.toml")),
                cause,
            })
        });
        Ok(Self {
            images: images.collect::<Result<_, _>>()?,
        })
    }

    /// All images, sorted by name.
    pub fn images(&self) -> &[ImageDescription] {
        &self.images
    }

    /// Returns the image with this name or this Docker name.
    pub fn get(&self, name: &str) -> Option<&ImageDescription> {
        let matches = |image: &&ImageDescription| image.name == name || image.docker_name() == name;
        self.images.iter().find(matches)
    }
}

fn read_description(path: &Path) -> Result<ImageDescription, CatalogueError> {
    let text = fs::read_to_string(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    ImageDescription::parse(&text, &stem).map_err(|cause| CatalogueError::Description {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests;
