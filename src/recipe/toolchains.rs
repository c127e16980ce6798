//! Where toolchains come from: builder images, or the compilers of this machine.

use super::builder_images::{BuilderImages, Refusal};
use crate::digest::Sha256;
use crate::image::{self, BuiltImage, GccVersion, Maker, Offer, Wanted};
use crate::kernel::Architecture;
use crate::plan::Build;

/// The builder image in which kernels boot.
pub(super) const PROOF_IMAGE: &str = "proof";

/// Where toolchains come from.
#[derive(Debug)]
pub enum Toolchains {
    /// Builder images.
    Images(BuilderImages),
    /// The compilers of this machine, found once.
    Host {
        /// The digest over the compilers' versions.
        identity: Sha256,
        /// The installed gcc versions, for each kernel architecture.
        compilers: Vec<(Architecture, GccVersion)>,
    },
}

impl Toolchains {
    /// Returns the usable compilers with the architectures that they compile for; may contain duplicates.
    pub fn compilers(&self) -> Box<dyn Iterator<Item = (Architecture, GccVersion)> + '_> {
        match self {
            Self::Host { compilers, .. } => Box::new(compilers.iter().cloned()),
            Self::Images(images) => Box::new(images.compilers()),
        }
    }

    /// Returns why no kernel can be booted to prove modules, if so.
    pub fn refuses_proofs(&self) -> Option<Refusal> {
        match self {
            Self::Images(images) => images.not_built(PROOF_IMAGE),
            Self::Host { .. } => None,
        }
    }

    /// Returns why no toolchain will be found for a build whose matrix or command line demands a compiler or an image,
    /// as far as that is known before any download.
    pub fn refuses(&self, build: &Build) -> Option<Refusal> {
        let settings = &build.settings;
        let host = Architecture::of_host();
        let is_demanded = settings.gcc.is_some();
        let images = match self {
            Self::Images(images) => Some(images),
            Self::Host { .. } => None,
        };
        let named = images.and_then(|images| images.named(build));
        if !is_demanded && named.is_none() {
            return None;
        }
        let refusal = |message: String| Refusal {
            message,
            help: None,
            is_unbuilt: false,
        };
        if is_demanded {
            let (gcc_wanted, _) = wanted_gcc(build, None);
            let version: GccVersion = gcc_wanted.parse().ok()?;
            let wanted = Wanted {
                gcc: &version,
                is_demanded,
                target: &build.kernel.target,
                architecture: build.kernel.architecture,
                host,
            };
            let chosen = match self {
                Self::Images(images) => images.choose(build, &wanted).map(|(offer, _)| offer),
                Self::Host { compilers, .. } => of_host(compilers, &wanted).map(|(offer, _)| offer),
            };
            match chosen {
                Err(message) => return Some(refusal(message)),
                Ok(offer) => {
                    if let (Some(images), Maker::Own { name, .. }) = (images, &offer.maker) {
                        return images.not_built(name);
                    }
                }
            }
        }
        let images = images?;
        let own = images.catalogue.get(named?)?;
        images.not_built(&own.name)
    }

    fn built(&self) -> impl Iterator<Item = &BuiltImage> {
        let images = match self {
            Self::Images(images) => Some(images),
            Self::Host { .. } => None,
        };
        let built = images.into_iter().flat_map(|images| images.built.values());
        built.filter_map(|image| image.as_ref().ok())
    }

    /// Returns the version of a toolchain's C library, if known: for images that were built here.
    pub(crate) fn libc(&self, toolchain: Sha256) -> Option<(u32, u32)> {
        let mut built = self.built();
        built.find(|image| image.identity() == toolchain)?.libc()
    }

    /// Returns the image whose loader, libraries or emulator can run programs of `machine` on `host`: the one with the
    /// newest C library.
    pub(crate) fn runtime(&self, machine: Architecture, host: Architecture) -> Option<BuiltImage> {
        let is_able = |image: &&BuiltImage| {
            (machine == host || image.has_emulator()) && image.archive.is_file()
        };
        let able = self.built().filter(is_able);
        able.max_by_key(|image| image.libc()).cloned()
    }

    /// Returns the names and identities of all available images.
    pub fn reports(&self) -> Vec<(String, Sha256)> {
        match self {
            Self::Images(images) => {
                let own = images.catalogue.images().iter().filter_map(|image| {
                    let built = images.built.get(&image.name)?.as_ref().ok()?;
                    Some((image.docker_name(), built.identity()))
                });
                let is_offered = |name: &str| {
                    images.named.as_deref() == Some(name)
                        || images.offers.iter().any(|offer| offer.image == name)
                };
                let foreign = images.foreign.identities().into_iter();
                own.chain(foreign.filter(|(name, _)| is_offered(name)))
                    .collect()
            }
            Self::Host { identity, .. } => vec![("host".to_owned(), *identity)],
        }
    }
}

/// Chooses among the compilers of this machine, which have Debian's names.
pub(super) fn of_host(
    compilers: &[(Architecture, GccVersion)],
    wanted: &Wanted<'_>,
) -> Result<(Offer, String), String> {
    let offer = |(architecture, gcc): &(Architecture, GccVersion)| {
        let prefix = if *architecture == wanted.host {
            String::new()
        } else {
            format!("{}-linux-gnu-", architecture.machine())
        };
        Offer {
            image: "host".to_owned(),
            target: None,
            host: wanted.host,
            architecture: *architecture,
            gcc: gcc.clone(),
            maker: Maker::Own {
                name: "host".to_owned(),
                compiler: image::Compiler {
                    gcc: gcc.clone(),
                    architecture: *architecture,
                    command: format!("{prefix}gcc-{gcc}"),
                    cross_prefix: prefix,
                },
            },
        }
    };
    let offers: Vec<Offer> = compilers.iter().map(offer).collect();
    match image::choose(&offers, wanted) {
        Ok((offer, reason)) => Ok((offer.clone(), reason.to_string())),
        Err(image::NoCompiler::None { architecture, .. }) => Err(format!(
            "this machine has no gcc for {architecture}; install one, or build the images with `driverkit-matrix images build`"
        )),
        Err(error) => Err(error
            .to_string()
            .replace("builder image", "compiler of this machine")),
    }
}

/// Returns the compiler version that a build wants, and why; `own` is the version named by its tree.
pub(super) fn wanted_gcc(build: &Build, own: Option<&str>) -> (String, &'static str) {
    if let Some(gcc) = &build.settings.gcc {
        return (gcc.clone(), "the matrix demands it");
    }
    if let Some(gcc) = own {
        return (gcc.to_owned(), "the kernel's own");
    }
    let of_table = crate::target::find(&build.kernel.target).map_or_else(
        || crate::target::default_gcc(&build.kernel.release).into(),
        |target| target.default_gcc(&build.kernel),
    );
    (of_table.into_owned(), "driverkit's table")
}
