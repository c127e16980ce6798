//! Vanilla: kernel.org's source with the user's configuration.

use super::upstream::KernelOrg;

/// kernel.org: a release can have any local version.
pub(super) const VANILLA: KernelOrg = KernelOrg {
    ids: &["vanilla"],
    ..KernelOrg::BASE
};

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::kernel;
    use super::super::tree::{SourceTree, TreeKind};
    use super::*;
    use crate::kernel::Architecture;

    fn source_tree(local_version: &str) -> TreeKind {
        TreeKind::Source(SourceTree {
            local_version: local_version.to_owned(),
            extra_version: None,
        })
    }

    #[test]
    fn the_suffix_of_a_release_candidate_is_no_local_version() {
        for (release, uts, local) in [
            ("6.1.55", "6.1.55", ""),
            ("6.1.55-edge", "6.1.55-edge", "-edge"),
            ("6.4-rc1", "6.4.0-rc1", ""),
            ("5.5.2-arch1-1", "5.5.2-arch1-1", "-arch1-1"),
        ] {
            let kernel = kernel(&format!("vanilla {release} 1 amd64")).0;
            assert_eq!(VANILLA.uts_releases(&kernel).unwrap(), [uts]);
            assert_eq!(VANILLA.tree_kind(&kernel), Ok(source_tree(local)));
        }
    }

    #[test]
    fn a_named_source_is_used_and_must_be_the_only_one() {
        let one = kernel("vanilla 6.1.55 1 amd64")
            .with("file:///x/linux.tar.gz")
            .0;
        let found = VANILLA.header_packages(&one, Architecture::Amd64).unwrap();
        assert_eq!(
            found[0].candidates,
            ["file:///x/linux.tar.gz"].map(std::sync::Arc::<str>::from)
        );
        for urls in [
            &["http://a/x.deb"][..],
            &["http://a/x.tar.gz", "http://a/y.tar.gz"],
        ] {
            let kernel = kernel("vanilla 6.1.55 1 amd64");
            let kernel = urls.iter().fold(kernel, |kernel, url| kernel.with(url)).0;
            assert!(
                VANILLA
                    .header_packages(&kernel, Architecture::Amd64)
                    .is_err()
            );
        }
    }
}
