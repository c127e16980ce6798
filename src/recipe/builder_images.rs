//! The builder images that builds choose from: our own, described in images/ and built here, and foreign ones.

use std::collections::BTreeMap;
use std::path::Path;

use crate::image::{self, BuiltImage, Catalogue, ForeignImages, GccVersion, Maker, Offer, Wanted};
use crate::kernel::Architecture;
use crate::plan::Build;

/// The reason why a requirement of a matrix cannot be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is required, and what is available.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// True if the image is described and only has to be built.
    pub is_unbuilt: bool,
}

/// The builder images that may be used.
#[derive(Debug)]
pub struct BuilderImages {
    /// The images described here.
    pub(super) catalogue: Catalogue,
    /// The built images by name, read once for the whole run. A record that cannot be read is stored as its error.
    pub(super) built: BTreeMap<String, Result<BuiltImage, String>>,
    /// The compilers offered by all images, in order of priority.
    pub(super) offers: Vec<Offer>,
    /// The image used for every build, if one is named on the command line.
    pub(super) named: Option<String>,
    /// The identities of foreign images.
    pub(super) foreign: ForeignImages,
}

impl BuilderImages {
    /// Creates the set from the images of `catalogue`, whose archives and records are in `folder`, and the foreign
    /// images.
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

    /// Also counts images as built if their archives are not on this machine: the executor has them.
    #[must_use]
    pub fn with_images_elsewhere(mut self, folder: &Path) -> Self {
        for image in self.catalogue.images() {
            if let Ok(Some(record)) = BuiltImage::load_record(folder, &image.name) {
                self.built.insert(image.name.clone(), Ok(record));
            }
        }
        self
    }

    /// Returns true if an own image is built, or foreign images may be used.
    pub fn is_usable(&self) -> bool {
        self.named.is_some()
            || !self.built.is_empty()
            || self
                .offers
                .iter()
                .any(|offer| matches!(offer.maker, Maker::Driverkit))
    }

    /// Returns the compilers of built images and of foreign images, with their architectures.
    pub(super) fn compilers(&self) -> impl Iterator<Item = (Architecture, GccVersion)> + '_ {
        let usable = self.offers.iter().filter(|offer| match &offer.maker {
            Maker::Own { name, .. } => matches!(self.built.get(name), Some(Ok(_))),
            Maker::Driverkit => true,
        });
        usable.map(|offer| (offer.architecture, offer.gcc.clone()))
    }

    /// Returns a refusal if the image is not built.
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

    /// Returns an offer for an image by name, for a job that needs no particular compiler.
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

    /// Chooses an offer for a build, with the reason: from the image named by the command line or the matrix, else from
    /// all images.
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
        // As in driverkit, the image must contain the wanted compiler.
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
