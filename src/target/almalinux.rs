//! AlmaLinux: a folder for each point release, which a kernel's mark names; superseded ones move to a vault.

use super::rpm::{KernelDevel, RpmRelease};

/// AlmaLinux.
pub(super) const ALMA_LINUX: KernelDevel = KernelDevel {
    ids: &["almalinux"],
    folders: |release, architecture| {
        let machine = architecture.machine();
        let (releases, repository) = point_releases(release);
        let folders = releases.iter().flat_map(|release| {
            [
                "https://repo.almalinux.org/almalinux",
                "https://vault.almalinux.org",
            ]
            .map(|host| format!("{host}/{release}/{repository}/{machine}/os/Packages"))
        });
        Ok(folders.collect())
    },
    ..KernelDevel::BASE
};

/// The releases whose folders can hold the package, and the repository in them. The major number alone stands for
/// the newest point release; it is the only hint for kernels whose mark names none.
pub(super) fn point_releases(release: &RpmRelease<'_>) -> (Vec<String>, &'static str) {
    let major = release.generation("el").unwrap_or_default();
    let point = release.point().map(|minor| format!("{major}.{minor}"));
    let releases = point.into_iter().chain([major.to_string()]).collect();
    (releases, if major <= 8 { "BaseOS" } else { "AppStream" })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn point_release_first_then_the_moving_name() {
        let kernel8 = kernel("almalinux 4.18.0-553.el8_10.x86_64 1 amd64").0;
        let file = "BaseOS/x86_64/os/Packages/kernel-devel-4.18.0-553.el8_10.x86_64.rpm";
        assert_eq!(
            addresses(&ALMA_LINUX, &kernel8),
            [
                format!("https://repo.almalinux.org/almalinux/8.10/{file}"),
                format!("https://vault.almalinux.org/8.10/{file}"),
                format!("https://repo.almalinux.org/almalinux/8/{file}"),
                format!("https://vault.almalinux.org/8/{file}"),
            ]
        );
        let kernel9 = kernel("almalinux 5.14.0-570.12.1.el9_6.aarch64 1 arm64").0;
        assert_eq!(
            addresses(&ALMA_LINUX, &kernel9)[0],
            "https://repo.almalinux.org/almalinux/9.6/AppStream/aarch64/os/Packages/kernel-devel-5.14.0-570.12.1.el9_6.aarch64.rpm"
        );
    }
}
