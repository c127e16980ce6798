//! Bottlerocket: kernel.org's source of the same version, with the configuration of a variant.

use super::tree::{BuildFolder, TreeKind};
use super::upstream::source_package;
use super::{LoaderName, Target, WantedPackage, vanilla};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// Bottlerocket.
pub(super) struct Bottlerocket;

impl Target for Bottlerocket {
    fn ids(&self) -> &'static [&'static str] {
        &["bottlerocket"]
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), String> {
        vanilla::parse(release)
            .map(drop)
            .map_err(|_| "a release of Bottlerocket is a version, as in `6.1.72`".to_owned())
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, String> {
        source_package(kernel, &vanilla::parse(&kernel.release)?)
    }

    fn tree_kind(&self, kernel: &Kernel) -> Result<TreeKind, String> {
        vanilla::Vanilla.tree_kind(kernel)
    }

    fn needs_config(&self) -> bool {
        true
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, String> {
        vanilla::Vanilla.uts_releases(kernel)
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        vanilla::Vanilla.loader_name(kernel)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, String> {
        vanilla::Vanilla.build_folder(kernel)
    }
}
