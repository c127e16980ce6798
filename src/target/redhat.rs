//! Red Hat Enterprise Linux: packages come from a subscription, through yum in an image that the user provides.

use std::borrow::Cow;

use super::rpm::KernelDevel;
use super::tree::{PackageManager, SubscribedPackage, Subscription, TreeKind};
use super::{BuildFolder, LoaderName, Series, Target, TargetError, WantedPackage};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// Red Hat Enterprise Linux.
pub(super) struct RedHat;

/// The rules shared with its rebuilds.
const SHARED: KernelDevel = KernelDevel {
    ids: &["redhat"],
    ..KernelDevel::BASE
};

impl Target for RedHat {
    fn ids(&self) -> &'static [&'static str] {
        SHARED.ids
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), TargetError> {
        SHARED.check_release(release, architecture)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if kernel.packages.is_empty() {
            return Ok(Vec::new());
        }
        SHARED.header_packages(kernel, host)
    }

    fn tree_kind(&self, kernel: &Kernel) -> Result<TreeKind, TargetError> {
        if !kernel.packages.is_empty() {
            return Ok(TreeKind::Headers);
        }
        let release = SHARED.parse(&kernel.release, kernel.architecture)?;
        let (package, version) = (release.usual_package(), release.package_version());
        Ok(TreeKind::Subscription(Subscription {
            manager: PackageManager::Yum,
            packages: vec![SubscribedPackage {
                name: format!("{package}-0:{version}"),
                file: format!("{package}-{version}.rpm"),
            }],
        }))
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        SHARED.uts_releases(kernel)
    }

    fn series(&self, kernel: &Kernel) -> Series {
        SHARED.series(kernel)
    }

    /// The hosts call themselves `rhel`.
    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        Some(LoaderName {
            target: "rhel".parse().ok()?,
            ..LoaderName::of(kernel)
        })
    }

    fn mount_points(&self) -> &'static [&'static str] {
        SHARED.mount_points()
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        SHARED.build_folder(kernel)
    }

    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        SHARED.default_gcc(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn yum_is_used_unless_packages_are_named() {
        let text = "redhat 4.18.0-372.9.1.el8.x86_64 1 amd64";
        let bare = kernel(text).0;
        assert_eq!(
            RedHat.tree_kind(&bare),
            Ok(TreeKind::Subscription(Subscription {
                manager: PackageManager::Yum,
                packages: vec![SubscribedPackage {
                    name: "kernel-devel-0:4.18.0-372.9.1.el8.x86_64".to_owned(),
                    file: "kernel-devel-4.18.0-372.9.1.el8.x86_64.rpm".to_owned(),
                }],
            }))
        );
        assert_eq!(
            RedHat.header_packages(&bare, Architecture::Amd64),
            Ok(Vec::new())
        );
        let real_time = kernel("redhat 5.14.0-503.11.1.el9_5.x86_64+rt 1 amd64").0;
        let Ok(TreeKind::Subscription(found)) = RedHat.tree_kind(&real_time) else {
            panic!("no subscription");
        };
        assert_eq!(
            found.names(),
            ["kernel-rt-devel-0:5.14.0-503.11.1.el9_5.x86_64"]
        );
        assert_eq!(RedHat.loader_name(&bare).unwrap().target.as_str(), "rhel");
        let url = "http://a/kernel-devel-4.18.0-372.9.1.el8.x86_64.rpm";
        let named = kernel(text).with(url).0;
        assert_eq!(RedHat.tree_kind(&named), Ok(TreeKind::Headers));
        assert_eq!(addresses(&RedHat, &named), [url]);
    }
}
