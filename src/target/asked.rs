//! The names under which hosts request a kernel's artifacts, by the rules of all targets.

use super::Target;
use super::loader::{LoaderName, is_readable};
use crate::kernel::Kernel;

/// The names under which hosts request a kernel's artifacts, as far as they can request them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedNames {
    /// True if hosts use the kernel's own name.
    pub own: bool,
    /// Another name that hosts use.
    pub other: Option<LoaderName>,
    /// Another name that hosts use but that belongs to other kernels too, so nothing is published under it.
    pub shared: Option<LoaderName>,
}

impl AskedNames {
    /// Returns the names of a kernel, by the rules of its target.
    pub fn of(kernel: &Kernel) -> Self {
        Self::by(super::find(&kernel.target), kernel)
    }

    /// Returns the names of a kernel, by the given rules.
    pub fn by(target: Option<&dyn Target>, kernel: &Kernel) -> Self {
        let other = target.and_then(|target| target.loader_name(kernel));
        let is_asked_too = || target.is_some_and(|target| target.is_asked_by_own_name(kernel));
        let shared = target.and_then(|target| target.shared_loader_name(kernel));
        let own = (other.is_none() && shared.is_none()) || is_asked_too();
        Self {
            own: own && is_readable(kernel.release.as_str()),
            other: other.filter(LoaderName::is_readable),
            shared: shared.filter(LoaderName::is_readable),
        }
    }

    /// Returns true if no host can request artifacts of the kernel.
    pub fn is_empty(&self) -> bool {
        !self.own && self.other.is_none() && self.shared.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn the_names_that_loaders_request_are_found() {
        for (text, own, other) in [
            ("debian 6.1.176-1-amd64 1 amd64", true, None),
            ("debian 6.1.21-v8+ 1642 arm64", false, None),
            ("debian 6.8.12-1-pve+ 1 amd64", false, None),
            ("arch 7.2.3-1-cachyos 1 amd64", true, None),
            (
                "ubuntu 6.15.1-x64v3-xanmod1 1 amd64",
                false,
                Some("ubuntu-generic 6.15.1-x64v3-xanmod1 1"),
            ),
            (
                "ubuntu 6.15.1-acme-2 1 amd64",
                false,
                Some("ubuntu-acme 6.15.1-acme-2 1"),
            ),
            (
                "rocky 5.14.0-427.13.1.el9_4.aarch64+64k 1 arm64",
                true,
                None,
            ),
            (
                "rocky 5.14.0-427.13.1.el9_4.x86_64+debug 1 amd64",
                true,
                None,
            ),
            (
                "almalinux 6.12.0-55.43.1.el10_0.x86_64_v2 1 amd64",
                true,
                None,
            ),
            ("acme 6.6.30-acme+ 1 amd64", false, None),
            ("acme 6.6.30 1 amd64", true, None),
            ("acme 5.4.119-19.0009.28 1 amd64", true, None),
            (
                "redhat 4.18.0-553.5.1.el8_10.x86_64 1 amd64",
                false,
                Some("rhel 4.18.0-553.5.1.el8_10.x86_64 1"),
            ),
            (
                "ubuntu-hwe 5.3.0-67-hwe 61 amd64",
                false,
                Some("ubuntu-generic 5.3.0-67-generic 61"),
            ),
            (
                "ol 5.15.0-205.149.5.1.el9uek.x86_64 1 amd64",
                false,
                Some("ol 5.15.0-205.149.5.1.el9uek.x86_64 2"),
            ),
            (
                "ol 6.12.0-101.33.4.3.el10uek.x86_64 1 amd64",
                true,
                Some("ol 6.12.0-101.33.4.3.el10uek.x86_64 2"),
            ),
        ] {
            let found = AskedNames::of(&kernel(text).0);
            let name = found
                .other
                .map(|name| format!("{} {} {}", name.target, name.release, name.version));
            assert_eq!((found.own, name.as_deref()), (own, other), "{text}");
        }
    }
}
