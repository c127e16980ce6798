//! What is particular to each distribution: one file a family, one trait.
//!
//! In: a kernel of a list. Out: how its release reads, which packages make its tree and where they are, where they
//! install, which compiler it was built with, and how the loader names it. Nothing here opens a connection or a file.
//!
//! Adding a target is adding one file here: see `docs/adding-a-target.md`. The facts about releases, addresses and
//! loader names were checked against kernel lists of 2022 (`tests/it/header_urls.rs`).

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
pub use kernel_image::{is_kernel_image, kernel_image_addresses};
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

/// A distribution, or a family of ids of one.
pub trait Target: Send + Sync {
    /// The ids that it answers for, as driverkit spells them.
    fn ids(&self) -> &'static [&'static str];

    /// Whether it answers for `id`.
    fn answers_for(&self, id: &str) -> bool {
        self.ids().contains(&id)
    }

    /// The architectures that the distribution builds kernels for.
    fn architectures(&self) -> &'static [Architecture] {
        &Architecture::ALL
    }

    /// Whether `release` can be one of this distribution's; otherwise what was expected, for a person.
    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), TargetError>;

    /// Every package that the kernel's tree needs on a building machine of architecture `host`, in stable order; for
    /// [`TreeKind::Source`] the one archive. What the kernel names wins over what can be computed, with mirrors of one
    /// file as one package and other flavours left out. Empty for [`TreeKind::Subscription`]. The error says what is
    /// missing or what does not belong there, for a person.
    fn header_packages(
        &self,
        kernel: &Kernel,
        host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError>;

    /// The error of [`Self::header_packages`]. Asked of every kernel of a plan, where most have the packages that are
    /// expected: targets with many kernels tell that without looking for their addresses.
    fn check_packages(&self, kernel: &Kernel, host: Architecture) -> Result<(), TargetError> {
        self.header_packages(kernel, host).map(drop)
    }

    /// Which kernels come and go with this one: the distribution's release and upstream line. By default the whole
    /// target is one series, as that of a distribution that moves on all the time.
    fn series(&self, _kernel: &Kernel) -> Series {
        Series::default()
    }

    /// How the tree comes about.
    fn tree_kind(&self, _kernel: &Kernel) -> Result<TreeKind, TargetError> {
        Ok(TreeKind::Headers)
    }

    /// Whether nothing can be built without a configuration from the user. Not so where
    /// [`Target::published_config`] says where it is.
    fn needs_config(&self) -> bool {
        false
    }

    /// A text of the distribution that says what the kernel's name does not, where [`Kernel::upstream`] does not say
    /// it either; [`Target::read_upstream`] reads it.
    fn upstream_list(&self, _kernel: &Kernel) -> Option<WantedPackage> {
        None
    }

    /// Reads the text of [`Target::upstream_list`].
    fn read_upstream(&self, _text: &str) -> Result<crate::kernel::Upstream, TargetError> {
        Err(TargetError::unknown("this target has no such list"))
    }

    /// The kernel's configuration at the distribution, for targets that publish one for each release.
    fn published_config(&self, _kernel: &Kernel) -> Option<WantedPackage> {
        None
    }

    /// What `UTS_RELEASE` of the kernel's tree can be, most probable first, or why that cannot be told.
    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError>;

    /// What its repositories hold of kernels, where they are repositories of rpms.
    fn rpm_index(&self) -> Option<RpmIndex> {
        None
    }

    /// What a person should know about the packages that a kernel names, where not all of them are used.
    fn remark(&self, _kernel: &Kernel) -> Option<String> {
        None
    }

    /// The name by which the loader asks for an artifact, where it differs from the kernel's own.
    fn loader_name(&self, _kernel: &Kernel) -> Option<LoaderName> {
        None
    }

    /// The name by which hosts ask for this kernel, where it is that of other kernels: nothing is published under it.
    fn shared_loader_name(&self, _kernel: &Kernel) -> Option<LoaderName> {
        None
    }

    /// True if hosts ask by the kernel's own name beside that of [`Target::loader_name`].
    fn is_asked_by_own_name(&self, _kernel: &Kernel) -> bool {
        false
    }

    /// True if the name of [`Target::loader_name`] holds the kernel's own version as it is. Of kernels with the same
    /// name, such a one has it.
    fn has_exact_loader_name(&self, _kernel: &Kernel) -> bool {
        true
    }

    /// The directories of an unpacked package that are shown to a build at their place, as globs relative to the root
    /// of the file system: `usr/src/*`.
    fn mount_points(&self) -> &'static [&'static str];

    /// The directory that `make -C` is given, once the packages are unpacked. Of no use for [`TreeKind::Source`].
    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError>;

    /// The compiler that driverkit would take, for trees that do not name theirs.
    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        gcc::default_gcc(&kernel.release).into()
    }

    /// Further variables on the command line of the make that compiles the module; the driver's configure checks do
    /// not get them. `host` is the architecture of the building machine.
    fn make_variables(&self, _kernel: &Kernel, _host: Architecture) -> Vec<(String, String)> {
        Vec::new()
    }
}
