//! Kernels for the tests of targets.

use crate::kernel::{Kernel, Package, PackageSet};

/// A kernel that packages can be added to.
pub(super) struct Named(pub(super) Kernel);

impl Named {
    pub(super) fn with(mut self, url: &str) -> Self {
        self.0.packages.insert(Package::at(url));
        self
    }
}

/// A kernel without packages from `target release version architecture`.
pub(super) fn kernel(text: &str) -> Named {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap();
    Named(Kernel {
        target: word().parse().unwrap(),
        release: word().parse().unwrap(),
        version: word().parse().unwrap(),
        architecture: word().parse().unwrap(),
        packages: PackageSet::default(),
        config_sha256: None,
        upstream: None,
        image: None,
        source: "inline".into(),
    })
}

/// Returns the URLs of a kernel's first package, on a host of the kernel's own architecture.
pub(super) fn addresses(target: &dyn super::Target, kernel: &Kernel) -> Vec<String> {
    let packages = target
        .header_packages(kernel, kernel.architecture)
        .unwrap_or_else(|error| panic!("{kernel}: {error}"));
    let urls = packages[0].candidates.iter();
    urls.map(ToString::to_string).collect()
}
