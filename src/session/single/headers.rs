//! Kernel headers that are installed on this machine.

use std::path::{Path, PathBuf};

use crate::resolve::ResolveError;

/// Returns the directory where the headers of a kernel are installed.
pub fn installed_headers(release: &str) -> Result<PathBuf, ResolveError> {
    let places = [
        format!("/lib/modules/{release}/build"),
        format!("/usr/src/linux-headers-{release}"),
        format!("/usr/src/kernels/{release}"),
    ];
    let found = places.iter().map(Path::new).find(|place| place.is_dir());
    found.map(Path::to_owned).ok_or_else(|| ResolveError::Input {
        message: format!(
            "the headers of kernel {release} are not installed: none of these exists: {}",
            places.join(", ")
        ),
        help: Some(format!(
            "install them (Debian and Ubuntu: apt install linux-headers-{release}; Fedora and RHEL: dnf install kernel-devel-{release}), or fetch them with --download-headers"
        )),
    })
}
