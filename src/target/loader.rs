//! The names by which Falco's loader asks for artifacts.

use crate::kernel::Kernel;

/// The parts of an artifact's name that the loader reads on its host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoaderName {
    /// The target: mostly the `ID` of `os-release`.
    pub target: String,
    /// The release: mostly what `uname -r` prints.
    pub release: String,
    /// The version: what `uname -v` has after `#`.
    pub version: String,
}

impl LoaderName {
    /// The kernel's own name.
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            target: kernel.target.to_string(),
            release: kernel.release.to_string(),
            version: kernel.version.to_string(),
        }
    }

    /// The same with another release.
    pub(super) fn with_release(kernel: &Kernel, release: impl Into<String>) -> Self {
        Self {
            release: release.into(),
            ..Self::of(kernel)
        }
    }
}
