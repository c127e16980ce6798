//! Fedora: the updates, which hold the newest kernel only, the release, and archives.

use super::rpm::{KernelDevel, is_numbered};

/// Fedora.
pub(super) const FEDORA: KernelDevel = KernelDevel {
    ids: &["fedora"],
    is_mark: |mark| is_numbered(mark, "fc"),
    example: "6.2.9-300.fc38",
    folders: |release, architecture| {
        let machine = architecture.machine();
        let number = release.generation("fc").unwrap_or_default();
        let mirror = "https://mirrors.kernel.org/fedora";
        let archive = "https://archives.fedoraproject.org/pub/archive/fedora/linux";
        Ok(vec![
            format!("{mirror}/updates/{number}/Everything/{machine}/Packages/k"),
            format!("{mirror}/releases/{number}/Everything/{machine}/os/Packages/k"),
            format!("{mirror}/development/{number}/Everything/{machine}/os/Packages/k"),
            format!(
                "https://fedoraproject-updates-archive.fedoraproject.org/fedora/{number}/{machine}"
            ),
            format!("{archive}/updates/{number}/Everything/{machine}/Packages/k"),
            format!("{archive}/releases/{number}/Everything/{machine}/os/Packages/k"),
        ])
    },
    ..KernelDevel::BASE
};

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn number_is_in_the_mark() {
        let kernel = kernel("fedora 5.17.5-300.fc36.aarch64 1 arm64").0;
        let found = addresses(&FEDORA, &kernel);
        assert_eq!(
            found[1],
            "https://mirrors.kernel.org/fedora/releases/36/Everything/aarch64/os/Packages/k/kernel-devel-5.17.5-300.fc36.aarch64.rpm"
        );
        assert!(found.iter().all(|url| url.contains("/36/")));
    }
}
