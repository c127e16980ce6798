//! Talos: kernel.org's source; every kernel's local part is `-talos`, which lists of early 2023 lack.

use super::tree::{BuildFolder, TreeKind};
use super::upstream::{SourceRelease, source_package};
use super::{LoaderName, Target, WantedPackage, vanilla};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// Talos.
pub(super) struct Talos;

const LOCAL_VERSION: &str = "-talos";

fn parse(release: &KernelRelease) -> Result<SourceRelease<'_>, String> {
    vanilla::parse(release)
        .ok()
        .filter(|parsed| ["", LOCAL_VERSION].contains(&parsed.rest))
        .ok_or_else(|| "a release of Talos reads like `6.1.46-talos`".to_owned())
}

impl Target for Talos {
    fn ids(&self) -> &'static [&'static str] {
        &["talos"]
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), String> {
        parse(release).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, String> {
        source_package(kernel, &parse(&kernel.release)?)
    }

    fn tree_kind(&self, _kernel: &Kernel) -> Result<TreeKind, String> {
        Ok(vanilla::source_tree(LOCAL_VERSION))
    }

    fn needs_config(&self) -> bool {
        true
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, String> {
        Ok(vec![parse(&kernel.release)?.uts_version() + LOCAL_VERSION])
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let release = self.uts_releases(kernel).ok()?.remove(0);
        (release != kernel.release.as_str()).then(|| LoaderName::with_release(kernel, release))
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, String> {
        vanilla::Vanilla.build_folder(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn both_spellings_are_one_kernel() {
        for release in ["5.15.85-talos", "5.15.85"] {
            let kernel = kernel(&format!("talos {release} 1_v1.3.1 arm64")).0;
            assert_eq!(Talos.uts_releases(&kernel).unwrap(), ["5.15.85-talos"]);
            assert!(addresses(&Talos, &kernel)[0].ends_with("/linux-5.15.85.tar.xz"));
            let name = Talos.loader_name(&kernel).map(|name| name.release);
            assert_eq!(name.is_some(), release == "5.15.85");
        }
        let release = "5.15.85-generic".parse().unwrap();
        assert!(Talos.check_release(&release, Architecture::Amd64).is_err());
    }
}
