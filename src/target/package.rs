//! The packages that contain a kernel's tree.

use std::fmt;
use std::sync::Arc;

use crate::digest::Sha256;
use crate::kernel::{Architecture, Kernel, Package};

/// A file that a kernel's tree needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPackage {
    /// Its URLs or paths, in the order in which they are tried; never empty. Computed URLs are guesses, usually only
    /// one of which exists.
    pub candidates: Vec<Arc<str>>,
    /// The size in bytes, if an index contains it.
    pub size_bytes: Option<u64>,
    /// The digest, if an index contains it or an earlier download computed it.
    pub sha256: Option<Sha256>,
    /// True if the digest is only from an earlier download.
    pub is_noted: bool,
    /// The format of the archive.
    pub format: PackageFormat,
}

/// A format of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackageFormat {
    /// Debian's: `.deb`.
    Deb,
    /// Red Hat's: `.rpm`.
    Rpm,
    /// Arch's: `.pkg.tar.xz`, `.pkg.tar.zst`.
    Pacman,
    /// A tar archive: a kernel source, or header packages packed by hand.
    Tar,
}

impl PackageFormat {
    /// Returns the format by the extension of a file's name.
    pub fn of_name(file: &str) -> Option<Self> {
        let extension = file.rsplit('.').next().unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "deb" => Some(Self::Deb),
            "rpm" => Some(Self::Rpm),
            _ if file.contains(".pkg.tar") => Some(Self::Pacman),
            "tgz" | "txz" => Some(Self::Tar),
            _ if file.contains(".tar") => Some(Self::Tar),
            _ => None,
        }
    }
}

/// Returns the architecture in a package's file name, if it names exactly one.
pub fn architecture_of_file(file: &str) -> Option<Architecture> {
    let says = |architecture: &&Architecture| {
        file.contains(architecture.as_str()) || file.contains(architecture.machine())
    };
    let said: Vec<_> = Architecture::ALL.iter().filter(says).collect();
    match said[..] {
        [one] => Some(*one),
        _ => None,
    }
}

impl fmt::Display for PackageFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Pacman => "pacman",
            Self::Tar => "tar",
        })
    }
}

impl WantedPackage {
    /// Returns a package with only its possible URLs known.
    pub(super) fn at(candidates: Vec<Arc<str>>, format: PackageFormat) -> Self {
        Self {
            candidates,
            size_bytes: None,
            sha256: None,
            is_noted: false,
            format,
        }
    }

    /// Returns the first URL.
    pub fn url(&self) -> &Arc<str> {
        &self.candidates[0]
    }

    /// Returns the name of its file, from the first URL.
    pub fn file_name(&self) -> String {
        crate::kernel::file_name(self.url()).into_owned()
    }
}

/// A package named by a list, a matrix or the lock, with all of its URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// The name of its file.
    pub(super) file: String,
    /// The member of the package set with the most facts about it.
    pub(super) package: &'a Package,
    /// All URLs, in order, with `..` resolved.
    pub(super) candidates: Vec<Arc<str>>,
}

impl Named<'_> {
    /// Converts it to a package to fetch. A name without a known extension has the format `format`.
    pub(super) fn wanted(self, format: PackageFormat) -> WantedPackage {
        WantedPackage {
            format: PackageFormat::of_name(&self.file).unwrap_or(format),
            candidates: self.candidates,
            size_bytes: self.package.size_bytes,
            sha256: self.package.sha256,
            is_noted: self.package.is_noted,
        }
    }
}

/// Returns the packages that a kernel names, with mirrors merged: files with the same name are one package, and so are
/// files with the same digest.
pub(super) fn named(kernel: &Kernel) -> Vec<Named<'_>> {
    let mut found: Vec<Named<'_>> = Vec::with_capacity(kernel.packages.len());
    for package in &kernel.packages {
        let file = package.file_name();
        let url = resolve(&package.url);
        let is_same = |one: &&mut Named<'_>| match (one.package.sha256, package.sha256) {
            (Some(left), Some(right)) => left == right,
            _ => one.file == file && one.package.host == package.host,
        };
        match found.iter_mut().find(is_same) {
            Some(one) => {
                if one.package.sha256.is_none() {
                    one.package = package;
                }
                if !one.candidates.contains(&url) {
                    one.candidates.push(url);
                }
            }
            None => found.push(Named {
                file: file.into_owned(),
                package,
                candidates: vec![url],
            }),
        }
    }
    found
}

