//! The header packages that a kernel names, compared with their usual names.

use std::sync::Arc;

use super::RpmRelease;
use crate::kernel::Kernel;
use crate::target::TargetError;
use crate::target::package::{Named, PackageFormat, WantedPackage, named, only_package};

/// Returns true if a file has the name of a release's package: `kernel-devel-4.18.0-553.5.1.el8_10.x86_64.rpm`.
pub(super) fn is_file(file: &str, package: &str, release: &RpmRelease<'_>) -> bool {
    let RpmRelease {
        version,
        build,
        machine,
        ..
    } = *release;
    let pieces = [package, "-", version, "-", build, ".", machine, ".rpm"];
    pieces
        .iter()
        .try_fold(file, |rest, piece| rest.strip_prefix(piece))
        .is_some_and(str::is_empty)
}

/// Returns the one package of a kernel: the one that the kernel names, else one with the URLs from `compute`. `file` is
/// its usual name.
pub(in crate::target) fn one_package(
    kernel: &Kernel,
    file: &str,
    compute: impl FnOnce() -> Result<Vec<Arc<str>>, TargetError>,
) -> Result<Vec<WantedPackage>, TargetError> {
    if kernel.packages.is_empty() {
        return Ok(vec![WantedPackage::at(compute()?, PackageFormat::Rpm)]);
    }
    named_packages(kernel, file)
}

/// Returns the packages that a kernel names: the one with the expected name, else all, which then must not have the
/// names of other packages.
pub(super) fn named_packages(
    kernel: &Kernel,
    file: &str,
) -> Result<Vec<WantedPackage>, TargetError> {
    // The fast path for most kernels of lists: a plan checks all of them.
    if let [only] = &*kernel.packages
        && only.file_name() == file
    {
        return Ok(vec![only_package(only)]);
    }
    let mut all = named(kernel);
    if let Some(position) = all.iter().position(|one| one.file == file) {
        return Ok(vec![all.swap_remove(position).wanted(PackageFormat::Rpm)]);
    }
    for one in &all {
        check_name(&one.file, file)?;
    }
    let wanted = |one: Named<'_>| one.wanted(PackageFormat::Rpm);
    Ok(all.into_iter().map(wanted).collect())
}

/// Fails if the name of a package shows that it contains no headers, or those of another kernel.
fn check_name(file: &str, expected: &str) -> Result<(), TargetError> {
    // A name in another scheme proves nothing: the content is checked after unpacking.
    let Some(name) = file
        .strip_suffix(".rpm")
        .filter(|name| name.starts_with("kernel"))
    else {
        return Ok(());
    };
    if !name.contains("devel") {
        return Err(TargetError::packages(format!(
            "{file} is not a package of kernel headers: expected {expected}"
        )));
    }
    let release = expected
        .strip_suffix(".rpm")
        .and_then(|name| name.split_once("devel-"))
        .map_or("", |(_, release)| release);
    if name.contains(release) {
        Ok(())
    } else {
        Err(TargetError::packages(format!(
            "{file} belongs to another kernel: expected {expected}"
        )))
    }
}
