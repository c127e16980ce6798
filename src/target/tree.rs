//! What a target's packages become, and where the tree is in them.

use std::path::PathBuf;

/// How a kernel's tree comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// Header packages, unpacked.
    Headers,
    /// A kernel source, prepared with a configuration.
    Source(SourceTree),
    /// Header packages that only the distribution's own package manager can download: in an image that the user
    /// brings, with the network.
    Subscription(Subscription),
}

/// What is particular to a kernel source that is prepared: its archive is the one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTree {
    /// What `CONFIG_LOCALVERSION` must be, also when it is empty; `CONFIG_LOCALVERSION_AUTO` is off.
    pub local_version: String,
    /// What `EXTRAVERSION` of the top Makefile must be, where it is not the source's own.
    pub extra_version: Option<String>,
}

/// How header packages are downloaded in the user's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The package manager.
    pub manager: PackageManager,
    /// The packages, as the manager takes them: `kernel-devel-3.10.0-1160.66.1.el7.x86_64`.
    pub packages: Vec<String>,
}

/// A package manager that reaches a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Red Hat's; any network will do.
    Yum,
    /// SUSE's; the registration passes through the host's network.
    Zypper,
}

/// Where the folder is that `make -C` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFolder {
    /// Absolute paths; the first that the trees hold is it.
    pub names: Vec<PathBuf>,
    /// Where none is there: globs relative to the root. Of the folders that match, the one whose `UTS_RELEASE` is
    /// one of [`Target::uts_releases`](super::Target::uts_releases) is it.
    pub search: &'static [&'static str],
}

impl BuildFolder {
    /// Exactly one folder.
    pub(super) fn exactly(path: impl Into<PathBuf>) -> Self {
        Self {
            names: vec![path.into()],
            search: &[],
        }
    }
}
