//! Which builder image and compiler a build gets, and why.

use std::sync::Arc;

use super::builder_images::{BuilderImages, Refusal};
use crate::digest::Sha256;
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::event::ToolchainReport;
use crate::executor::Toolchain;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::SingleFlight;
use crate::image::{self, BuiltImage, GccVersion, Maker, Offer, Wanted, docker_name_of};
use crate::kernel::Architecture;
use crate::plan::Build;
use crate::script::Compilers;

/// The builder image that has qemu.
const PROOF_IMAGE: &str = "proof";

/// A toolchain for a build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChosenToolchain {
    pub(crate) toolchain: Toolchain,
    pub(crate) compilers: Compilers,
    pub(crate) report: ToolchainReport,
}

/// Where toolchains come from.
#[derive(Debug)]
pub enum Toolchains {
    /// Builder images.
    Images(BuilderImages),
    /// The compilers of this machine, found once.
    Host {
        /// The digest over their versions.
        identity: Sha256,
        /// The gcc versions that are there, for each kernel architecture.
        compilers: Vec<(Architecture, GccVersion)>,
    },
}

/// Chooses toolchains for builds.
pub(crate) struct ToolchainChooser {
    engine: Arc<Engine>,
    toolchains: Toolchains,
    /// The foreign images that are being pulled, by name.
    pulls: SingleFlight<String, Sha256, Halt>,
}

impl Toolchains {
    /// The compilers that can be used now, with the architectures that they compile for; some more than once.
    pub fn compilers(&self) -> Box<dyn Iterator<Item = (Architecture, GccVersion)> + '_> {
        match self {
            Self::Host { compilers, .. } => Box::new(compilers.iter().cloned()),
            Self::Images(images) => Box::new(images.compilers()),
        }
    }
}

impl ToolchainChooser {
    /// Chooses among `toolchains`.
    pub(crate) fn new(engine: Arc<Engine>, toolchains: Toolchains) -> Self {
        Self {
            engine,
            toolchains,
            pulls: SingleFlight::default(),
        }
    }

    /// What there is to choose from.
    pub(crate) fn toolchains(&self) -> &Toolchains {
        &self.toolchains
    }

    /// The image that the command line or the matrix names for a build.
    pub(crate) fn image_of<'a>(&'a self, build: &'a Build) -> Option<&'a str> {
        match &self.toolchains {
            Toolchains::Images(images) => images.named(build),
            Toolchains::Host { .. } => None,
        }
    }

    /// Chooses for one build: the compiler that the matrix demands, else the kernel's own (`own_gcc`, where its tree
    /// or configuration names it), else driverkit's table; of what the images have, that version or, unless it is
    /// demanded, the nearest lower one. An image of others that was never used is pulled, to know what it is.
    pub(crate) async fn choose(
        &self,
        build: &Build,
        own_gcc: Option<&str>,
        mode: Mode,
    ) -> Result<ChosenToolchain, Halt> {
        let (gcc_wanted, why) = wanted_gcc(build, own_gcc);
        let version: GccVersion = gcc_wanted
            .parse()
            .map_err(|error| failed(format!("{error}")))?;
        let wanted = Wanted {
            gcc: &version,
            is_demanded: build.settings.gcc.is_some(),
            target: &build.kernel.target,
            architecture: build.kernel.architecture,
            host: self.engine.host,
        };
        let (offer, reason) = match &self.toolchains {
            Toolchains::Images(images) => images.choose(build, &wanted).map_err(failed)?,
            Toolchains::Host { compilers, .. } => of_host(compilers, &wanted).map_err(failed)?,
        };
        let toolchain = self.of_offer(&offer, mode).await?;
        let gcc_used = offer.gcc.to_string();
        Ok(ChosenToolchain {
            compilers: match &offer.maker {
                Maker::Own { compiler, .. } => Compilers::new(
                    &compiler.command,
                    &compiler.cross_prefix,
                    build.kernel.architecture,
                    self.engine.host,
                ),
                Maker::Driverkit => Compilers::new(
                    &format!("/usr/bin/gcc-{gcc_used}"),
                    "",
                    build.kernel.architecture,
                    self.engine.host,
                ),
            },
            report: ToolchainReport {
                image: offer.image,
                image_sha256: toolchain.identity(),
                gcc_wanted,
                gcc_used,
                reason: format!("{why}, {reason}"),
            },
            toolchain,
        })
    }

    /// The toolchain of an offer, with its identity.
    async fn of_offer(&self, offer: &Offer, mode: Mode) -> Result<Toolchain, Halt> {
        let images = match &self.toolchains {
            Toolchains::Host { identity, .. } => {
                return Ok(Toolchain::Host {
                    identity: *identity,
                });
            }
            Toolchains::Images(images) => images,
        };
        if let Maker::Own { name, .. } = &offer.maker {
            return match images.built.get(name) {
                Some(Ok(built)) => Ok(Toolchain::Image {
                    name: offer.image.clone(),
                    identity: built.identity(),
                    archive: Some(built.archive.clone()),
                }),
                Some(Err(reason)) => Err(failed(reason.clone())),
                None => Err(failed(format!(
                    "builder image {name} is not built; run `driverkit-matrix images build {name}`"
                ))),
            };
        }
        let identity = if let Some(known) = images.foreign.identity(&offer.image) {
            known
        } else {
            self.engine.may_begin(mode)?;
            let pulled = || self.pull(images, &offer.image);
            self.pulls.run(offer.image.clone(), pulled).await?
        };
        Ok(Toolchain::Image {
            name: offer.image.clone(),
            identity,
            archive: None,
        })
    }

