//! Kernels built from kernel.org's source: vanilla, and systems that publish no header packages.

use std::borrow::Cow;
use std::sync::Arc;

use super::package::{PackageFormat, WantedPackage, named};
use super::tree::{BuildFolder, SourceTree, TreeKind};
use super::{LoaderName, Target, TargetError, gcc};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// A release split after its version and, if it has one, its candidate number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceRelease<'a> {
    /// The version as written: `5.10`, `5.10.0`, `2.6.32.71`.
    pub(super) version: &'a str,
    /// `rc1`, for a release candidate.
    pub(super) candidate: Option<&'a str>,
    /// The rest: `-edge`, or empty.
    pub(super) rest: &'a str,
}

impl<'a> SourceRelease<'a> {
    /// Parses `5.5.2`, `6.4-rc1`, `5.10.1-edge`, `2.6.32.71`.
    pub(super) fn parse(release: &'a str) -> Option<Self> {
        let end = release
            .find(|other: char| !other.is_ascii_digit() && other != '.')
            .unwrap_or(release.len());
        let (version, rest) = release.split_at(end);
        let version_end = version.trim_end_matches('.');
        if version_end.len() != version.len() || version.split('.').any(str::is_empty) {
            return None;
        }
        let count = version.split('.').count();
        if !(2..=4).contains(&count) {
            return None;
        }
        let candidate = rest.strip_prefix('-').and_then(|rest| {
            let word = rest.split(['-', '+', '.', '~']).next()?;
            let number = word.strip_prefix("rc")?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(word)
        });
        let skipped = candidate.map_or(0, |word| word.len() + 1);
        Some(Self {
            version,
            candidate,
            rest: &rest[skipped..],
        })
    }

    /// Returns the output of `uname -r` without the local version: at least three numbers.
    pub(super) fn uts_version(&self) -> String {
        let zero = if self.version.split('.').count() == 2 {
            ".0"
        } else {
            ""
        };
        match self.candidate {
            Some(candidate) => format!("{}{zero}-{candidate}", self.version),
            None => format!("{}{zero}", self.version),
        }
    }

    /// Returns the name of kernel.org's file: the first of a line has no trailing zero.
    fn source_name(&self) -> String {
        let version = match self.version.strip_suffix(".0") {
            Some(short) if short.contains('.') && !self.version.starts_with("2.") => short,
            _ => self.version,
        };
        match self.candidate {
            Some(candidate) => format!("linux-{version}-{candidate}"),
            None => format!("linux-{version}"),
        }
    }

    /// Returns the URLs of the source on kernel.org.
    pub(super) fn addresses(&self) -> Vec<Arc<str>> {
        let name = self.source_name();
        if self.candidate.is_some() {
            let tree = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git";
            return vec![format!("{tree}/snapshot/{name}.tar.gz").into()];
        }
        let major = self.version.split('.').next().unwrap_or_default();
        let folder = if major == "2" {
            "v2.6".to_owned()
        } else {
            format!("v{major}.x")
        };
        ["https://cdn.kernel.org", "https://mirrors.edge.kernel.org"]
            .map(|host| format!("{host}/pub/linux/kernel/{folder}/{name}.tar.xz").into())
            .into()
    }
}

/// A target that uses kernel.org's source, prepared with a configuration from the user.
pub(super) struct KernelOrg {
    pub(super) ids: &'static [&'static str],
    /// The expected format of a release, for messages.
    pub(super) expected: &'static str,
    /// Returns true if a release in kernel.org's format can belong to this target.
    pub(super) is_release: fn(&SourceRelease<'_>) -> bool,
    /// The local version of every kernel, if it is not that of the release.
    pub(super) local_version: Option<&'static str>,
    pub(super) gcc: fn(&Kernel) -> &'static str,
}

impl KernelOrg {
    /// The default values.
    pub(super) const BASE: Self = Self {
        ids: &[],
        expected: "expected kernel.org's version, as in `6.1.55`, `6.4-rc1` or `6.1.55-edge`",
        is_release: |_| true,
        local_version: None,
        gcc: |kernel| gcc::default_gcc(&kernel.release),
    };

