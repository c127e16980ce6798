//! What a build was made with: its compiler and its tree.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

/// Compiler and image of a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ToolchainReport {
    /// The image's name, or `host`.
    pub image: String,
    /// Its identity.
    pub image_sha256: Sha256,
    /// The compiler that was wanted: `12`.
    pub gcc_wanted: String,
    /// The compiler that was used.
    pub gcc_used: String,
    /// Why: `the kernel's own`, `nearest lower`.
    pub reason: String,
}

/// The kernel tree of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReport {
    /// How it came about.
    pub origin: TreeOrigin,
    /// Whether a module's symbols could be compared with the kernel's: a tree that was prepared from a kernel source
    /// has no `Module.symvers`.
    pub symbols_checked: bool,
    /// Whose the programs are that the tree brings to a build.
    pub host_programs: HostPrograms,
}

/// How a kernel tree came about.
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

/// Whose the programs are that a kernel tree brings to a build: fixdep, modpost, objtool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPrograms {
    /// The packages' own.
    Packaged,
    /// Made from the tree's sources for the building machine.
    Rebuilt,
    /// The packages' own, with the C library that they need in the place of the image's older one.
    NewerLibc,
    /// The packages' own, of another machine, run under qemu-user.
    Emulated,
}

impl HostPrograms {
    /// The text form: `packaged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packaged => "packaged",
            Self::Rebuilt => "rebuilt",
            Self::NewerLibc => "newer_libc",
            Self::Emulated => "emulated",
        }
    }
}
