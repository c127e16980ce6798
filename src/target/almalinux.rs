//! AlmaLinux: a directory for each point release, named in a kernel's mark; superseded releases move to a vault.

use super::rpm::{KernelDevel, RpmRelease, is_rebuild_mark};

/// The hosts of current and of superseded releases.
const HOSTS: [&str; 2] = [
    "https://repo.almalinux.org/almalinux",
    "https://vault.almalinux.org",
];

/// AlmaLinux.
pub(super) const ALMA_LINUX: KernelDevel = KernelDevel {
    ids: &["almalinux"],
    is_mark: is_rebuild_mark,
    folders: |release| {
        let machine = release.machine;
        let folders = point_releases(release).into_iter().flat_map(|number| {
            HOSTS.into_iter().flat_map(move |host| {
                let number = number.clone();
                repositories_of(release).iter().map(move |repository| {
                    format!("{host}/{number}/{repository}/{machine}/os/Packages")
                })
            })
        });
        Ok(folders.collect())
    },
    repositories: || {
        let of_host = |host| REPOSITORIES.map(|name| format!("{host}/$release/{name}/$arch/os/"));
        HOSTS.into_iter().flat_map(of_host).collect()
    },
    oldest_release: 8,
    ..KernelDevel::BASE
};

/// The repositories of a point release that contain kernels.
pub(super) const REPOSITORIES: [&str; 4] = ["BaseOS", "AppStream", "RT", "NFV"];

/// Returns the repositories that can contain the package of a kernel.
pub(super) fn repositories_of(release: &RpmRelease<'_>) -> &'static [&'static str] {
    let is_real_time = release
        .variant()
        .is_some_and(|variant| variant.starts_with("rt"));
    match release.generation("el") {
        _ if is_real_time => &REPOSITORIES[2..],
        Some(8) => &REPOSITORIES[..1],
        _ => &REPOSITORIES[1..2],
    }
}

/// Returns the releases whose directories can contain the package. The major number alone is the newest point release;
/// it is the only candidate for kernels whose mark has no point release.
pub(super) fn point_releases(release: &RpmRelease<'_>) -> Vec<String> {
    let major = release.generation("el").unwrap_or_default();
    let point = release.point().map(|minor| format!("{major}.{minor}"));
    point.into_iter().chain([major.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn the_point_release_comes_before_the_major_release() {
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
