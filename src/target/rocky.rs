//! Rocky Linux: a directory for each point release, named in a kernel's mark; superseded releases move to a vault.

use super::almalinux::{REPOSITORIES, point_releases, repositories_of};
use super::rpm::{KernelDevel, is_rebuild_mark};

/// The base URLs of current and of superseded releases.
const BASES: [&str; 2] = [
    "https://download.rockylinux.org/pub/rocky",
    "https://download.rockylinux.org/vault/rocky",
];

/// Rocky Linux.
pub(super) const ROCKY: KernelDevel = KernelDevel {
    ids: &["rocky"],
    is_mark: is_rebuild_mark,
    folders: |release| {
        let machine = release.machine;
        let folders = BASES.into_iter().flat_map(|base| {
            point_releases(release).into_iter().flat_map(move |number| {
                repositories_of(release).iter().map(move |repository| {
                    format!("{base}/{number}/{repository}/{machine}/os/Packages/k")
                })
            })
        });
        Ok(folders.collect())
    },
    repositories: || {
        let of_base = |base| REPOSITORIES.map(|name| format!("{base}/$release/{name}/$arch/os/"));
        BASES.into_iter().flat_map(of_base).collect()
    },
    oldest_release: 8,
    ..KernelDevel::BASE
};

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn pub_comes_before_the_vault() {
        let kernel = kernel("rocky 5.14.0-284.11.1.el9_2.x86_64 1 amd64").0;
        let file = "AppStream/x86_64/os/Packages/k/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm";
        assert_eq!(
            addresses(&ROCKY, &kernel),
            [
                "pub/rocky/9.2",
                "pub/rocky/9",
                "vault/rocky/9.2",
                "vault/rocky/9"
            ]
            .map(|folder| format!("https://download.rockylinux.org/{folder}/{file}"))
        );
    }
}
