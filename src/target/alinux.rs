//! Alibaba Cloud Linux: each generation has three repositories, and any of them may have a kernel.

use super::rpm::{KernelDevel, RpmRelease, is_numbered};

/// Alibaba Cloud Linux.
pub(super) const ALINUX: KernelDevel = KernelDevel {
    ids: &["alinux"],
    is_mark: |mark| is_numbered(mark, "al") || is_numbered(mark, "alnx"),
    example: "5.10.84-10.4.al8",
    folders: |release| {
        let repositories = RELEASES
            .iter()
            .filter(|generation| (generation.is_of)(release))
            .flat_map(Generation::repositories);
        let machine = release.machine;
        Ok(repositories
            .map(|url| url.replace("$arch", machine) + "Packages")
            .collect())
    },
    repositories: || {
        RELEASES
            .iter()
            .rev()
            .flat_map(Generation::repositories)
            .collect()
    },
    ..KernelDevel::BASE
};

/// A generation, with the location of its repositories.
struct Generation {
    release: &'static str,
    is_of: fn(&RpmRelease<'_>) -> bool,
    /// The end of a repository's base URL, after the repository's name.
    end: &'static str,
}

/// Up to the third generation, marks use the release numbers of Red Hat.
const RELEASES: [Generation; 4] = [
    Generation {
        release: "2",
        is_of: |release| release.generation("al") == Some(7),
        end: "$arch/",
    },
    Generation {
        release: "2.1903",
        is_of: |release| release.generation("al") == Some(7),
        end: "$arch/",
    },
    Generation {
        release: "3",
        is_of: |release| release.generation("al").is_some_and(|mark| mark != 7),
        end: "$arch/",
    },
    Generation {
        release: "4",
        is_of: |release| release.generation("alnx").is_some(),
        end: "$arch/os/",
    },
];

impl Generation {
    fn repositories(&self) -> [String; 3] {
        let Self { release, end, .. } = self;
        ["os", "updates", "plus"]
            .map(|name| format!("http://mirrors.aliyun.com/alinux/{release}/{name}/{end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn the_urls_include_all_repositories() {
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
        let kernel4 = kernel("alinux 6.6.102-5.3.1.alnx4.x86_64 1 amd64").0;
        let found = addresses(&ALINUX, &kernel4);
        assert!(
            found[1].starts_with("http://mirrors.aliyun.com/alinux/4/updates/x86_64/os/Packages/")
        );
    }
}
