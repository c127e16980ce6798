//! The builder images that builds choose from: those that are described here and built, and those of others.

use std::collections::BTreeMap;
use std::path::Path;

use crate::image::{self, BuiltImage, Catalogue, ForeignImages, GccVersion, Maker, Offer, Wanted};
use crate::kernel::Architecture;
use crate::plan::Build;

/// Why a demand of a matrix cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is demanded, and what there is.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether an image that is described only has to be built.
    pub is_unbuilt: bool,
}

/// The builder images that may be used.
#[derive(Debug)]
pub struct BuilderImages {
    /// Those that are described here.
    pub(super) catalogue: Catalogue,
    /// What is known of those of them that are built, by name: read once for the whole run. A record that cannot be
    /// read stands with the reason.
    pub(super) built: BTreeMap<String, Result<BuiltImage, String>>,
    /// What all images offer, in the order of priority.
    pub(super) offers: Vec<Offer>,
    /// The image that is used for everything, where one is named.
    pub(super) named: Option<String>,
    /// What is known of the images of others.
    pub(super) foreign: ForeignImages,
}

impl BuilderImages {
    /// The images of `catalogue`, whose archives and records are in `folder`, and those of others.
    pub fn new(
        catalogue: Catalogue,
        folder: &Path,
        offers: Vec<Offer>,
        named: Option<String>,
        foreign: ForeignImages,
    ) -> Self {
        let load = |name: &String| {
            let built = BuiltImage::load(folder, name).map_err(|error| error.to_string());
            Some((name.clone(), built.transpose()?))
        };
        let names = catalogue.images().iter().map(|image| &image.name);
        Self {
            built: names.filter_map(load).collect(),
            catalogue,
            offers,
            named,
            foreign,
        }
    }

    /// Counts images as built whose archives are not on this machine: the executor has them.
    #[must_use]
    pub fn with_images_elsewhere(mut self, folder: &Path) -> Self {
        for image in self.catalogue.images() {
            if let Ok(Some(record)) = BuiltImage::load_record(folder, &image.name) {
                self.built.insert(image.name.clone(), Ok(record));
            }
        }
        self
    }

    /// Whether any of the images that are described here is built, or those of others may be used.
    pub fn is_usable(&self) -> bool {
        self.named.is_some()
            || !self.built.is_empty()
            || self
                .offers
                .iter()
                .any(|offer| matches!(offer.maker, Maker::Driverkit))
    }

    /// The compilers of the images that are built and of those of others, with their architectures.
    pub(super) fn compilers(&self) -> impl Iterator<Item = (Architecture, GccVersion)> + '_ {
        let usable = self.offers.iter().filter(|offer| match &offer.maker {
            Maker::Own { name, .. } => matches!(self.built.get(name), Some(Ok(_))),
            Maker::Driverkit => true,
        });
        usable.map(|offer| (offer.architecture, offer.gcc.clone()))
    }

    /// That an image is not built, if so.
    pub(super) fn not_built(&self, name: &str) -> Option<Refusal> {
        (!self.built.contains_key(name)).then(|| Refusal {
            message: format!("builder image {name} is not built"),
            help: Some(format!("run `driverkit-matrix images build {name}`")),
            is_unbuilt: true,
        })
    }

    /// The image that the command line or the matrix names for a build.
    pub(super) fn named<'a>(&'a self, build: &'a Build) -> Option<&'a str> {
        let name = self.named.as_ref().or(build.settings.image.as_ref());
        name.map(String::as_str)
    }

    /// What is offered of an image by its name, where no compiler of it is asked for.
    pub(super) fn offer_of(&self, name: &str, host: Architecture) -> Offer {
        let own = self.catalogue.get(name).map(Offer::of_description);
        own.and_then(|mut offers| offers.next())
            .unwrap_or_else(|| Offer {
                image: name.to_owned(),
                target: None,
                host,
                architecture: host,
                gcc: GccVersion::default(),
                maker: Maker::Driverkit,
            })
    }

    /// The offer for a build: of the image that the command line or the matrix names, else of all images.
    pub(super) fn choose(
        &self,
        build: &Build,
        wanted: &Wanted<'_>,
    ) -> Result<(Offer, String), String> {
        let Some(name) = self.named(build) else {
            let (offer, reason) =
                image::choose(&self.offers, wanted).map_err(|error| error.to_string())?;
            return Ok((offer.clone(), reason.to_string()));
        };
        if let Some(own) = self.catalogue.get(name) {
            let offers: Vec<Offer> = Offer::of_description(own).collect();
            let (offer, reason) =
                image::choose(&offers, wanted).map_err(|error| format!("{name}: {error}"))?;
            return Ok((offer.clone(), reason.to_string()));
        }
        // As driverkit does: the wanted compiler must be in it.
        let foreign = Offer {
            image: name.to_owned(),
            target: None,
            host: wanted.host,
            architecture: wanted.host,
            gcc: wanted.gcc.with_three_numbers(),
            maker: Maker::Driverkit,
        };
        let (offer, _) = image::choose([&foreign], wanted).map_err(|error| {
            format!("image {name} is not described in images/, and other images compile for their own architecture only: {error}")
        })?;
        Ok((offer.clone(), "in the image that is named".to_owned()))
    }
}
