//! Where builder images come from, in the order of priority, and what all of them offer.

use std::path::Path;

use reqwest::Client;

use super::foreign::{ForeignImages, ForeignImagesError};
use super::index::{self, IndexEntry};
use super::registry::{RegistryAccess, RegistryError, list_tags};
use super::{Catalogue, Offer};
use crate::diagnostic::Diagnostic;

/// The word for the images that are described in `images/`.
pub const OWN: &str = "own";

/// Where builder images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSources {
    /// [`OWN`], the name of an OCI repository, or the absolute path of an index file; the first has priority.
    pub places: Vec<String>,
    /// The version that images of others must have: `latest`.
    pub tag: String,
    /// The image that is used for everything, where one is named.
    pub named: Option<String>,
    /// How registries are reached.
    pub access: RegistryAccess,
}

impl Default for ImageSources {
    /// The images that are described in `images/`.
    fn default() -> Self {
        Self {
            places: vec![OWN.to_owned()],
            tag: "latest".to_owned(),
            named: None,
            access: RegistryAccess::default(),
        }
    }
}

/// Why it cannot be told what images there are.
#[derive(Debug, thiserror::Error)]
pub enum ImageSourcesError {
    /// An index file cannot be used.
    #[error("{}", .0.message())]
    Index(Box<Diagnostic>),
    /// A repository cannot be listed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is remembered of repositories cannot be read or written.
    #[error(transparent)]
    Remembered(#[from] ForeignImagesError),
    /// No HTTP client can be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

impl ImageSources {
    /// Whether images of others may be used.
    pub fn has_foreign(&self) -> bool {
        self.named.is_some() || self.places.iter().any(|place| place != OWN)
    }

    /// Whether a repository has to be asked for its tags before [`Self::offers`] can tell everything.
    pub fn is_unknown(&self, foreign: &ForeignImages) -> bool {
        self.repositories()
            .any(|repository| foreign.tags(repository).is_none())
    }

    /// The repositories that images may come from.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        let is_repository = |place: &&String| **place != OWN && !Path::new(place).is_absolute();
        self.places.iter().filter(is_repository).map(String::as_str)
    }

    /// Asks repositories for their tags: those that were never asked, or all of them.
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

    /// What all images offer, in the order of priority; queries no registry.
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
