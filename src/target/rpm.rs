//! What the distributions with rpm packages share: `kernel-devel` holds the whole tree.

use std::borrow::Cow;
use std::sync::Arc;

use super::package::{Named, PackageFormat, WantedPackage, named};
use super::{BuildFolder, Target, gcc};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// A target whose header tree is one package, `kernel-devel` or the like, in `/usr/src/kernels/<release>`.
pub(super) struct KernelDevel {
    pub(super) ids: &'static [&'static str],
    pub(super) architectures: &'static [Architecture],
    /// Whether a dotted part of a build is the distribution's mark: `el8_10`.
    pub(super) is_mark: fn(&str) -> bool,
    /// A release without its machine, for people.
    pub(super) example: &'static str,
    /// The package's name.
    pub(super) package: fn(&RpmRelease<'_>) -> &'static str,
    /// The folders that can hold the package, in the order in which they are tried.
    pub(super) folders: fn(&RpmRelease<'_>, Architecture) -> Result<Vec<String>, String>,
    pub(super) gcc: fn(&Kernel) -> &'static str,
    pub(super) make_variables: fn(&Kernel, Architecture) -> Vec<(String, String)>,
    /// What the loader calls the kernel's version, where it is not the kernel's own.
    pub(super) loader_name: fn(&Kernel) -> Option<super::LoaderName>,
}

impl KernelDevel {
    /// The values that most of them have.
    pub(super) const BASE: Self = Self {
        ids: &[],
        architectures: &Architecture::ALL,
        is_mark: is_enterprise_mark,
        example: "5.14.0-284.11.1.el9_2",
        package: |_| "kernel-devel",
        folders: |_, _| Ok(Vec::new()),
        gcc: |kernel| gcc::default_gcc(&kernel.release),
        make_variables: |_, _| Vec::new(),
        loader_name: |_| None,
    };

    pub(super) fn parse<'a>(
        &self,
        release: &'a KernelRelease,
        architecture: Architecture,
    ) -> Result<RpmRelease<'a>, String> {
        let machine = architecture.machine();
        RpmRelease::parse(release.as_str(), machine, self.is_mark).ok_or_else(|| {
            format!(
                "a release of {} reads like `{}.{machine}`",
                self.ids.join(", "),
                self.example
            )
        })
    }
}