/// Converts a kernel's only named package, an rpm, to a package to fetch.
pub(super) fn only_package(package: &Package) -> WantedPackage {
    WantedPackage {
        size_bytes: package.size_bytes,
        sha256: package.sha256,
        is_noted: package.is_noted,
        ..WantedPackage::at(vec![resolve(&package.url)], PackageFormat::Rpm)
    }
}

/// Returns a URL without `..`: servers reject the URLs of Amazon's lists in HEAD requests.
fn resolve(url: &str) -> Arc<str> {
    if !(url.contains("://") && url.contains("/../")) {
        return url.into();
    }
    url::Url::parse(url).map_or_else(|_| url.into(), |url| url.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn urls_of_one_file_on_several_mirrors_are_one_package() {
        let kernel = kernel("ubuntu-aws 4.15.0-1009-aws 9 amd64")
            .with("http://a/l/x_1%2Bb.deb")
            .with("http://b/pool/y_2.deb")
            .with("https://c/x_1+b.deb?token=1")
            .with("http://a/l/x_1%2Bb.deb")
            .0;
        let found = named(&kernel);
        let files: Vec<_> = found.iter().map(|one| one.file.as_str()).collect();
        assert_eq!(files, ["x_1+b.deb", "y_2.deb"]);
        assert_eq!(
            found[0].candidates,
            ["http://a/l/x_1%2Bb.deb", "https://c/x_1+b.deb?token=1"].map(Arc::<str>::from)
        );
    }

    #[test]
    fn files_with_equal_digests_are_one_package() {
        let mut kernel = kernel("centos 3.10.0-957.el7.x86_64 1 amd64")
            .with("http://a/x.rpm")
            .with("http://b/y.rpm")
            .with("http://c/x.rpm")
            .0;
        kernel.packages.update(|package| {
            let content = if package.url.starts_with("http://c") {
                "other"
            } else {
                "content"
            };
            package.sha256 = Some(Sha256::of(content));
            true
        });
        let counts: Vec<_> = named(&kernel)
            .iter()
            .map(|one| one.candidates.len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 3, "{counts:?}");
        assert!(counts.contains(&2), "{counts:?}");
    }

    #[test]
    fn parent_segments_in_urls_are_resolved() {
        let url = "http://host/2/core/2.0/x86_64/3d/../../../../../blobstore/26/kernel-devel.rpm";
        assert_eq!(&*resolve(url), "http://host/blobstore/26/kernel-devel.rpm");
        assert_eq!(&*resolve("a/../b"), "a/../b");
    }

    #[test]
    fn architectures_are_read_from_file_names() {
        for (file, architecture) in [
            ("a_1_amd64.deb", Some(Architecture::Amd64)),
            ("a-1.aarch64.rpm", Some(Architecture::Arm64)),
            ("a_1_all.deb", None),
            ("amd64-on-arm64.deb", None),
        ] {
            assert_eq!(architecture_of_file(file), architecture, "{file}");
        }
    }

    #[test]
    fn formats_are_read_from_file_names() {
        for (name, format) in [
            ("a_1_all.deb", Some(PackageFormat::Deb)),
            ("a.rpm", Some(PackageFormat::Rpm)),
            ("a-x86_64.pkg.tar.zst", Some(PackageFormat::Pacman)),
            ("linux-6.1.tar.xz", Some(PackageFormat::Tar)),
            ("flatcar_developer_container.bin.bz2", None),
        ] {
            assert_eq!(PackageFormat::of_name(name), format, "{name}");
        }
    }
}
