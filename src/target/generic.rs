//! Custom kernels: no rule knows their releases, so their packages must be named. All of them are used, and the tree is
//! found in them by the typical files of a kernel tree.

use super::package::{Named, PackageFormat, WantedPackage, named};
use super::{BuildFolder, Target, TargetError};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// A vendor's or a custom kernel. Also reads the packages named for a kernel of another target, if that target's rules
/// do not know the release.
pub(super) struct Generic;

/// The id of the target; a matrix can give it any other name.
pub(super) const ID: &str = "generic";

impl Target for Generic {
    fn ids(&self) -> &'static [&'static str] {
        &[ID]
    }

    fn check_release(
        &self,
        _release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if kernel.packages.is_empty() {
            return Err(TargetError::unknown(format!(
                "the URLs of the packages of {kernel} cannot be computed: name them with `headers` (packages, a tarball or \
                 the directory of a build tree)"
            )));
        }
        let wanted = |one: Named<'_>| one.wanted(PackageFormat::Tar);
        Ok(named(kernel).into_iter().map(wanted).collect())
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        Ok(vec![kernel.release.to_string()])
    }

    /// The usual directories of kernel packages; a tree elsewhere is mounted as well.
    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/*", "usr/lib/linux-*", "lib/linux-*"]
    }

    fn build_folder(&self, _kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        Ok(BuildFolder::ANYWHERE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn all_named_packages_are_used_and_one_is_required() {
        let bare = kernel("generic 6.6.30-acme 1 amd64").0;
        let error = Generic.header_packages(&bare, Architecture::Amd64);
        assert!(error.unwrap_err().to_string().contains("`headers`"));
        let own = kernel("generic 6.6.30-acme 1 amd64")
            .with("http://a/acme-headers.rpm")
            .with("http://b/acme-headers.rpm")
            .with("/srv/scripts.tar.zst")
            .0;
        let found = Generic.header_packages(&own, Architecture::Amd64).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(Generic.uts_releases(&own).unwrap(), ["6.6.30-acme"]);
    }
}
