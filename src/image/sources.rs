//! The sources of builder images in order of priority, and the offers of all their images.

use std::path::Path;

use reqwest::Client;

use super::foreign::{ForeignImages, ForeignImagesError};
use super::index::{self, IndexEntry};
use super::registry::{RegistryAccess, RegistryError, list_tags};
use super::{Catalogue, Offer};
use crate::diagnostic::Diagnostic;

/// The name of the source of images described in `images/`.
pub const OWN: &str = "own";

/// The sources of builder images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSources {
    /// [`OWN`], the name of an OCI repository, or the absolute path of an index file; the first has the highest
    /// priority.
    pub places: Vec<String>,
    /// The version that foreign images must have, for example `latest`.
    pub tag: String,
    /// The image that is used for all builds, if one is named.
    pub named: Option<String>,
    /// How to access registries.
    pub access: RegistryAccess,
}

impl Default for ImageSources {
    /// Returns the images described in `images/` as the only source.
    fn default() -> Self {
        Self {
            places: vec![OWN.to_owned()],
            tag: "latest".to_owned(),
            named: None,
            access: RegistryAccess::default(),
        }
    }
}

/// The error if the available images cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum ImageSourcesError {
    /// An index file cannot be used.
    #[error("{}", .0.message())]
    Index(Box<Diagnostic>),
    /// A repository cannot be listed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The cached state of repositories cannot be read or written.
    #[error(transparent)]
    Remembered(#[from] ForeignImagesError),
    /// The HTTP client cannot be created.
    #[error("failed to create an HTTP client: {0}")]
    Client(String),
}

impl ImageSources {
    /// Whether foreign images may be used.
    pub fn has_foreign(&self) -> bool {
        self.named.is_some() || self.places.iter().any(|place| place != OWN)
    }

    /// Whether a repository must be queried for its tags before [`Self::offers`] is complete.
    pub fn is_unknown(&self, foreign: &ForeignImages) -> bool {
        self.repositories()
            .any(|repository| foreign.tags(repository).is_none())
    }

    /// The repositories that images may come from.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        let is_repository = |place: &&String| **place != OWN && !Path::new(place).is_absolute();
        self.places.iter().filter(is_repository).map(String::as_str)
    }

    /// Queries repositories for their tags: those never queried before, or all of them.
    pub async fn ask(
        &self,
        foreign: &ForeignImages,
        client: &Client,
        all: bool,
    ) -> Result<(), ImageSourcesError> {
        for repository in self.repositories() {
            if all || foreign.tags(repository).is_none() {
                let tags = list_tags(client, repository, &self.access).await?;
                foreign.keep_tags(repository, tags)?;
            }
        }
        Ok(())
    }

    /// Returns the offers of all images in order of priority, without querying a registry.
    pub fn offers(
        &self,
        catalogue: &Catalogue,
        foreign: &ForeignImages,
    ) -> Result<Vec<Offer>, ImageSourcesError> {
        let mut offers = Vec::new();
        for place in &self.places {
            if place == OWN {
                offers.extend(catalogue.images().iter().flat_map(Offer::of_description));
                continue;
            }
            let entries: Vec<IndexEntry> = if Path::new(place).is_absolute() {
                index::read_index(Path::new(place))
                    .map_err(|error| ImageSourcesError::Index(Box::new(error)))?
            } else {
                let tags = foreign.tags(place).unwrap_or_default();
                tags.iter()
                    .filter_map(|tag| index::entry_of_tag(place, tag))
                    .collect()
            };
            let of_version = entries.iter().filter(|entry| entry.tag == self.tag);
            offers.extend(of_version.flat_map(Offer::of_entry));
        }
        Ok(offers)
    }
}