impl Target for KernelDevel {
    fn ids(&self) -> &'static [&'static str] {
        self.ids
    }

    fn architectures(&self) -> &'static [Architecture] {
        self.architectures
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), String> {
        self.parse(release, architecture).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, String> {
        let parsed = self.parse(&kernel.release, kernel.architecture)?;
        let file = format!("{}-{}.rpm", (self.package)(&parsed), kernel.release);
        one_package(kernel, &file, || {
            let folders = (self.folders)(&parsed, kernel.architecture)?;
            Ok(in_folders(&folders, &file))
        })
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, String> {
        Ok(vec![kernel.release.to_string()])
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<super::LoaderName> {
        (self.loader_name)(kernel)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/kernels/*"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, String> {
        let release = &kernel.release;
        Ok(BuildFolder::exactly(format!("/usr/src/kernels/{release}")))
    }

    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        (self.gcc)(kernel).into()
    }

    fn make_variables(&self, kernel: &Kernel, host: Architecture) -> Vec<(String, String)> {
        (self.make_variables)(kernel, host)
    }
}

/// The mark of Red Hat and those that rebuild it: `el7`, `el8_10`, `el7uek`.
pub(super) fn is_enterprise_mark(mark: &str) -> bool {
    is_numbered(mark, "el")
}

/// Whether `mark` is `prefix` and a number, perhaps with more behind it.
pub(super) fn is_numbered(mark: &str, prefix: &str) -> bool {
    mark.strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// A release of the form `VERSION-BUILD.TAG.MACHINE`: `4.18.0-553.5.1.el8_10.x86_64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RpmRelease<'a> {
    /// The version: `4.18.0`.
    pub(super) version: &'a str,
    /// What follows, without the machine: `553.5.1.el8_10`.
    pub(super) build: &'a str,
    /// The distribution's mark in it, from the last dot in front of the prefix: `el8_10`.
    pub(super) tag: &'a str,
}

impl<'a> RpmRelease<'a> {
    /// Reads a release with a mark.
    pub(super) fn parse(
        release: &'a str,
        machine: &str,
        is_mark: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let release = release.strip_suffix(machine)?.strip_suffix('.')?;
        let (version, build) = release.split_once('-')?;
        let tag = build.split('.').skip(1).find(|part| is_mark(part))?;
        let is_version = version
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        is_version.then_some(Self {
            version,
            build,
            tag,
        })
    }

    /// The number behind `prefix` in the mark: 8 of `el8_10`.
    pub(super) fn generation(&self, prefix: &str) -> Option<u32> {
        let rest = self.tag.strip_prefix(prefix)?;
        let end = rest.find(|other: char| !other.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    }

    /// The number behind the underscore of the mark: 10 of `el8_10`.
    pub(super) fn point(&self) -> Option<u32> {
        let (_, rest) = self.tag.split_once('_')?;
        let end = rest.find(|other: char| !other.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    }

    /// The first number of the build: 553.
    pub(super) fn first_number(&self) -> Option<u32> {
        self.build.split('.').next()?.parse().ok()
    }

    /// Whether there are numbers between the first one and the mark: `5.1`.
    pub(super) fn has_further_numbers(&self) -> bool {
        let before = self.build.split(self.tag).next().unwrap_or_default();
        before.trim_end_matches('.').contains('.')
    }
}

/// The one package of a kernel: what the kernel names, else what `compute` gives. `file` is its usual name.
pub(super) fn one_package(
    kernel: &Kernel,
    file: &str,
    compute: impl FnOnce() -> Result<Vec<Arc<str>>, String>,
) -> Result<Vec<WantedPackage>, String> {
    if kernel.packages.is_empty() {
        return Ok(vec![WantedPackage::at(compute()?, PackageFormat::Rpm)]);
    }
    named_packages(kernel, file)
}

/// The packages that a kernel names: the one that has the expected name, else all, which must then not be packages
/// of something else.
fn named_packages(kernel: &Kernel, file: &str) -> Result<Vec<WantedPackage>, String> {
    let mut all = named(kernel);
    if let Some(position) = all.iter().position(|one| one.file == file) {
        return Ok(vec![all.swap_remove(position).wanted(PackageFormat::Rpm)]);
    }
    for one in &all {
        check_name(&one.file, file)?;
    }
    let wanted = |one: Named<'_>| one.wanted(PackageFormat::Rpm);
    Ok(all.into_iter().map(wanted).collect())
}

/// Refuses a package whose name says that it holds no headers, or those of another kernel.
fn check_name(file: &str, expected: &str) -> Result<(), String> {
    let Some(name) = file.strip_suffix(".rpm") else {
        return Ok(());
    };
    if !name.contains("devel") {
        return Err(format!(
            "{file} is no package of kernel headers: {expected} is"
        ));
    }
    let release = expected
        .strip_suffix(".rpm")
        .and_then(|name| name.split_once("devel-"))
        .map_or("", |(_, release)| release);
    if name.contains(release) {
        Ok(())
    } else {
        Err(format!("{file} is of another kernel: {expected} is wanted"))
    }
}

/// The addresses of `file` in each of `folders`.
pub(super) fn in_folders(folders: &[String], file: &str) -> Vec<Arc<str>> {
    folders
        .iter()
        .map(|folder| format!("{folder}/{file}").into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn parts_of_releases() {
        let parse = |release| RpmRelease::parse(release, "x86_64", is_enterprise_mark);
        let found = parse("4.18.0-553.5.1.el8_10.x86_64").unwrap();
        assert_eq!((found.version, found.tag), ("4.18.0", "el8_10"));
        assert_eq!(found.generation("el"), Some(8));
        assert_eq!((found.point(), found.first_number()), (Some(10), Some(553)));
        assert!(found.has_further_numbers());
        let found = parse("5.4.17-2136.311.6.el8uek.x86_64").unwrap();
        assert_eq!(found.generation("el"), Some(8));
        assert!(
            !parse("3.10.0-957.el7.x86_64")
                .unwrap()
                .has_further_numbers()
        );
        for release in [
            "3.10.0-957.el7.aarch64",
            "5.15.0-91-generic",
            "3.10.0.el7.x86_64",
            "4.14.1-5.elrepo.x86_64",
            "el7.x86_64",
        ] {
            assert_eq!(parse(release), None, "{release}");
        }
    }

    #[test]
    fn named_packages_must_be_headers_of_the_kernel() {
        let exact = "kernel-devel-3.10.0-957.el7.x86_64.rpm";
        let find = |names: &[&str]| {
            let kernel = kernel("centos 3.10.0-957.el7.x86_64 1 amd64");
            let kernel = names.iter().fold(kernel, |kernel, name| {
                kernel.with(&format!("http://a/{name}"))
            });
            let found = named_packages(&kernel.0, exact)?;
            Ok::<_, String>(
                found
                    .iter()
                    .map(WantedPackage::file_name)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(find(&["kernel-headers-1.rpm", exact]).unwrap(), [exact]);
        let other = "kernel-plus-devel-3.10.0-957.el7.x86_64.rpm";
        assert_eq!(find(&[other]).unwrap(), [other]);
        assert_eq!(find(&["headers.tar.xz"]).unwrap(), ["headers.tar.xz"]);
        let error = find(&["kernel-headers-3.10.0-957.el7.x86_64.rpm"]).unwrap_err();
        assert!(error.contains("no package of kernel headers"), "{error}");
        let error = find(&["kernel-devel-3.10.0-1160.el7.x86_64.rpm"]).unwrap_err();
        assert!(error.contains("of another kernel"), "{error}");
    }
}
