//! Oracle Linux: Red Hat's kernel and Oracle's own (UEK), each line in a repository of its own.

use super::LoaderName;
use super::rpm::{KernelDevel, RpmRelease};
use crate::kernel::{Architecture, Kernel};

/// Oracle Linux.
pub(super) const ORACLE: KernelDevel = KernelDevel {
    ids: &["ol"],
    example: "5.4.17-2136.311.6.el8uek",
    package: |release| {
        if is_uek(release) {
            "kernel-uek-devel"
        } else {
            "kernel-devel"
        }
    },
    folders,
    loader_name,
    ..KernelDevel::BASE
};

fn is_uek(release: &RpmRelease<'_>) -> bool {
    release.tag.ends_with("uek")
}

fn folders(release: &RpmRelease<'_>, architecture: Architecture) -> Result<Vec<String>, String> {
    let major = release.generation("el").unwrap_or_default();
    let repositories: &[&str] = if is_uek(release) {
        match (release.version, major) {
            ("2.6.32" | "2.6.39", _) => &["UEK/latest"],
            ("3.8.13", 6) => &["UEKR3/latest"],
            ("3.8.13", _) => &["UEKR3"],
            ("4.1.12", _) => &["UEKR4"],
            ("4.14.35", _) => &["UEKR5"],
            ("5.4.17", _) => &["UEKR6"],
            ("5.15.0", _) => &["UEKR7"],
            (version, _) if version.starts_with("6.") => &["UEKR8"],
            (version, _) => {
                return Err(format!(
                    "no repository of Oracle Linux is known to hold UEK {version}"
                ));
            }
        }
    } else {
        match major {
            6 | 7 => &["latest", "MODRHCK"],
            8 => &["baseos/latest"],
            _ => &["baseos/latest", "appstream"],
        }
    };
    let machine = architecture.machine();
    let folder = |repository: &&str| {
        format!(
            "http://yum.oracle.com/repo/OracleLinux/OL{major}/{repository}/{machine}/getPackage"
        )
    };
    Ok(repositories.iter().map(folder).collect())
}

/// Oracle's own kernels call themselves `#2`, which lists of 2022 do not know.
fn loader_name(kernel: &Kernel) -> Option<LoaderName> {
    let is_uek = kernel.release.as_str().contains("uek.");
    (is_uek && kernel.version.as_str() == "1").then(|| LoaderName {
        version: "2".to_owned(),
        ..LoaderName::of(kernel)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn repositories_of_kernel_lines() {
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
    fn loader_calls_oracles_kernels_number_two() {
        let old = kernel("ol 5.4.17-2136.311.6.el8uek.x86_64 1 amd64").0;
        assert_eq!(ORACLE.loader_name(&old).unwrap().version, "2");
        for text in [
            "ol 5.4.17-2136.311.6.el8uek.x86_64 2 amd64",
            "ol 4.18.0-147.0.2.el8_1.x86_64 1 amd64",
        ] {
            assert_eq!(ORACLE.loader_name(&kernel(text).0), None);
        }
    }
}
