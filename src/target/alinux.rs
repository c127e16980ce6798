//! Alibaba Cloud Linux 2 and 3: three repositories, any of which may hold a kernel.

use super::rpm::{KernelDevel, is_numbered};

/// Alibaba Cloud Linux.
pub(super) const ALINUX: KernelDevel = KernelDevel {
    ids: &["alinux"],
    is_mark: |mark| is_numbered(mark, "al"),
    example: "5.10.84-10.4.al8",
    folders: |release, architecture| {
        let machine = architecture.machine();
        // The mark counts the releases of Red Hat.
        let releases: &[&str] = match release.generation("al") {
            Some(7) => &["2", "2.1903"],
            _ => &["3"],
        };
        let folders = releases.iter().flat_map(|release| {
            ["os", "updates", "plus"].map(|repository| {
                format!(
                    "http://mirrors.aliyun.com/alinux/{release}/{repository}/{machine}/Packages"
                )
            })
        });
        Ok(folders.collect())
    },
    ..KernelDevel::BASE
};

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn all_repositories_are_asked() {
        let text = "alinux 4.19.91-0.41.git.67a612f5f.al8.aarch64 1 arm64";
        let kernel3 = kernel(text).0;
        let found = addresses(&ALINUX, &kernel3);
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[2],
            "http://mirrors.aliyun.com/alinux/3/plus/aarch64/Packages/kernel-devel-4.19.91-0.41.git.67a612f5f.al8.aarch64.rpm"
        );
        let kernel2 = kernel("alinux 4.19.91-26.al7.x86_64 1 amd64").0;
        assert_eq!(addresses(&ALINUX, &kernel2).len(), 6);
        let release = "5.10.23-4.rc2.al8.aarch64".parse().unwrap();
        assert_eq!(ALINUX.check_release(&release, kernel3.architecture), Ok(()));
    }
}