    pub(super) fn parse<'a>(
        &self,
        release: &'a KernelRelease,
    ) -> Result<SourceRelease<'a>, TargetError> {
        SourceRelease::parse(release.as_str())
            .filter(self.is_release)
            .ok_or_else(|| TargetError::release(self.expected))
    }

    fn local_version<'a>(&self, release: &SourceRelease<'a>) -> &'a str {
        self.local_version.unwrap_or(release.rest)
    }
}

impl Target for KernelOrg {
    fn ids(&self) -> &'static [&'static str] {
        self.ids
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), TargetError> {
        self.parse(release).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        source_package(kernel, &self.parse(&kernel.release)?)
    }

    fn tree_kind(&self, kernel: &Kernel) -> Result<TreeKind, TargetError> {
        let parsed = self.parse(&kernel.release)?;
        Ok(TreeKind::Source(SourceTree {
            local_version: self.local_version(&parsed).to_owned(),
            extra_version: None,
        }))
    }

    fn needs_config(&self) -> bool {
        true
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        let parsed = self.parse(&kernel.release)?;
        Ok(vec![parsed.uts_version() + self.local_version(&parsed)])
    }

    /// The output of `uname -r`: `6.4-rc1` is `6.4.0-rc1` on its host.
    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let release = self.uts_releases(kernel).ok()?.remove(0);
        LoaderName::with_other_release(kernel, &release)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, _kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        Err(TargetError::unknown(NO_BUILD_FOLDER))
    }

    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        (self.gcc)(kernel).into()
    }
}

/// The reason why the build directory is unknown before the source is prepared.
pub(super) const NO_BUILD_FOLDER: &str =
    "the directory of a prepared source is not known before it is prepared";

/// Returns the one archive of a kernel: the one that the kernel names, else kernel.org's.
pub(super) fn source_package(
    kernel: &Kernel,
    release: &SourceRelease<'_>,
) -> Result<Vec<WantedPackage>, TargetError> {
    let mut all = named(kernel);
    if all.len() > 1 {
        let files: Vec<_> = all.iter().map(|one| one.file.as_str()).collect();
        return Err(TargetError::packages(format!(
            "it names several kernel sources: {}",
            files.join(", ")
        )));
    }
    let package = match all.pop() {
        Some(one) => one.wanted(PackageFormat::Tar),
        None => WantedPackage::at(release.addresses(), PackageFormat::Tar),
    };
    if package.format == PackageFormat::Tar {
        Ok(vec![package])
    } else {
        Err(TargetError::packages(format!(
            "{} is not a kernel source",
            package.file_name()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_follows_from_the_release() {
        let cdn = "https://cdn.kernel.org/pub/linux/kernel";
        let snapshot =
            "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/snapshot";
        for (release, uts, rest, url) in [
            (
                "5.5.2",
                "5.5.2",
                "",
                format!("{cdn}/v5.x/linux-5.5.2.tar.xz"),
            ),
            (
                "5.10.1-edge",
                "5.10.1",
                "-edge",
                format!("{cdn}/v5.x/linux-5.10.1.tar.xz"),
            ),
            (
                "5.10",
                "5.10.0",
                "",
                format!("{cdn}/v5.x/linux-5.10.tar.xz"),
            ),
            (
                "5.10.0",
                "5.10.0",
                "",
                format!("{cdn}/v5.x/linux-5.10.tar.xz"),
            ),
            (
                "5.5.2-arch1-1",
                "5.5.2",
                "-arch1-1",
                format!("{cdn}/v5.x/linux-5.5.2.tar.xz"),
            ),
            (
                "2.6.32.71",
                "2.6.32.71",
                "",
                format!("{cdn}/v2.6/linux-2.6.32.71.tar.xz"),
            ),
            (
                "6.4-rc1",
                "6.4.0-rc1",
                "",
                format!("{snapshot}/linux-6.4-rc1.tar.gz"),
            ),
            (
                "6.4.0-rc1-x",
                "6.4.0-rc1",
                "-x",
                format!("{snapshot}/linux-6.4-rc1.tar.gz"),
            ),
        ] {
            let parsed = SourceRelease::parse(release).unwrap();
            assert_eq!(parsed.uts_version(), uts, "{release}");
            assert_eq!(parsed.rest, rest, "{release}");
            assert_eq!(*parsed.addresses()[0], *url, "{release}");
        }
        for release in ["7", "6.1.", "1.2.3.4.5", "v6.1", ""] {
            assert_eq!(SourceRelease::parse(release), None, "{release}");
        }
    }
}
