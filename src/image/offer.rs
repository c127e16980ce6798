//! What compilers there are in all images that may be used, and the choice of one for a kernel.

use std::fmt;

use super::GccVersion;
use super::description::{Compiler, ImageDescription};
use super::index::IndexEntry;
use crate::kernel::{Architecture, TargetId};

/// A compiler that an image offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The image's name for a daemon.
    pub image: String,
    /// The target that it is for; `None` for all.
    pub target: Option<TargetId>,
    /// What its programs run on.
    pub host: Architecture,
    /// What the compiler compiles for.
    pub architecture: Architecture,
    /// The compiler's version.
    pub gcc: GccVersion,
    /// Whose image it is, and so how its compilers are called.
    pub maker: Maker,
}

/// Whose image it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// It is described in `images/`.
    Own {
        /// Its name there.
        name: String,
        /// The compiler as it is described.
        compiler: Compiler,
    },
    /// It is one in driverkit's form, where the compiler is `/usr/bin/gcc-<version>`.
    Driverkit,
}

impl Offer {
    /// The offers of an image that is described here, in the order of the description.
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

    /// The offers of an image of an index.
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

/// What a build wants of a compiler.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The version.
    pub gcc: &'a GccVersion,
    /// Whether nothing but this version will do.
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

/// There is no compiler that would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCompiler {
    /// No image has a compiler.
    #[error("no builder image for {} hosts has a compiler for {}", host.as_str(), architecture.as_str())]
    None {
        /// The architecture of the kernel.
        architecture: Architecture,
        /// The architecture that builds.
        host: Architecture,
    },
    /// Not the one that is demanded.
    #[error("no builder image has gcc {demanded} for {}, which is demanded; there are {available}", architecture.as_str())]
    Demanded {
        /// The demanded version.
        demanded: GccVersion,
        /// The architecture of the kernel.
        architecture: Architecture,
        /// The versions that there are.
        available: String,
    },
}

/// Chooses among `offers`, which are in the order of priority: the wanted version in an image of the kernel's target,
/// else in one for all targets; else, unless it is demanded, the highest version below it, else the lowest there is.
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
    // Stable: what is for the target comes first, and the order of priority holds within both.
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
    // The version is that of a candidate.
    offer.map(|offer| (*offer, reason)).ok_or(NoCompiler::None {
        architecture: wanted.architecture,
        host: wanted.host,
    })
}

#[cfg(test)]
mod tests;
