//! Vanilla: kernel.org's source with the user's configuration.

use super::tree::{BuildFolder, SourceTree, TreeKind};
use super::upstream::{SourceRelease, source_package};
use super::{LoaderName, Target, WantedPackage};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// kernel.org.
pub(super) struct Vanilla;

/// A release with whatever local part.
pub(super) fn parse(release: &KernelRelease) -> Result<SourceRelease<'_>, String> {
    SourceRelease::parse(release.as_str()).ok_or_else(|| {
        "expected kernel.org's version, as in `6.1.55`, `6.4-rc1` or `6.1.55-edge`".to_owned()
    })
}

/// The kind of tree whose local part is `local_version`.
pub(super) fn source_tree(local_version: &str) -> TreeKind {
    TreeKind::Source(SourceTree {
        local_version: local_version.to_owned(),
        extra_version: None,
    })
}

impl Target for Vanilla {
    fn ids(&self) -> &'static [&'static str] {
        &["vanilla"]
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), String> {
        parse(release).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, String> {
        source_package(kernel, &parse(&kernel.release)?)
    }

    fn tree_kind(&self, kernel: &Kernel) -> Result<TreeKind, String> {
        Ok(source_tree(parse(&kernel.release)?.rest))
    }

    fn needs_config(&self) -> bool {
        true
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, String> {
        let parsed = parse(&kernel.release)?;
        Ok(vec![parsed.uts_version() + parsed.rest])
    }

    /// `6.4-rc1` is `6.4.0-rc1` on its host.
    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let release = self.uts_releases(kernel).ok()?.remove(0);
        (release != kernel.release.as_str()).then(|| LoaderName::with_release(kernel, release))
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, _kernel: &Kernel) -> Result<BuildFolder, String> {
        Err("the folder of a prepared source is where it is prepared".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn candidates_are_no_local_part() {
        for (release, uts, local) in [
            ("6.1.55", "6.1.55", ""),
            ("6.1.55-edge", "6.1.55-edge", "-edge"),
            ("6.4-rc1", "6.4.0-rc1", ""),
            ("5.5.2-arch1-1", "5.5.2-arch1-1", "-arch1-1"),
        ] {
            let kernel = kernel(&format!("vanilla {release} 1 amd64")).0;
            assert_eq!(Vanilla.uts_releases(&kernel).unwrap(), [uts]);
            assert_eq!(Vanilla.tree_kind(&kernel), Ok(source_tree(local)));
        }
    }

    #[test]
    fn named_source_wins_and_must_be_one() {
        let one = kernel("vanilla 6.1.55 1 amd64")
            .with("file:///x/linux.tar.gz")
            .0;
        let found = Vanilla.header_packages(&one, Architecture::Amd64).unwrap();
        assert_eq!(found[0].candidates, ["file:///x/linux.tar.gz".into()]);
        for urls in [
            &["http://a/x.deb"][..],
            &["http://a/x.tar.gz", "http://a/y.tar.gz"],
        ] {
            let kernel = kernel("vanilla 6.1.55 1 amd64");
            let kernel = urls.iter().fold(kernel, |kernel, url| kernel.with(url)).0;
            assert!(
                Vanilla
                    .header_packages(&kernel, Architecture::Amd64)
                    .is_err()
            );
        }
    }
}
