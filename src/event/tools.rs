//! Reports of the compiler and the kernel tree of a build.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::driver::Artifact;

/// Compiler and image of a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ToolchainReport {
    /// The image's name, or `host`.
    pub image: String,
    /// The digest of the image.
    pub image_sha256: Sha256,
    /// The compiler version that the kernel needs: `12`.
    pub gcc_wanted: String,
    /// The compiler version that was used.
    pub gcc_used: String,
    /// Why this compiler was selected: `the kernel's own`, `nearest lower`.
    pub reason: String,
}

impl ToolchainReport {
    /// Returns the compiler of an artifact: `gcc 12.2.0`, or `clang`, which compiles all probes.
    pub fn compiler(&self, artifact: Artifact) -> String {
        match artifact {
            Artifact::Module => format!("gcc {}", self.gcc_used),
            Artifact::Probe => "clang".to_owned(),
        }
    }
}

/// The kernel tree of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReport {
    /// Where the tree comes from.
    pub origin: TreeOrigin,
    /// Whether a module's symbols could be compared with the kernel's: a tree that was prepared from a kernel source
    /// has no `Module.symvers`.
    pub symbols_checked: bool,
    /// The origin of the host programs in the tree.
    pub host_programs: HostPrograms,
}

/// The origin of a kernel tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeOrigin {
    /// Header packages, unpacked.
    Headers,
    /// A kernel source, prepared with a configuration.
    Source,
    /// Header packages that the distribution's package manager downloaded out of a subscription: in the build's own
    /// image, with this machine's network.
    Subscription,
}

/// The origin of a kernel tree's host programs: fixdep, modpost, objtool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPrograms {
    /// The programs of the packages.
    Packaged,
    /// Built from the tree's sources for the building machine.
    Rebuilt,
    /// The programs of the packages, run with the C library that they need instead of the image's older one.
    NewerLibc,
    /// The programs of the packages, for another architecture, run under qemu-user.
    Emulated,
}

impl HostPrograms {
    /// Returns the name as in the manifest: `packaged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packaged => "packaged",
            Self::Rebuilt => "rebuilt",
            Self::NewerLibc => "newer_libc",
            Self::Emulated => "emulated",
        }
    }
}
