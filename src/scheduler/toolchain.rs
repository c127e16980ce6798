//! Which builder image and compiler a build gets, and why.

use std::collections::BTreeMap;
use std::path::Path;

use super::kernel_inputs::KernelInputs;
use super::step::Halt;
use crate::digest::Sha256;
use crate::event::ToolchainReport;
use crate::executor::Toolchain;
use crate::failure::{Failure, FailureClass, Phase};
use crate::image::{BuiltImage, Catalogue, GccVersion};
use crate::kernel::Architecture;
use crate::plan::Build;
use crate::script::Compilers;

/// A toolchain for a build.
#[derive(Clone, Debug)]
pub(super) struct ChosenToolchain {
    pub(super) toolchain: Toolchain,
    pub(super) compilers: Compilers,
    pub(super) report: ToolchainReport,
}

/// Where toolchains come from.
#[derive(Clone, Debug)]
pub enum Toolchains {
    /// The described builder images, with what is known of each that is built: read once for the whole run.
    Images {
        /// The descriptions.
        catalogue: Catalogue,
        /// By name; a record that cannot be read stands with the reason.
        built: BTreeMap<String, Result<BuiltImage, String>>,
    },
    /// The compilers of this machine, found once.
    Host {
        /// The digest over their versions.
        identity: Sha256,
        /// The gcc versions that are there, for each kernel architecture.
        compilers: Vec<(Architecture, GccVersion)>,
    },
}

impl Toolchains {
    /// The images of `catalogue` whose archives and records are in `folder`.
    pub fn images(catalogue: Catalogue, folder: &Path) -> Self {
        let load = |name: &String| {
            let built = BuiltImage::load(folder, name).map_err(|error| error.to_string());
            Some((name.clone(), built.transpose()?))
        };
        let names = catalogue.images().iter().map(|image| &image.name);
        let built = names.filter_map(load).collect();
        Self::Images { catalogue, built }
    }

    /// Chooses for one build: the matrix's demand, else the kernel's own compiler, else driverkit's table; of what
    /// the images have, that version or the nearest lower one.
    pub(super) fn choose(
        &self,
        build: &Build,
        kernel: &KernelInputs,
        host: Architecture,
    ) -> Result<ChosenToolchain, Halt> {
        let failed = |message: String| {
            Halt::from(Failure::new(FailureClass::Image, Phase::Toolchain, message))
        };
        let (wanted, why) = wanted(build, kernel);
        let version: GccVersion = wanted.parse().map_err(|error| failed(format!("{error}")))?;
        let architecture = build.kernel.architecture;
        match self {
            Self::Images { catalogue, built } => {
                let choice = match &build.settings.image {
                    Some(name) => {
                        let image = catalogue.get(name).ok_or_else(|| {
                            let known: Vec<_> = catalogue
                                .images()
                                .iter()
                                .map(|image| image.name.as_str())
                                .collect();
                            failed(format!(
                                "builder image `{name}` is not described; there are {}",
                                known.join(", ")
                            ))
                        })?;
                        image.choose(&version, architecture, host)
                    }
                    None => catalogue.choose(&version, architecture, host),
                }
                .map_err(|error| failed(error.to_string()))?;
                let name = &choice.image.name;
                let built = match built.get(name) {
                    Some(Ok(built)) => built,
                    Some(Err(reason)) => return Err(failed(reason.clone())),
                    None => {
                        return Err(failed(format!(
                            "builder image {name} is not built; run `driverkit-matrix images build {name}`"
                        )));
                    }
                };
                let gcc_used = choice.compiler.gcc.to_string();
                Ok(ChosenToolchain {
                    compilers: Compilers::new(&gcc_used, architecture, host),
                    report: ToolchainReport {
                        image: choice.image.docker_name(),
                        image_sha256: built.identity(),
                        gcc_wanted: wanted,
                        gcc_used,
                        reason: format!("{why}, {}", choice.reason),
                    },
                    toolchain: Toolchain::Image {
                        name: choice.image.docker_name(),
                        identity: built.identity(),
                        archive: Some(built.archive.clone()),
                    },
                })
            }
            Self::Host {
                identity,
                compilers,
            } => {
                let fits = |(of, _): &&(Architecture, GccVersion)| *of == architecture;
                let mut versions: Vec<_> = compilers
                    .iter()
                    .filter(fits)
                    .map(|(_, version)| version.clone())
                    .collect();
                versions.sort();
                let exact = versions.iter().find(|found| found.agrees_with(&version));
                let lower = versions.iter().rev().find(|found| **found < version);
                let (used, reason) = match (exact, lower, versions.first()) {
                    (Some(found), ..) => (found, "exact version"),
                    (None, Some(found), _) => (found, "nearest lower version"),
                    (None, None, Some(found)) => (found, "lowest version, all are higher"),
                    (None, None, None) => {
                        return Err(failed(format!(
                            "this machine has no gcc for {architecture}; install one, or build the images with `driverkit-matrix images build`"
                        )));
                    }
                };
                Ok(ChosenToolchain {
                    compilers: Compilers::new(&used.to_string(), architecture, host),
                    report: ToolchainReport {
                        image: "host".to_owned(),
                        image_sha256: *identity,
                        gcc_wanted: wanted,
                        gcc_used: used.to_string(),
                        reason: format!("{why}, {reason}"),
                    },
                    toolchain: Toolchain::Host {
                        identity: *identity,
                    },
                })
            }
        }
    }

    /// What drivers are configured with: no compiler has a part in it, so it is the same for all kernels, namely
    /// the first image that is built.
    pub(super) fn for_configure(&self, host: Architecture) -> Result<Toolchain, Halt> {
        match self {
            Self::Images { catalogue, built } => {
                let built = catalogue
                    .images()
                    .iter()
                    .filter(|image| image.host_architecture == host)
                    .find_map(|image| Some((image, built.get(&image.name)?.as_ref().ok()?)));
                let (image, built) = built.ok_or_else(|| {
                    let message = "no builder image is built; run `driverkit-matrix images build`";
                    Halt::from(Failure::new(FailureClass::Image, Phase::Configure, message))
                })?;
                Ok(Toolchain::Image {
                    name: image.docker_name(),
                    identity: built.identity(),
                    archive: Some(built.archive.clone()),
                })
            }
            Self::Host { identity, .. } => Ok(Toolchain::Host {
                identity: *identity,
            }),
        }
    }

    /// The names and identities of all images that are built.
    pub fn reports(&self) -> Vec<(String, Sha256)> {
        match self {
            Self::Images { catalogue, built } => catalogue
                .images()
                .iter()
                .filter_map(|image| {
                    let built = built.get(&image.name)?.as_ref().ok()?;
                    Some((image.docker_name(), built.identity()))
                })
                .collect(),
            Self::Host { identity, .. } => vec![("host".to_owned(), *identity)],
        }
    }
}

fn wanted(build: &Build, kernel: &KernelInputs) -> (String, &'static str) {
    if let Some(gcc) = &build.settings.gcc {
        return (gcc.clone(), "the matrix demands it");
    }
    if let Some(gcc) = &kernel.inspection.facts.gcc_version {
        return (gcc.clone(), "the kernel's own");
    }
    let of_table = crate::target::find(&build.kernel.target).map_or_else(
        || crate::target::default_gcc(&build.kernel.release),
        |target| target.default_gcc(&build.kernel.release),
    );
    (of_table.to_owned(), "driverkit's table")
}
