//! Oracle Linux: Red Hat's kernel and Oracle's own (UEK), with one repository for each line.

use super::repository::RpmName;
use super::rpm::{KernelDevel, RpmRelease, is_numbered};
use super::{LoaderName, Series, TargetError};
use crate::kernel::Kernel;

/// Oracle Linux.
pub(super) const ORACLE: KernelDevel = KernelDevel {
    ids: &["ol"],
    is_mark: |mark| is_numbered(mark, "el"),
    example: "5.4.17-2136.311.6.el8uek",
    package: |release| match release.variant() {
        _ if !is_uek(release) => release.usual_package(),
        Some(size) if size.starts_with("64k") => format!("kernel-uek{size}-devel").into(),
        Some(variant) => format!("kernel-uek-{variant}-devel").into(),
        None if release.tag.ends_with("uek") => "kernel-uek-devel".into(),
        None => "kernel-ueknext-devel".into(),
    },
    folders,
    repositories: || {
        let base = |one: &Repository| format!("{BASE}/OL{}/{}/$arch/", one.major, one.name);
        REPOSITORIES.iter().map(base).collect()
    },
    release_of,
    kernel_version: |release| release.contains("uek.").then_some("2"),
    // Lists use this name for the releases of Oracle Linux.
    series: |release, kernel| {
        let major = release.generation("el").unwrap_or_default();
        Series::with_line(format!("oracle{major}"), kernel)
    },
    loader_name,
    is_asked_by_own_name: is_of_uek_eight,
    ..KernelDevel::BASE
};

const BASE: &str = "http://yum.oracle.com/repo/OracleLinux";

/// A repository of a major release.
struct Repository {
    major: u32,
    name: &'static str,
    /// The version of Oracle's kernel in it, or its prefix; `None` for Red Hat's kernel.
    uek: Option<&'static str>,
}

const fn rhck(major: u32, name: &'static str) -> Repository {
    Repository {
        major,
        name,
        uek: None,
    }
}

const fn uek(major: u32, name: &'static str, version: &'static str) -> Repository {
    Repository {
        major,
        name,
        uek: Some(version),
    }
}

/// The table's marker for `UEKnext`: kernels of any version whose releases end in `ueknext`.
const NEXT: &str = "next";

/// All repositories, those of the newest release first.
const REPOSITORIES: [Repository; 23] = [
    rhck(10, "baseos/latest"),
    rhck(10, "appstream"),
    uek(10, "UEKR8", "6.12."),
    uek(10, "developer/UEKnext", NEXT),
    rhck(9, "baseos/latest"),
    rhck(9, "appstream"),
    uek(9, "UEKR8", "6.12."),
    uek(9, "UEKR7", "5.15.0"),
    uek(9, "developer/UEKnext", NEXT),
    rhck(8, "baseos/latest"),
    uek(8, "UEKR7", "5.15.0"),
    uek(8, "UEKR6", "5.4.17"),
    rhck(7, "latest"),
    rhck(7, "MODRHCK"),
    uek(7, "UEKR3", "3.8.13"),
    uek(7, "UEKR4", "4.1.12"),
    uek(7, "UEKR5", "4.14.35"),
    uek(7, "UEKR6", "5.4.17"),
    rhck(6, "latest"),
    rhck(6, "MODRHCK"),
    uek(6, "UEK/latest", "2.6."),
    uek(6, "UEKR3/latest", "3.8.13"),
    uek(6, "UEKR4", "4.1.12"),
];

fn is_uek(release: &RpmRelease<'_>) -> bool {
    release.tag.contains("uek")
}

fn folders(release: &RpmRelease<'_>) -> Result<Vec<String>, TargetError> {
    let major = release.generation("el").unwrap_or_default();
    let is_next = release.tag.ends_with("ueknext");
    let holds = |repository: &&Repository| {
        repository.major == major
            && match repository.uek {
                None => !is_uek(release),
                Some(NEXT) => is_next,
                Some(line) => is_uek(release) && !is_next && release.version.starts_with(line),
            }
    };
    let machine = release.machine;
    let folder = |one: &Repository| format!("{BASE}/OL{major}/{}/{machine}/getPackage", one.name);
    let folders: Vec<String> = REPOSITORIES.iter().filter(holds).map(folder).collect();
    if folders.is_empty() {
        let kernel = if is_uek(release) { "UEK" } else { "the kernel" };
        return Err(TargetError::unknown(format!(
            "no known repository of Oracle Linux {major} has {kernel} {}",
            release.version
        )));
    }
    Ok(folders)
}

