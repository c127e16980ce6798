//! Minikube: kernel.org's source; the same kernel ships in several minikube versions, with other configurations.

use std::borrow::Cow;

use super::tree::{BuildFolder, TreeKind};
use super::upstream::{SourceRelease, source_package};
use super::{Target, WantedPackage, vanilla};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// Minikube.
pub(super) struct Minikube;

fn parse(release: &KernelRelease) -> Result<SourceRelease<'_>, String> {
    vanilla::parse(release)
        .ok()
        .filter(|parsed| parsed.rest.is_empty() && parsed.candidate.is_none())
        .ok_or_else(|| "a release of minikube is a version alone, as in `5.10.57`".to_owned())
}

impl Target for Minikube {
    fn ids(&self) -> &'static [&'static str] {
        &["minikube"]
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
        Ok(vanilla::source_tree(""))
    }

    fn needs_config(&self) -> bool {
        true
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, String> {
        Ok(vec![parse(&kernel.release)?.uts_version()])
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, String> {
        vanilla::Vanilla.build_folder(kernel)
    }

    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        match kernel.release.numbers() {
            [4, ..] => "8",
            [5, ..] => "10",
            _ => "12",
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn source_compiler_and_releases() {
        for (release, gcc) in [("4.19.202", "8"), ("5.10.57", "10"), ("6.6.95", "12")] {
            let kernel = kernel(&format!("minikube {release} 1_1.26.0 amd64")).0;
            assert_eq!(Minikube.default_gcc(&kernel), gcc);
            let url = &addresses(&Minikube, &kernel)[0];
            assert!(url.ends_with(&format!("/linux-{release}.tar.xz")), "{url}");
        }
        let release = "5.10.57-generic".parse().unwrap();
        assert!(
            Minikube
                .check_release(&release, Architecture::Amd64)
                .is_err()
        );
    }
}
