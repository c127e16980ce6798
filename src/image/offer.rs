//! The compilers of all images that may be used, and the choice of one for a kernel.

use std::fmt;

use super::GccVersion;
use super::description::{Compiler, ImageDescription};
use super::index::IndexEntry;
use crate::kernel::{Architecture, TargetId};

/// A compiler that an image offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The name of the image in a container daemon.
    pub image: String,
    /// The target that the image is for; `None` for all targets.
    pub target: Option<TargetId>,
    /// The architecture that the image's programs run on.
    pub host: Architecture,
    /// The architecture that the compiler compiles for.
    pub architecture: Architecture,
    /// The compiler's version.
    pub gcc: GccVersion,
    /// The origin of the image, which determines how its compilers are called.
    pub maker: Maker,
}

/// The origin of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// An image described in `images/`.
    Own {
        /// The name of the image in `images/`.
        name: String,
        /// The compiler as described there.
        compiler: Compiler,
    },
    /// An image in driverkit's format, with compilers in `/usr/bin/gcc-<version>`.
    Driverkit,
}

impl Offer {
    /// Returns the offers of an image described here, in the order of the description.
    pub fn of_description(image: &ImageDescription) -> impl Iterator<Item = Self> {
        image.compilers.iter().map(|compiler| Self {
            image: image.docker_name(),
            target: None,
            host: image.host_architecture,
            architecture: compiler.architecture,
            gcc: compiler.gcc.clone(),
            maker: Maker::Own {
                name: image.name.clone(),
                compiler: compiler.clone(),
            },
        })
    }

    /// Returns the offers of an image from an index.
    pub fn of_entry(entry: &IndexEntry) -> impl Iterator<Item = Self> {
        entry.gcc_versions.iter().map(|gcc| Self {
            image: entry.name.clone(),
            target: entry.target.clone(),
            host: entry.architecture,
            architecture: entry.architecture,
            gcc: gcc.clone(),
            maker: Maker::Driverkit,
        })
    }
}

/// The compiler that a build requests.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The version.
    pub gcc: &'a GccVersion,
    /// Whether no other version is acceptable.
    pub is_demanded: bool,
    /// The kernel's target.
    pub target: &'a TargetId,
    /// The kernel's architecture.
    pub architecture: Architecture,
    /// The architecture of the building machine.
    pub host: Architecture,
}

/// Why a compiler was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceReason {
    /// The wanted version is available.
    Exact,
    /// No image has the wanted version; this is the highest version below it.
    NearestLower,
    /// All available versions are higher than the wanted one; this is the lowest.
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

/// The error if no compiler is suitable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCompiler {
    /// No image has a compiler.
    #[error("no builder image for {} hosts has a compiler for {}", host.as_str(), architecture.as_str())]
    None {
        /// The architecture of the kernel.
        architecture: Architecture,
        /// The architecture of the building machine.
        host: Architecture,
    },
    /// No image has the demanded version.
    #[error("no builder image has gcc {demanded} for {}, which is required; available are {available}", architecture.as_str())]
    Demanded {
        /// The demanded version.
        demanded: GccVersion,
        /// The architecture of the kernel.
        architecture: Architecture,
        /// The available versions.
        available: String,
    },
}

/// Chooses from `offers`, which are ordered by priority: the wanted version in an image for the kernel's target, or
/// else in one for all targets. If no image has it and it is not demanded: the highest version below it, or else the
/// lowest available version.
pub fn choose<'a>(
    offers: impl IntoIterator<Item = &'a Offer>,
    wanted: &Wanted<'_>,
) -> Result<(&'a Offer, ChoiceReason), NoCompiler> {
    let fits = |offer: &&Offer| {
        offer.host == wanted.host
            && offer.architecture == wanted.architecture
            && offer
                .target
                .as_ref()
                .is_none_or(|target| target == wanted.target)
    };
    let mut candidates: Vec<&Offer> = offers.into_iter().filter(fits).collect();
    // The sort is stable: offers for the target come first, and the order of priority is preserved within both groups.
    candidates.sort_by_key(|offer| offer.target.is_none());
    let exact = candidates
        .iter()
        .find(|offer| offer.gcc.agrees_with(wanted.gcc));
    if let Some(offer) = exact {
        return Ok((offer, ChoiceReason::Exact));
    }
    let mut versions: Vec<&GccVersion> = candidates.iter().map(|offer| &offer.gcc).collect();
    versions.sort();
    versions.dedup();
    let Some(lowest) = versions.first() else {
        return Err(NoCompiler::None {
            architecture: wanted.architecture,
            host: wanted.host,
        });
    };
    if wanted.is_demanded {
        let names: Vec<String> = versions.iter().map(ToString::to_string).collect();
        return Err(NoCompiler::Demanded {
            demanded: wanted.gcc.clone(),
            architecture: wanted.architecture,
            available: names.join(", "),
        });
    }
    let below = versions.iter().rev().find(|version| **version < wanted.gcc);
    let (version, reason) = match below {
        Some(version) => (version, ChoiceReason::NearestLower),
        None => (lowest, ChoiceReason::Lowest),
    };
    let offer = candidates.iter().find(|offer| offer.gcc == **version);
    // The version was taken from a candidate, so an offer is found.
    offer.map(|offer| (*offer, reason)).ok_or(NoCompiler::None {
        architecture: wanted.architecture,
        host: wanted.host,
    })
}

#[cfg(test)]
mod tests;
