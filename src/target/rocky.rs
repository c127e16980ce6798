//! Rocky Linux: a folder for each point release, which a kernel's mark names; superseded ones move to a vault.

use super::almalinux::point_releases;
use super::rpm::KernelDevel;

/// Rocky Linux.
pub(super) const ROCKY: KernelDevel = KernelDevel {
    ids: &["rocky"],
    folders: |release, architecture| {
        let machine = architecture.machine();
        let (releases, repository) = point_releases(release);
        let folders = ["pub", "vault"].into_iter().flat_map(|part| {
            let folder = move |release: &String| {
                format!("https://download.rockylinux.org/{part}/rocky/{release}/{repository}/{machine}/os/Packages/k")
            };
            releases.iter().map(folder)
        });
        Ok(folders.collect())
    },
    ..KernelDevel::BASE
};

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn pub_first_then_the_vault() {
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
