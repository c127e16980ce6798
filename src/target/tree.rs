//! The kinds of trees that packages contain, and the location of the build directory in them.

use std::path::PathBuf;

/// How a kernel's tree is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// Header packages, unpacked.
    Headers,
    /// A kernel source, prepared with a configuration.
    Source(SourceTree),
    /// Header packages that only the distribution's own package manager can download: in an image that the user
    /// provides, with network access.
    Subscription(Subscription),
}

/// Settings for preparing a kernel source; its archive is the only package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTree {
    /// The value of `CONFIG_LOCALVERSION`, which may be empty; `CONFIG_LOCALVERSION_AUTO` is off.
    pub local_version: String,
    /// The value of `EXTRAVERSION` in the top Makefile, if it differs from the source's own.
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
    /// Returns the packages as arguments of the package manager.
    pub fn names(&self) -> Vec<&str> {
        self.packages.iter().map(|package| &*package.name).collect()
    }
}

/// A package that a package manager downloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedPackage {
    /// The argument for the package manager: `kernel-devel-0:4.18.0-372.9.1.el8.x86_64`.
    pub name: String,
    /// The name of the downloaded file: `kernel-devel-4.18.0-372.9.1.el8.x86_64.rpm`.
    pub file: String,
}

/// A package manager with access to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Red Hat's: dnf, or yum if there is no dnf.
    Yum,
    /// SUSE's; the registration is reached through the host's network.
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

/// The location of the directory passed to `make -C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFolder {
    /// Absolute paths; the first one that exists in the trees is used.
    pub names: Vec<PathBuf>,
    /// If none exists: globs relative to the root. Of the matching directories, the one whose `UTS_RELEASE` is in
    /// [`Target::uts_releases`](super::Target::uts_releases) is used.
    ///
    /// If no directory matches either, every kernel tree in the packages is checked in the same way.
    pub search: &'static [&'static str],
}

impl BuildFolder {
    /// Any directory with the typical files of a kernel tree.
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
