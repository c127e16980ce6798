//! The rules shared by distributions with rpm packages: `kernel-devel` contains the whole tree.

mod packages;

use std::borrow::Cow;
use std::sync::Arc;

use super::package::WantedPackage;
use super::repository::{RpmIndex, RpmName};
use super::{BuildFolder, Series, Target, TargetError, gcc};
use crate::kernel::{Architecture, Kernel, KernelRelease};

use packages::is_file;
pub(super) use packages::one_package;

/// A target whose header tree is in one package, `kernel-devel` or similar, in `/usr/src/kernels/<release>`.
pub(super) struct KernelDevel {
    pub(super) ids: &'static [&'static str],
    pub(super) architectures: &'static [Architecture],
    /// Returns true if a dotted part of a build is the distribution's mark: `el8_10`.
    pub(super) is_mark: fn(&str) -> bool,
    /// An example of a release without its architecture, for messages.
    pub(super) example: &'static str,
    /// Returns the package's name.
    pub(super) package: fn(&RpmRelease<'_>) -> Cow<'static, str>,
    /// Returns the directories that can contain the package, in the order in which they are tried.
    pub(super) folders: fn(&RpmRelease<'_>) -> Result<Vec<String>, TargetError>,
    /// Returns the repositories that discovery reads, the most likely first: see [`RpmIndex::repositories`].
    pub(super) repositories: fn() -> Vec<String>,
    /// The oldest release of the distribution that discovery reads.
    pub(super) oldest_release: u32,
    /// Returns the release of the kernel that a header package is for: see [`RpmIndex::release_of`].
    pub(super) release_of: fn(&RpmName<'_>) -> Option<String>,
    /// Returns the version of a kernel by its release.
    pub(super) kernel_version: fn(&str) -> Option<&'static str>,
    pub(super) gcc: fn(&Kernel) -> &'static str,
    pub(super) make_variables: fn(&Kernel, Architecture) -> Vec<(String, String)>,
    /// Returns the series of a kernel, by its release.
    pub(super) series: fn(&RpmRelease<'_>, &Kernel) -> Series,
    /// Returns the name that the loader uses, if it differs from the kernel's own.
    pub(super) loader_name: fn(&Kernel) -> Option<super::LoaderName>,
    /// Returns true if hosts use the kernel's own name too.
    pub(super) is_asked_by_own_name: fn(&Kernel) -> bool,
}

impl KernelDevel {
    /// The default values.
    pub(super) const BASE: Self = Self {
        ids: &[],
        architectures: &Architecture::ALL,
        is_mark: is_enterprise_mark,
        example: "5.14.0-284.11.1.el9_2",
        package: |release| release.usual_package(),
        folders: |_| Ok(Vec::new()),
        repositories: Vec::new,
        oldest_release: 0,
        release_of: release_of_usual_package,
        kernel_version: |_| None,
        gcc: |kernel| gcc::default_gcc(&kernel.release),
        make_variables: |_, _| Vec::new(),
        series: |release, _| Series::of_release(release.generation_mark()),
        loader_name: |_| None,
        is_asked_by_own_name: |_| false,
    };

    pub(super) fn parse<'a>(
        &self,
        release: &'a KernelRelease,
        architecture: Architecture,
    ) -> Result<RpmRelease<'a>, TargetError> {
        RpmRelease::parse(release.as_str(), architecture, self.is_mark).ok_or_else(|| {
            TargetError::release(format!(
                "a release of {} looks like `{}.{}`",
                self.ids.join(", "),
                self.example,
                architecture.machine()
            ))
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
    ) -> Result<(), TargetError> {
        self.parse(release, architecture).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        let parsed = self.parse(&kernel.release, kernel.architecture)?;
        let file = format!(
            "{}-{}.rpm",
            (self.package)(&parsed),
            parsed.package_version()
        );
        one_package(kernel, &file, || {
            Ok(in_folders(&(self.folders)(&parsed)?, &file))
        })
    }

    fn check_packages(&self, kernel: &Kernel, host: Architecture) -> Result<(), TargetError> {
        if let [only] = &*kernel.packages
            && let Some(release) =
                RpmRelease::parse(kernel.release.as_str(), kernel.architecture, self.is_mark)
            && is_file(&only.file_name(), &(self.package)(&release), &release)
        {
            return Ok(());
        }
        self.header_packages(kernel, host).map(drop)
    }

    fn rpm_index(&self) -> Option<RpmIndex> {
        let repositories = (self.repositories)();
        (!repositories.is_empty()).then_some(RpmIndex {
            repositories,
            oldest_release: self.oldest_release,
            release_of: self.release_of,
            common: None,
            kernel_version: self.kernel_version,
        })
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        Ok(vec![kernel.release.to_string()])
    }

    fn series(&self, kernel: &Kernel) -> Series {
        self.parse(&kernel.release, kernel.architecture)
            .map_or_else(
                |_| Series::default(),
                |release| (self.series)(&release, kernel),
            )
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<super::LoaderName> {
        (self.loader_name)(kernel)
    }

    fn is_asked_by_own_name(&self, kernel: &Kernel) -> bool {
        (self.is_asked_by_own_name)(kernel)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/kernels/*"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
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

/// Returns true for the mark of Red Hat and its rebuilds: `el7`, `el8_10`. Oracle's own kernels have another, `el7uek`.
pub(super) fn is_enterprise_mark(mark: &str) -> bool {
    is_numbered(mark, "el") && !mark.as_bytes().windows(3).any(|three| three == b"uek")
}

/// Returns true for such a mark of version 8 or later, for distributions that started with version 8.
pub(super) fn is_rebuild_mark(mark: &str) -> bool {
    is_enterprise_mark(mark) && number_behind(mark, "el").is_some_and(|major| major >= 8)
}

/// Returns true if `mark` is `prefix` and a number, possibly with a suffix.
pub(super) fn is_numbered(mark: &str, prefix: &str) -> bool {
    number_behind(mark, prefix).is_some()
}

fn number_behind(mark: &str, prefix: &str) -> Option<u32> {
    let rest = mark.strip_prefix(prefix)?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Returns the parts of a text between dots. Called for every kernel of a plan: `str::split` takes twice the time.
fn dotted(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(b'.', text.as_bytes()).chain(std::iter::once(text.len()));
    ends.scan(0, |start, end| {
        let part = &text[*start..end];
        *start = end + 1;
        Some(part)
    })
}

/// A release in the format `VERSION-BUILD.TAG.MACHINE`, possibly with a variant: `4.18.0-553.5.1.el8_10.x86_64`,
/// `5.14.0-427.13.1.el9_4.aarch64+64k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RpmRelease<'a> {
    /// The version: `4.18.0`.
    pub(super) version: &'a str,
    /// The rest, without the architecture: `553.5.1.el8_10`.
    pub(super) build: &'a str,
    /// The dotted part of the build that is the distribution's mark: `el8_10`.
    pub(super) tag: &'a str,
    /// The architecture of the package: `x86_64`, or `x86_64_v2` for packages of AlmaLinux 10 for older processors.
    pub(super) machine: &'a str,
    /// The variant after the architecture: `64k`, `rt`, `debug`.
    variant: Option<&'a str>,
}

impl<'a> RpmRelease<'a> {
    /// Parses a release with a mark.
    pub(super) fn parse(
        release: &'a str,
        architecture: Architecture,
        is_mark: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let machine = architecture.machine();
        // Called for every kernel of a plan, so it allocates no strings.
        let start = memchr::memrchr_iter(b'.', release.as_bytes())
            .find(|dot| release[dot + 1..].starts_with(machine))?;
        let behind = &release[start + 1 + machine.len()..];
        // `x86_64_v2`: another microarchitecture level.
        let level = behind.find(['+', '.']).unwrap_or(behind.len());
        let (level, rest) = behind.split_at(level);
        let is_level = level.is_empty()
            || level.strip_prefix("_v").is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            });
        // Red Hat's variants follow a plus sign; those of Oracle and of version 7 follow a dot.
        let variant = (!rest.is_empty()).then(|| &rest[1..]);
        let is_variant = |text: &str| {
            let is_allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !text.is_empty() && text.bytes().all(is_allowed)
        };
        if !is_level || !variant.is_none_or(is_variant) {
            return None;
        }
        let dash = memchr::memchr(b'-', &release.as_bytes()[..start])?;
        let (version, build) = (&release[..dash], &release[dash + 1..start]);
        let tag = dotted(build).skip(1).find(|part| is_mark(part))?;
        let is_version = version
            .as_bytes()
            .split(|&byte| byte == b'.')
            .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
        is_version.then_some(Self {
            version,
            build,
            tag,
            machine: &release[start + 1..start + 1 + machine.len() + level.len()],
            variant,
        })
    }

    /// Returns the variant, `rt-debug`. Real-time kernels of versions 7 and 8 have it in their build:
    /// `553.rt7.342.el8_10`.
    pub(super) fn variant(&self) -> Option<&'a str> {
        let is_real_time = || dotted(self.build).any(|part| is_numbered(part, "rt"));
        self.variant.or_else(|| is_real_time().then_some("rt"))
    }

    /// Returns the name of its header package: `kernel-devel`, `kernel-64k-devel`.
    pub(super) fn usual_package(&self) -> Cow<'static, str> {
        match self.variant() {
            Some(variant) => format!("kernel-{variant}-devel").into(),
            None => "kernel-devel".into(),
        }
    }

    /// Returns version, build and architecture of the header package: the release without its variant.
    pub(super) fn package_version(&self) -> String {
        format!("{}-{}.{}", self.version, self.build, self.machine)
    }

    /// Returns the number after `prefix` in the mark: 8 of `el8_10`.
    pub(super) fn generation(&self, prefix: &str) -> Option<u32> {
        number_behind(self.tag, prefix)
    }

    /// Returns the mark without point release and suffix: `el8` of `el8_10` and of `el8uek`.
    pub(super) fn generation_mark(&self) -> &'a str {
        let start = self.tag.find(|found: char| found.is_ascii_digit());
        let end = start.and_then(|start| {
            let rest = &self.tag[start..];
            Some(start + rest.find(|found: char| !found.is_ascii_digit())?)
        });
        &self.tag[..end.unwrap_or(self.tag.len())]
    }

    /// Returns the number after the underscore of the mark: 10 of `el8_10`.
    pub(super) fn point(&self) -> Option<u32> {
        let (_, rest) = self.tag.split_once('_')?;
        number_behind(rest, "")
    }

    /// Returns the first number of the build: 553.
    pub(super) fn first_number(&self) -> Option<u32> {
        self.build.split('.').next()?.parse().ok()
    }

    /// Returns true if there are numbers between the first one and the mark: `5.1`.
    pub(super) fn has_further_numbers(&self) -> bool {
        let before = self.build.split(self.tag).next().unwrap_or_default();
        before.trim_end_matches('.').contains('.')
    }
}

/// Returns the kernel release for a header package of Red Hat's scheme: `kernel-devel`, `kernel6.12-devel`,
/// `kernel-64k-devel`.
fn release_of_usual_package(package: &RpmName<'_>) -> Option<String> {
    let middle = package
        .name
        .strip_prefix("kernel")?
        .strip_suffix("-devel")?;
    let release = package.release();
    let Some(variant) = middle.strip_prefix('-') else {
        let is_line = middle
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        return is_line.then_some(release);
    };
    // These kernels have their variant in their releases.
    let is_said = ["ml", "lt", "plus"].contains(&variant)
        || (variant == "rt" && release.split('.').any(|part| is_numbered(part, "rt")));
    if is_said {
        return Some(release);
    }
    let separator = if release.contains(".el7") { '.' } else { '+' };
    Some(format!("{release}{separator}{variant}"))
}

/// Returns the URLs of `file` in each of `folders`.
pub(super) fn in_folders(folders: &[String], file: &str) -> Vec<Arc<str>> {
    folders
        .iter()
        .map(|folder| format!("{folder}/{file}").into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::packages::named_packages;
    use super::*;

    #[test]
    fn releases_are_split_into_parts() {
        let parse = |release| RpmRelease::parse(release, Architecture::Amd64, is_enterprise_mark);
        let found = parse("4.18.0-553.5.1.el8_10.x86_64").unwrap();
        assert_eq!((found.version, found.tag), ("4.18.0", "el8_10"));
        assert_eq!(found.generation("el"), Some(8));
        assert_eq!((found.point(), found.first_number()), (Some(10), Some(553)));
        assert!(found.has_further_numbers());
        let found = parse("6.12.0-55.43.1.el10_0.x86_64_v2+debug").unwrap();
        assert_eq!(
            (found.machine, found.variant()),
            ("x86_64_v2", Some("debug"))
        );
        assert_eq!(found.package_version(), "6.12.0-55.43.1.el10_0.x86_64_v2");
        let found = parse("4.18.0-553.rt7.342.el8_10.x86_64").unwrap();
        assert_eq!(found.usual_package(), "kernel-rt-devel");
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
            "5.4.17-2136.311.6.el8uek.x86_64",
            "5.14.0-1.el9.x86_64+",
            "5.14.0-1.el9.x86_64_vx",
        ] {
            assert_eq!(parse(release), None, "{release}");
        }
    }

    #[test]
    fn the_kernel_release_is_derived_from_the_header_package() {
        for (name, version, release, kernel) in [
            (
                "kernel-devel",
                "5.14.0",
                "70.el9",
                Some("5.14.0-70.el9.x86_64"),
            ),
            (
                "kernel6.12-devel",
                "6.12.40",
                "64.114.amzn2023",
                Some("6.12.40-64.114.amzn2023.x86_64"),
            ),
            (
                "kernel-64k-debug-devel",
                "5.14.0",
                "70.el9",
                Some("5.14.0-70.el9.x86_64+64k-debug"),
            ),
            (
                "kernel-rt-devel",
                "5.14.0",
                "70.el9",
                Some("5.14.0-70.el9.x86_64+rt"),
            ),
            (
                "kernel-rt-devel",
                "4.18.0",
                "553.rt7.342.el8",
                Some("4.18.0-553.rt7.342.el8.x86_64"),
            ),
            (
                "kernel-debug-devel",
                "3.10.0",
                "957.el7",
                Some("3.10.0-957.el7.x86_64.debug"),
            ),
            (
                "kernel-ml-devel",
                "6.0.0",
                "1.el7.elrepo",
                Some("6.0.0-1.el7.elrepo.x86_64"),
            ),
            ("kernel-devel-matched", "5.14.0", "70.el9", None),
            ("kernels-devel", "5.14.0", "70.el9", None),
        ] {
            let package = RpmName {
                name,
                version,
                release,
                machine: "x86_64",
            };
            assert_eq!(
                release_of_usual_package(&package).as_deref(),
                kernel,
                "{name}"
            );
        }
    }

    #[test]
    fn variants_have_their_own_packages_and_directories() {
        for (text, file, folder) in [
            (
                "rocky 5.14.0-427.13.1.el9_4.aarch64+64k 1 arm64",
                "kernel-64k-devel-5.14.0-427.13.1.el9_4.aarch64.rpm",
                "5.14.0-427.13.1.el9_4.aarch64+64k",
            ),
            (
                "centos 5.14.0-503.el9.x86_64+rt 1 amd64",
                "kernel-rt-devel-5.14.0-503.el9.x86_64.rpm",
                "5.14.0-503.el9.x86_64+rt",
            ),
            (
                "redhat 4.18.0-553.el8_10.x86_64+debug 1 amd64",
                "",
                "4.18.0-553.el8_10.x86_64+debug",
            ),
            (
                "fedora 6.14.0-63.fc42.aarch64+16k 1 arm64",
                "kernel-16k-devel-6.14.0-63.fc42.aarch64.rpm",
                "6.14.0-63.fc42.aarch64+16k",
            ),
            (
                "almalinux 6.12.0-55.43.1.el10_0.x86_64_v2 1 amd64",
                "kernel-devel-6.12.0-55.43.1.el10_0.x86_64_v2.rpm",
                "6.12.0-55.43.1.el10_0.x86_64_v2",
            ),
            (
                "ol 6.12.0-0.20.20.el9uek.aarch64.64k 2 arm64",
                "kernel-uek64k-devel-6.12.0-0.20.20.el9uek.aarch64.rpm",
                "6.12.0-0.20.20.el9uek.aarch64.64k",
            ),
            (
                "ol 6.10.0-2.el9ueknext.x86_64 1 amd64",
                "kernel-ueknext-devel-6.10.0-2.el9ueknext.x86_64.rpm",
                "6.10.0-2.el9ueknext.x86_64",
            ),
            (
                "alinux 6.6.102-5.3.1.alnx4.x86_64 1 amd64",
                "kernel-devel-6.6.102-5.3.1.alnx4.x86_64.rpm",
                "6.6.102-5.3.1.alnx4.x86_64",
            ),
        ] {
            let kernel = kernel(text).0;
            let target = super::super::find(&kernel.target).unwrap();
            let packages = target
                .header_packages(&kernel, kernel.architecture)
                .unwrap();
            let files: Vec<_> = packages.iter().map(WantedPackage::file_name).collect();
            assert_eq!(files.concat(), file);
            assert_eq!(
                target.build_folder(&kernel),
                Ok(BuildFolder::exactly(format!("/usr/src/kernels/{folder}")))
            );
            assert_eq!(
                target.uts_releases(&kernel).unwrap(),
                [kernel.release.as_str()]
            );
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
            Ok::<_, TargetError>(
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
        let error = find(&["kernel-headers-3.10.0-957.el7.x86_64.rpm"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a package of kernel headers"), "{error}");
        let error = find(&["kernel-devel-3.10.0-1160.el7.x86_64.rpm"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("belongs to another kernel"), "{error}");
    }
}
