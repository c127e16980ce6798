//! The stages of a build.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The stage of a build in which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Downloading header packages.
    Fetch,
    /// Unpacking header packages into trees.
    Unpack,
    /// Choosing the builder image and compiler.
    Toolchain,
    /// Preparing a header tree from a kernel source or from another header tree.
    Prepare,
    /// Configuring the driver.
    Configure,
    /// The toolchain check and the driver's configure checks for a kernel.
    Check,
    /// Compiling the module.
    Module,
    /// Compiling the probe.
    Probe,
    /// Checking the artifact.
    Verify,
    /// Signing the module.
    Sign,
    /// Loading the module into its kernel.
    Prove,
    /// Placing the artifact in `out/`.
    Store,
}

/// The part of a failed download's message that says that the server is down and receives no more requests. The last
/// error and a closing parenthesis follow.
pub const SERVER_IS_DOWN: &str = "was not requested: the server is down (last error: it ";

impl Phase {
    /// Every phase, in their order.
    pub const ALL: [Self; 12] = [
        Self::Fetch,
        Self::Unpack,
        Self::Toolchain,
        Self::Prepare,
        Self::Configure,
        Self::Check,
        Self::Module,
        Self::Probe,
        Self::Verify,
        Self::Sign,
        Self::Prove,
        Self::Store,
    ];

    /// The text form: `fetch`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Toolchain => "toolchain",
            Self::Prepare => "prepare",
            Self::Configure => "configure",
            Self::Check => "check",
            Self::Module => "module",
            Self::Probe => "probe",
            Self::Verify => "verify",
            Self::Sign => "sign",
            Self::Prove => "prove",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
