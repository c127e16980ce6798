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
    /// The packages.
    pub packages: Vec<SubscribedPackage>,
}

impl Subscription {
    /// The packages, as the manager takes them.
    pub fn names(&self) -> Vec<&str> {
        self.packages.iter().map(|package| &*package.name).collect()
    }
}

/// A package that a package manager downloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedPackage {
    /// The package, as the manager takes it: `kernel-devel-0:4.18.0-372.9.1.el8.x86_64`.
    pub name: String,
    /// The file that it leaves: `kernel-devel-4.18.0-372.9.1.el8.x86_64.rpm`.
    pub file: String,
}

/// A package manager that reaches a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Red Hat's: dnf, or yum where that is all there is.
    Yum,
    /// SUSE's; the registration passes through the host's network.
    Zypper,
}

impl PackageManager {
    /// Its name: `yum`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yum => "yum",
            Self::Zypper => "zypper",
        }
    }
}

/// Where the directory is that `make -C` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFolder {
    /// Absolute paths; the first that the trees hold is it.
    pub names: Vec<PathBuf>,
    /// Where none is there: globs relative to the root. Of the directories that match, the one whose `UTS_RELEASE` is
    /// one of [`Target::uts_releases`](super::Target::uts_releases) is it.
    ///
    /// Where no directory matches either, every kernel tree of the packages is looked at in the same way.
    pub search: &'static [&'static str],
}

impl BuildFolder {
    /// A directory of which nothing is known but what a kernel tree is.
    pub(super) const ANYWHERE: Self = Self {
        names: Vec::new(),
        search: &[],
    };

    /// Exactly one directory.
    pub(super) fn exactly(path: impl Into<PathBuf>) -> Self {
        Self {
            names: vec![path.into()],
            search: &[],
        }
    }
}
