//! Chooses the builder image and compiler of a build, with the reason.

use std::sync::Arc;

use super::builder_images::BuilderImages;
use super::toolchains::{PROOF_IMAGE, Toolchains, of_host, wanted_gcc};
use crate::digest::Sha256;
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::Memo;
use crate::event::{Common, ToolchainReport};
use crate::executor::Toolchain;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::SingleFlight;
use crate::image::{GccVersion, Maker, Offer, Wanted, docker_name_of};
use crate::kernel::{Architecture, TargetId};
use crate::plan::Build;
use crate::script::Compilers;

/// A toolchain for a build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChosenToolchain {
    pub(crate) toolchain: Toolchain,
    pub(crate) compilers: Compilers,
    pub(crate) report: Common<ToolchainReport>,
}

/// The inputs of a choice.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Choice {
    gcc_wanted: String,
    why: &'static str,
    target: TargetId,
    architecture: Architecture,
    image: Option<String>,
}

/// Chooses toolchains for builds.
pub(crate) struct ToolchainChooser {
    engine: Arc<Engine>,
    toolchains: Toolchains,
    /// Choices made so far.
    chosen: Memo<Choice, Arc<ChosenToolchain>>,
    /// The foreign images that are being pulled, by name.
    pulls: SingleFlight<String, Sha256, Halt>,
}

impl ToolchainChooser {
    /// Chooses among `toolchains`.
    pub(crate) fn new(engine: Arc<Engine>, toolchains: Toolchains) -> Self {
        Self {
            engine,
            toolchains,
            chosen: Memo::default(),
            pulls: SingleFlight::default(),
        }
    }

    /// Returns the toolchains to choose from.
    pub(crate) fn toolchains(&self) -> &Toolchains {
        &self.toolchains
    }

    /// Returns the image that the command line or the matrix names for a build.
    pub(crate) fn image_of<'a>(&'a self, build: &'a Build) -> Option<&'a str> {
        match &self.toolchains {
            Toolchains::Images(images) => images.named(build),
            Toolchains::Host { .. } => None,
        }
    }

    /// Chooses the toolchain of a build. The wanted compiler is the one that the matrix demands, else the kernel's own
    /// (`own_gcc`, if its tree or configuration names it), else that of driverkit's table. From the images' compilers,
    /// takes that version or, unless it is demanded, the nearest lower one. A foreign image without a known identity is
    /// pulled.
    pub(crate) async fn choose(
        &self,
        build: &Build,
        own_gcc: Option<&str>,
        mode: Mode,
    ) -> Result<Arc<ChosenToolchain>, Halt> {
        let (gcc_wanted, why) = wanted_gcc(build, own_gcc);
        let choice = Choice {
            gcc_wanted,
            why,
            target: build.kernel.target.clone(),
            architecture: build.kernel.architecture,
            image: self.image_of(build).map(str::to_owned),
        };
        if let Some(chosen) = self.chosen.get(&choice) {
            return Ok(chosen);
        }
        let chosen = Arc::new(self.choose_now(build, &choice, mode).await?);
        self.chosen.put(choice, Arc::clone(&chosen));
        Ok(chosen)
    }

    async fn choose_now(
        &self,
        build: &Build,
        choice: &Choice,
        mode: Mode,
    ) -> Result<ChosenToolchain, Halt> {
        let (gcc_wanted, why) = (choice.gcc_wanted.clone(), choice.why);
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
            report: Common::from(ToolchainReport {
                image: offer.image,
                image_sha256: toolchain.identity(),
                gcc_wanted,
                gcc_used,
                reason: format!("{why}, {reason}"),
            }),
            toolchain,
        })
    }

    /// Returns the toolchain of an offer, with its identity.
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

    /// Returns an image by name, for a job that needs no compiler.
    pub(crate) async fn named_image(&self, name: &str, mode: Mode) -> Result<Toolchain, Halt> {
        let Toolchains::Images(images) = &self.toolchains else {
            return Err(failed(format!("executor `local` has no image {name}")));
        };
        self.of_offer(&images.offer_of(name, self.engine.host), mode)
            .await
    }

    /// Returns the toolchain that boots kernels: the builder image `proof`, or this machine.
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

    /// Returns the toolchain that configures drivers. No compiler is involved, so it is the same for all kernels: the
    /// first own image that is built, or the first foreign image if no own image is built.
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

fn failed(message: String) -> Halt {
    Failure::new(FailureClass::Image, Phase::Toolchain, message).into()
}