    /// An image by its name, for a job that no compiler has a part in.
    pub(crate) async fn named_image(&self, name: &str, mode: Mode) -> Result<Toolchain, Halt> {
        let Toolchains::Images(images) = &self.toolchains else {
            return Err(failed(format!("executor `local` has no image {name}")));
        };
        self.of_offer(&images.offer_of(name, self.engine.host), mode)
            .await
    }

    /// What boots kernels: the builder image made for it, or this machine.
    pub(crate) fn for_proofs(&self) -> Result<Toolchain, Halt> {
        match &self.toolchains {
            Toolchains::Host { identity, .. } => Ok(Toolchain::Host {
                identity: *identity,
            }),
            Toolchains::Images(images) => {
                let built = match images.built.get(PROOF_IMAGE) {
                    Some(Ok(built)) => built,
                    Some(Err(reason)) => return Err(failed(reason.clone())),
                    None => {
                        return Err(failed(format!(
                            "builder image {PROOF_IMAGE} is not built; run `driverkit-matrix images build {PROOF_IMAGE}`"
                        )));
                    }
                };
                Ok(Toolchain::Image {
                    name: docker_name_of(PROOF_IMAGE),
                    identity: built.identity(),
                    archive: Some(built.archive.clone()),
                })
            }
        }
    }

    async fn pull(&self, images: &BuilderImages, name: &str) -> Result<Sha256, Halt> {
        let executor = self.engine.jobs.executor()?;
        let pulled = executor.pull(name, false).await;
        let identity =
            pulled.map_err(|error| self.engine.jobs.executor_failure(&error, Phase::Toolchain))?;
        let kept = images.foreign.keep_identity(name, identity);
        kept.map_err(|error| {
            Failure::new(
                FailureClass::Infrastructure,
                Phase::Toolchain,
                error.to_string(),
            )
        })?;
        Ok(identity)
    }

    /// What drivers are configured with: no compiler has a part in it, so it is the same for all kernels, namely
    /// the first image that is built, or where none is, the first of others.
    pub(crate) async fn for_configuring(&self, mode: Mode) -> Result<Toolchain, Halt> {
        let images = match &self.toolchains {
            Toolchains::Images(images) => images,
            Toolchains::Host { identity, .. } => {
                return Ok(Toolchain::Host {
                    identity: *identity,
                });
            }
        };
        let is_usable = |offer: &&Offer| {
            offer.host == self.engine.host
                && match &offer.maker {
                    Maker::Own { name, .. } => matches!(images.built.get(name), Some(Ok(_))),
                    Maker::Driverkit => offer.target.is_none(),
                }
        };
        let own = images
            .catalogue
            .images()
            .iter()
            .flat_map(Offer::of_description);
        let own: Vec<Offer> = own.collect();
        let is_own = |offer: &Offer| matches!(offer.maker, Maker::Own { .. });
        let found = own.iter().find(is_usable).or_else(|| {
            images
                .offers
                .iter()
                .filter(|offer| !is_own(offer))
                .find(is_usable)
        });
        let offer = match (found, &images.named) {
            (Some(offer), _) => offer.clone(),
            (None, Some(name)) => images.offer_of(name, self.engine.host),
            (None, None) => {
                let message = "no builder image is built; run `driverkit-matrix images build`";
                return Err(Failure::new(FailureClass::Image, Phase::Configure, message).into());
            }
        };
        self.of_offer(&offer, mode).await
    }
}

impl Toolchains {
    /// Why no kernel can be booted to prove modules.
    pub fn refuses_proofs(&self) -> Option<Refusal> {
        match self {
            Self::Images(images) => images.not_built(PROOF_IMAGE),
            Self::Host { .. } => None,
        }
    }

    /// Why no toolchain will be found for a build whose matrix or command line demands a compiler or an image: what is
    /// known before anything is downloaded.
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

    /// The C library of a toolchain, where that is known: of an image that was built here.
    pub(crate) fn libc(&self, toolchain: Sha256) -> Option<(u32, u32)> {
        let mut built = self.built();
        built.find(|image| image.identity() == toolchain)?.libc()
    }

    /// The image whose parts can run programs of `machine` on `host`: that with the newest C library.
    pub(crate) fn runtime(&self, machine: Architecture, host: Architecture) -> Option<BuiltImage> {
        let is_able = |image: &&BuiltImage| {
            (machine == host || image.has_emulator()) && image.archive.is_file()
        };
        let able = self.built().filter(is_able);
        able.max_by_key(|image| image.libc()).cloned()
    }

    /// The names and identities of all images that are there.
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

fn failed(message: String) -> Halt {
    Failure::new(FailureClass::Image, Phase::Toolchain, message).into()
}

/// The choice among the compilers of this machine, named as Debian names them.
fn of_host(
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

fn wanted_gcc(build: &Build, own: Option<&str>) -> (String, &'static str) {
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
