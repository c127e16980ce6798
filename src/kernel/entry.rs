//! A kernel of a list, with its header packages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Architecture, KernelRelease, KernelVersion, Package, PackageSet, ParseKernelError, TARGET,
    check_characters,
};
use crate::digest::Sha256;

/// A distribution id as driverkit spells it: `debian`, `ubuntu-generic`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(Arc<str>);

impl TargetId {
    /// The id as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetId {
    type Err = ParseKernelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_characters(TARGET, text)?;
        // Names such as `..` and `-rf` would be dangerous in paths and commands.
        if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(ParseKernelError::Start(text.to_owned()));
        }
        // Readers of an artifact's file name split it at underscores.
        match text.find('_') {
            Some(_) => Err(ParseKernelError::Character {
                what: TARGET,
                text: text.to_owned(),
                found: '_',
            }),
            None => Ok(Self(text.into())),
        }
    }
}

/// The upstream kernel of an operating system, for targets whose release is the version of the system (Flatcar).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The version of the kernel source: `5.15.70`.
    pub version: KernelRelease,
    /// The compiler that built the kernel, if the distribution publishes it: `11.3.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcc: Option<Arc<str>>,
}

/// A kernel to build for, identified by target, release, version and architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The distribution.
    pub target: TargetId,
    /// The release that lists and loaders use. For most targets this is `uname -r`; for Debian it is the package's
    /// version, flavour and architecture.
    pub release: KernelRelease,
    /// The version.
    pub version: KernelVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// The header packages.
    pub packages: PackageSet,
    /// The digest of the kernel's configuration, for targets whose tree is prepared from a kernel source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<Sha256>,
    /// The upstream kernel, if the release is the version of an operating system and the source names the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Box<Upstream>>,
    /// The package with the kernel itself, if the matrix or the index of its source names it. It is not an input of a
    /// build: proofs load the modules into this kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Box<Package>>,
    /// The source of the kernel: `mirror`, `kernel-crawler`, `inline`.
    pub source: Arc<str>,
}

/// The identity of a kernel, in sort order.
pub type Identity<'a> = (
    &'a TargetId,
    &'a KernelRelease,
    &'a KernelVersion,
    Architecture,
);

/// The owned identity of a kernel, for map keys and records. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct KernelId {
    /// The distribution.
    pub target: TargetId,
    /// The kernel's release.
    #[serde(rename = "kernel_release")]
    pub release: KernelRelease,
    /// The kernel's version.
    #[serde(rename = "kernel_version")]
    pub version: KernelVersion,
    /// The architecture.
    pub architecture: Architecture,
}

impl From<Identity<'_>> for KernelId {
    fn from((target, release, version, architecture): Identity<'_>) -> Self {
        Self {
            target: target.clone(),
            release: release.clone(),
            version: version.clone(),
            architecture,
        }
    }
}

/// Writes `debian_6.1.176-1-amd64_1_amd64`, for digests. This form is never parsed.
impl fmt::Display for KernelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            release,
            version,
            architecture,
        } = self;
        write!(formatter, "{target}_{release}_{version}_{architecture}")
    }
}

impl Kernel {
    /// The identity of the kernel, in sort order.
    pub fn identity(&self) -> Identity<'_> {
        (
            &self.target,
            &self.release,
            &self.version,
            self.architecture,
        )
    }

    /// The owned identity of the kernel.
    pub fn id(&self) -> KernelId {
        self.identity().into()
    }

    /// Returns true if both kernels have the same header packages, configuration and upstream kernel. The URLs of the
    /// packages may differ.
    pub fn has_same_inputs(&self, other: &Self) -> bool {
        self.config_sha256 == other.config_sha256
            && self.upstream == other.upstream
            && self.packages.is_same_content(&other.packages)
    }

    /// Adds the data of another entry for the same kernel. Returns false and changes nothing if the entries contradict
    /// each other. Missing packages, configuration or upstream version contradict nothing.
    pub fn absorb(&mut self, other: &Self) -> bool {
        fn agree<T: PartialEq>(left: Option<&T>, right: Option<&T>) -> bool {
            left.is_none() || right.is_none() || left == right
        }
        let has_same_packages = self.packages.is_empty()
            || other.packages.is_empty()
            || self.packages.is_same_content(&other.packages);
        let agrees = has_same_packages
            && agree(self.config_sha256.as_ref(), other.config_sha256.as_ref())
            && agree(self.upstream.as_ref(), other.upstream.as_ref());
        if agrees {
            self.packages.extend(other.packages.clone());
            self.config_sha256 = self.config_sha256.or(other.config_sha256);
            if self.upstream.is_none() {
                self.upstream.clone_from(&other.upstream);
            }
            if self.image.is_none() {
                self.image.clone_from(&other.image);
            }
        }
        agrees
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, release, version, architecture) = self.identity();
        write!(formatter, "{target} {release} #{version} {architecture}")
    }
}
