//! All described images, and the choice of one of them for a kernel.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use super::description::{Compiler, DescriptionError, ImageDescription};
use super::gcc::GccVersion;
use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// Why the folder of descriptions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The folder or a file in it cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A description cannot be used.
    #[error("{}: {source}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DescriptionError,
    },
}

/// All described images, sorted by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    images: Vec<ImageDescription>,
}

/// The image and compiler for a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The image.
    pub image: &'a ImageDescription,
    /// One of its compilers.
    pub compiler: &'a Compiler,
    /// Why this one.
    pub reason: ChoiceReason,
}

/// Why a compiler was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceReason {
    /// It is the wanted version.
    Exact,
    /// The wanted version is in no image; this is the highest below it.
    NearestLower,
    /// All versions are higher than the wanted one; this is the lowest.
    Lowest,
}

impl fmt::Display for ChoiceReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Exact => "exact version",
            Self::NearestLower => "nearest lower version",
            Self::Lowest => "lowest version, all are higher",
        })
    }
}

/// No image has a compiler for an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no builder image for {} hosts has a compiler for {}", host.as_str(), architecture.as_str()
)]
pub struct NoCompiler {
    /// The architecture of the kernel.
    pub architecture: Architecture,
    /// The architecture that builds.
    pub host: Architecture,
}

impl Catalogue {
    /// Reads all `*.toml` of a folder.
    pub fn read(folder: &Path) -> Result<Self, CatalogueError> {
        let entries = std::fs::read_dir(folder).map_err(FileError::of("read folder", folder))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(FileError::of("read folder", folder))?.path();
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

    /// All images, sorted by name.
    pub fn images(&self) -> &[ImageDescription] {
        &self.images
    }

    /// The image of that name, also when written as Docker's name of it.
    pub fn get(&self, name: &str) -> Option<&ImageDescription> {
        let matches = |image: &&ImageDescription| image.name == name || image.docker_name() == name;
        self.images.iter().find(matches)
    }

    /// Chooses the compiler for a kernel of `architecture` built on `host`: the wanted version, else the highest
    /// one below it, else the lowest there is. Where several images have the version, the first by name is taken.
    pub fn choose(
        &self,
        wanted: &GccVersion,
        architecture: Architecture,
        host: Architecture,
    ) -> Result<Choice<'_>, NoCompiler> {
        choose_among(&self.images, wanted, architecture, host)
    }
}

impl ImageDescription {
    /// [`Catalogue::choose`] within this one image, where the matrix demands it.
    pub fn choose(
        &self,
        wanted: &GccVersion,
        architecture: Architecture,
        host: Architecture,
    ) -> Result<Choice<'_>, NoCompiler> {
        choose_among(std::slice::from_ref(self), wanted, architecture, host)
    }
}

fn read_description(path: &Path) -> Result<ImageDescription, CatalogueError> {
    let text = fs::read_to_string(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    ImageDescription::parse(&text, &stem).map_err(|source| CatalogueError::Description {
        path: path.to_owned(),
        source,
    })
}

fn choose_among<'a>(
    images: &'a [ImageDescription],
    wanted: &GccVersion,
    architecture: Architecture,
    host: Architecture,
) -> Result<Choice<'a>, NoCompiler> {
    let mut candidates: Vec<_> = images
        .iter()
        .filter(|image| image.host_architecture == host)
        .flat_map(|image| {
            image
                .compilers
                .iter()
                .map(move |compiler| (image, compiler))
        })
        .filter(|(_, compiler)| compiler.architecture == architecture)
        .collect();
    // Stable: images of the same version keep their order by name.
    candidates.sort_by(|(_, left), (_, right)| left.gcc.cmp(&right.gcc));

    let exact = candidates
        .iter()
        .find(|(_, compiler)| compiler.gcc.agrees_with(wanted));
    let nearest = || {
        let below = candidates.partition_point(|(_, compiler)| compiler.gcc < *wanted);
        let highest = &candidates.get(below.checked_sub(1)?)?.1.gcc;
        candidates
            .iter()
            .find(|(_, compiler)| compiler.gcc == *highest)
    };
    let (&(image, compiler), reason) = exact
        .map(|found| (found, ChoiceReason::Exact))
        .or_else(|| nearest().map(|found| (found, ChoiceReason::NearestLower)))
        .or_else(|| {
            candidates
                .first()
                .map(|found| (found, ChoiceReason::Lowest))
        })
        .ok_or(NoCompiler { architecture, host })?;
    Ok(Choice {
        image,
        compiler,
        reason,
    })
}

#[cfg(test)]
mod tests;
