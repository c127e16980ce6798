//! What is particular to each distribution: one file a family, one trait.
//!
//! In: a kernel of a list. Out: how its release reads, where its packages install, which compiler it was built
//! with, and how the loader names it. Nothing here opens a connection or a file.
//!
//! Adding a target is adding one file here (and one template if its build differs): see `docs/adding-a-target.md`.

mod debian;
mod gcc;

use std::path::PathBuf;

use crate::kernel::{Architecture, Kernel, KernelRelease, TargetId};

pub use debian::Debian;
pub(crate) use debian::split_abi as split_debian_abi;
pub use gcc::default_gcc;

/// A distribution, or a family of ids of one.
pub trait Target: Send + Sync {
    /// The ids that it answers for, as driverkit spells them.
    fn ids(&self) -> &'static [&'static str];

    /// The architectures that the distribution builds kernels for.
    fn architectures(&self) -> &'static [Architecture];

    /// Whether `release` can be one of this distribution's; otherwise what is wrong with it, for a person.
    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), String>;

    /// Whether the packages of `kernel` make a whole header tree on a building machine of architecture `host`;
    /// otherwise what is missing, for a person.
    fn check_packages(&self, _kernel: &Kernel, _host: Architecture) -> Result<(), String> {
        Ok(())
    }

    /// What `UTS_RELEASE` of the kernel's header tree must be, or why that cannot be told.
    fn uts_release(&self, kernel: &Kernel) -> Result<String, String>;

    /// The release by which the loader asks for an artifact, where it differs from the kernel's own.
    fn loader_release(&self, kernel: &Kernel) -> Option<String>;

    /// The folders of an unpacked package that are shown to a build at their place, as globs relative to the root
    /// of the file system: `usr/src/*`.
    fn mount_points(&self) -> &'static [&'static str];

    /// The folder that `make -C` is given.
    fn build_folder(&self, kernel: &Kernel) -> Result<PathBuf, String>;

    /// The compiler that driverkit would take, for trees that do not name theirs.
    fn default_gcc(&self, release: &KernelRelease) -> &'static str {
        gcc::default_gcc(release)
    }

    /// Further variables on the make command line.
    fn make_variables(&self, _kernel: &Kernel) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Every target that has a builder.
pub const ALL: &[&dyn Target] = &[&Debian];

/// The target that answers for `id`, if it has a builder.
pub fn find(id: &TargetId) -> Option<&'static dyn Target> {
    ALL.iter()
        .copied()
        .find(|target| target.ids().contains(&id.as_str()))
}

/// Every id that driverkit knows; those without a builder here are planned all the same, from the addresses that
/// a list gives.
pub const KNOWN_IDS: &[&str] = &[
    "alinux",
    "almalinux",
    "amazonlinux",
    "amazonlinux2",
    "amazonlinux2022",
    "amazonlinux2023",
    "arch",
    "bottlerocket",
    "centos",
    "debian",
    "fedora",
    "flatcar",
    "minikube",
    "ol",
    "opensuse",
    "photon",
    "redhat",
    "rocky",
    "sles",
    "talos",
    "vanilla",
];

/// Whether driverkit knows the id: one of [`KNOWN_IDS`], `ubuntu`, or `ubuntu-` with a flavour.
pub fn is_known(id: &TargetId) -> bool {
    let text = id.as_str();
    KNOWN_IDS.contains(&text) || text == "ubuntu" || text.starts_with("ubuntu-")
}