/// Oracle's own kernels append their variants after a dot: `kernel-uek64k-devel` is for `...el9uek.aarch64.64k`.
fn release_of(package: &RpmName<'_>) -> Option<String> {
    let Some(rest) = package.name.strip_prefix("kernel-uek") else {
        return (KernelDevel::BASE.release_of)(package);
    };
    let release = package.release();
    match rest.strip_suffix("-devel")?.trim_start_matches('-') {
        "" | "next" => Some(release),
        variant => Some(format!("{release}.{variant}")),
    }
}

/// Oracle's own kernels have the version `#2`, which lists of 2022 do not contain; some UEK 8 kernels have `#1`.
fn loader_name(kernel: &Kernel) -> Option<LoaderName> {
    let version = match kernel.version.as_str() {
        "1" => "2",
        "2" if is_of_uek_eight(kernel) => "1",
        _ => return None,
    };
    if !kernel.release.as_str().contains("uek.") {
        return None;
    }
    Some(LoaderName {
        version: version.parse().ok()?,
        ..LoaderName::of(kernel)
    })
}

/// For UEK 8, only the running kernel shows which of the two versions it has.
fn is_of_uek_eight(kernel: &Kernel) -> bool {
    let release = kernel.release.as_str();
    release.starts_with("6.12.") && release.contains("uek.")
}

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn urls_name_the_repository_of_the_kernel_line() {
        for (release, path) in [
            (
                "2.6.32-696.23.1.el6.x86_64",
                "OL6/latest/x86_64/getPackage/kernel-devel",
            ),
            (
                "2.6.39-400.294.3.el6uek.x86_64",
                "OL6/UEK/latest/x86_64/getPackage/kernel-uek-devel",
            ),
            (
                "3.8.13-118.55.1.el7uek.x86_64",
                "OL7/UEKR3/x86_64/getPackage/kernel-uek-devel",
            ),
            (
                "5.4.17-2136.311.6.el8uek.x86_64",
                "OL8/UEKR6/x86_64/getPackage/kernel-uek-devel",
            ),
            (
                "6.12.0-101.33.4.3.el10uek.x86_64",
                "OL10/UEKR8/x86_64/getPackage/kernel-uek-devel",
            ),
            (
                "6.10.0-2.el9ueknext.x86_64",
                "OL9/developer/UEKnext/x86_64/getPackage/kernel-ueknext-devel",
            ),
            (
                "4.18.0-147.0.2.el8_1.x86_64",
                "OL8/baseos/latest/x86_64/getPackage/kernel-devel",
            ),
        ] {
            let kernel = kernel(&format!("ol {release} 1 amd64")).0;
            assert_eq!(
                addresses(&ORACLE, &kernel)[0],
                format!("http://yum.oracle.com/repo/OracleLinux/{path}-{release}.rpm")
            );
        }
    }

    #[test]
    fn loader_names_of_oracle_kernels_use_the_other_version() {
        let old = kernel("ol 5.4.17-2136.311.6.el8uek.x86_64 1 amd64").0;
        assert_eq!(ORACLE.loader_name(&old).unwrap().version.as_str(), "2");
        for (version, other) in [("1", "2"), ("2", "1")] {
            let text = format!("ol 6.12.0-101.33.4.3.el10uek.x86_64 {version} amd64");
            assert_eq!(
                ORACLE
                    .loader_name(&kernel(&text).0)
                    .unwrap()
                    .version
                    .as_str(),
                other
            );
        }
        for text in [
            "ol 5.4.17-2136.311.6.el8uek.x86_64 2 amd64",
            "ol 4.18.0-147.0.2.el8_1.x86_64 1 amd64",
        ] {
            assert_eq!(ORACLE.loader_name(&kernel(text).0), None);
        }
    }
}
