//! The rules of each distribution: one file per family, one trait.
//!
//! In: a kernel from a list. Out: the format of its release, which packages contain its tree and their URLs, where they
//! install, which compiler it was built with, and the name that the loader uses. Nothing here opens a connection or a
//! file.
//!
//! To add a target, add one file here: see `docs/adding-a-target.md`. The facts about releases, URLs and loader names
//! were checked against kernel lists of 2022 (`tests/it/header_urls.rs`).

mod alinux;
mod almalinux;
mod amazonlinux;
mod arch;
mod asked;
mod bottlerocket;
mod centos;
mod debian;
mod error;
mod fedora;
mod flatcar;
mod gcc;
mod generic;
mod kernel_image;
mod loader;
mod minikube;
mod oracle;
mod package;
mod photon;
mod redhat;
mod registry;
mod repository;
mod rocky;
mod rpm;
mod series;
mod suse;
mod talos;
#[cfg(test)]
mod testing;
mod tree;
mod ubuntu;
mod upstream;
mod vanilla;

use std::borrow::Cow;

use crate::kernel::{Architecture, Kernel, KernelRelease};

pub use asked::AskedNames;
pub use debian::Debian;
pub(crate) use debian::split_abi as split_debian_abi;
pub use error::TargetError;
pub use gcc::default_gcc;
pub use kernel_image::{is_kernel_image, kernel_image_addresses, kernel_package_names};
pub use loader::LoaderName;
pub use package::{PackageFormat, WantedPackage, architecture_of_file};
pub use registry::{
    ALL, Rules, check_release, doubt_of_release, find, hint_for, is_header_package, is_known,
    known_ids, no_kernel_package, rules_of, series_of, subscription, unknown_target,
};
pub use repository::{RpmIndex, RpmName};
pub use series::Series;
pub use tree::{
    BuildFolder, PackageManager, SourceTree, SubscribedPackage, Subscription, TreeKind,
};

/// A distribution, or a family of ids of a distribution.
pub trait Target: Send + Sync {
    /// Returns the ids of the target, as driverkit spells them.
    fn ids(&self) -> &'static [&'static str];

    /// Returns true if the target is responsible for `id`.
    fn answers_for(&self, id: &str) -> bool {
        self.ids().contains(&id)
    }

    /// Returns the architectures that the distribution builds kernels for.
    fn architectures(&self) -> &'static [Architecture] {
        &Architecture::ALL
    }

    /// Fails if `release` cannot belong to this distribution. The error tells the user what was expected.
    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), TargetError>;

    /// Returns every package that the kernel's tree needs on a build host of architecture `host`, in a stable order;
    /// for [`TreeKind::Source`], the one archive. Packages named by the kernel take precedence over computed ones;
    /// mirrors of one file are one package, and other flavours are left out. Empty for [`TreeKind::Subscription`]. The
    /// error tells the user what is missing or wrong.
    fn header_packages(
        &self,
        kernel: &Kernel,
        host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError>;

    /// Returns the error of [`Self::header_packages`]. Called for every kernel of a plan, most of which have the
    /// expected packages: targets with many kernels detect that without computing URLs.
    fn check_packages(&self, kernel: &Kernel, host: Architecture) -> Result<(), TargetError> {
        self.header_packages(kernel, host).map(drop)
    }

    /// Returns the series of a kernel: the distribution's release and upstream line. By default the whole target is one
    /// series, as for a rolling distribution.
    fn series(&self, _kernel: &Kernel) -> Series {
        Series::default()
    }

    /// Returns how the tree is created.
    fn tree_kind(&self, _kernel: &Kernel) -> Result<TreeKind, TargetError> {
        Ok(TreeKind::Headers)
    }

    /// Returns true if builds need a configuration from the user. False if [`Target::published_config`] provides it.
    fn needs_config(&self) -> bool {
        false
    }

    /// Returns a file of the distribution with facts that the kernel's name does not contain, needed if
    /// [`Kernel::upstream`] does not have them either. [`Target::read_upstream`] parses it.
    fn upstream_list(&self, _kernel: &Kernel) -> Option<WantedPackage> {
        None
    }

    /// Parses the file of [`Target::upstream_list`].
    fn read_upstream(&self, _text: &str) -> Result<crate::kernel::Upstream, TargetError> {
        Err(TargetError::unknown("this target has no such list"))
    }

    /// Returns the file with the kernel's configuration, for distributions that publish one for each release.
    fn published_config(&self, _kernel: &Kernel) -> Option<WantedPackage> {
        None
    }

    /// Returns the possible values of `UTS_RELEASE` in the kernel's tree, most likely first, or why they are unknown.
    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError>;

    /// Returns how to find kernels in the distribution's repositories, if they are rpm repositories.
    fn rpm_index(&self) -> Option<RpmIndex> {
        None
    }

    /// Returns a remark for the user if not all packages named by a kernel are used.
    fn remark(&self, _kernel: &Kernel) -> Option<String> {
        None
    }

    /// Returns the name under which the loader requests an artifact, if it differs from the kernel's own.
    fn loader_name(&self, _kernel: &Kernel) -> Option<LoaderName> {
        None
    }

    /// Returns the name under which hosts request this kernel, if other kernels have it too: nothing is published under
    /// it.
    fn shared_loader_name(&self, _kernel: &Kernel) -> Option<LoaderName> {
        None
    }

    /// Returns true if hosts use the kernel's own name in addition to [`Target::loader_name`].
    fn is_asked_by_own_name(&self, _kernel: &Kernel) -> bool {
        false
    }

    /// Returns true if the name of [`Target::loader_name`] contains the kernel's unchanged version. Among kernels with
    /// the same name, such a kernel takes precedence.
    fn has_exact_loader_name(&self, _kernel: &Kernel) -> bool {
        true
    }

    /// Returns the directories of an unpacked package that are mounted at their own path in a build, as globs relative
    /// to the root of the file system: `usr/src/*`.
    fn mount_points(&self) -> &'static [&'static str];

    /// Returns the directory passed to `make -C` after the packages are unpacked. Not used for [`TreeKind::Source`].
    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError>;

    /// Returns the compiler that driverkit would use, for trees that do not name theirs.
    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        gcc::default_gcc(&kernel.release).into()
    }

    /// Returns additional make variables for compiling the module; the driver's configure checks do not get them.
    /// `host` is the architecture of the build host.
    fn make_variables(&self, _kernel: &Kernel, _host: Architecture) -> Vec<(String, String)> {
        Vec::new()
    }
}
