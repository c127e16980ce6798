//! openSUSE and SLES: sources and the architecture's part are two packages, whose names have a rebuild counter that is
//! not in `uname -r`.

use std::sync::Arc;

use super::package::{PackageFormat, WantedPackage, named};
use super::repository::{RpmIndex, RpmName};
use super::tree::{PackageManager, SubscribedPackage, Subscription, TreeKind};
use super::{BuildFolder, LoaderName, Series, Target, TargetError};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// openSUSE Leap and Tumbleweed.
pub(super) struct OpenSuse;

/// SUSE Linux Enterprise Server.
pub(super) struct Sles;

const EXPECTED: &str = "a release of SUSE looks like `5.14.21-150400.22.1.x86_64`, as its packages spell it, or like \
    `5.14.21-150400.22-default`, as `uname -r` prints it";

/// The default flavour.
const DEFAULT: &str = "default";

/// The flavours, as in the suffix of `uname -r`.
const FLAVOURS: [&str; 9] = [
    DEFAULT, "64kb", "azure", "rt", "rt_debug", "debug", "kvmsmall", "longterm", "preempt",
];

/// The repositories of a release of Leap, the most likely first: two mirrors of the release, and the updates of 15.
const LEAP: [&str; 4] = [
    "https://mirrors.edge.kernel.org/opensuse/distribution/leap/$release/repo/oss/",
    "http://download.opensuse.org/distribution/leap/$release/repo/oss/",
    "http://download.opensuse.org/update/leap/$release/sle/",
    "http://download.opensuse.org/update/leap/$release/oss/",
];

const TUMBLEWEED: &str = "http://download.opensuse.org/tumbleweed/repo/oss/";

/// The project that builds kernels newer than a distribution's own.
const KERNEL_PROJECT: &str = "https://download.opensuse.org/repositories/Kernel:";

/// A release in one of its formats, without the architecture.
struct Parts<'a> {
    /// `5.14.21`
    version: &'a str,
    /// `150400.22`
    build: &'a str,
    /// `.1`, in packages; not in `uname -r`.
    counter: Option<&'a str>,
    /// `default`, `64kb`; the package format has no flavour and means the default.
    flavour: &'a str,
}

fn expected() -> TargetError {
    TargetError::release(EXPECTED)
}

impl<'a> Parts<'a> {
    fn parse(release: &'a str, architecture: Architecture) -> Result<Self, TargetError> {
        let machine = architecture.machine();
        let of_uname = release
            .rsplit_once('-')
            .filter(|(_, flavour)| FLAVOURS.contains(flavour));
        let of_package = release
            .strip_suffix(machine)
            .and_then(|text| text.strip_suffix('.'));
        let text = of_uname
            .map(|(text, _)| text)
            .or(of_package)
            .ok_or_else(expected)?;
        let (version, build) = text.split_once('-').ok_or_else(expected)?;
        let is_part =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // Marks of other distributions: `el8_4`, `fc36`, `amzn2`, `ph4`.
        let is_foreign = |part: &str| {
            ["el", "fc", "amzn", "ph", "al", "alnx"]
                .iter()
                .any(|prefix| super::rpm::is_numbered(part, prefix))
        };
        if !build.split('.').all(is_part) || build.split('.').any(is_foreign) {
            return Err(expected());
        }
        if let Some((_, flavour)) = of_uname {
            return Ok(Self {
                version,
                build,
                counter: None,
                flavour,
            });
        }
        let position = build.rfind('.').ok_or_else(expected)?;
        Ok(Self {
            version,
            build: &build[..position],
            counter: Some(&build[position..]),
            flavour: DEFAULT,
        })
    }

    fn of(kernel: &'a Kernel) -> Result<Self, TargetError> {
        Self::parse(kernel.release.as_str(), kernel.architecture)
    }

    fn uts_release(&self) -> String {
        format!("{}-{}-{}", self.version, self.build, self.flavour)
    }

    /// `5.14.21-150400.22.1`.
    fn package_version(&self) -> Result<String, TargetError> {
        let counter = self.counter.ok_or_else(|| {
            let message = format!(
                "its packages have a rebuild counter that `uname -r` does not show: {EXPECTED}"
            );
            TargetError::unknown(message)
        })?;
        Ok(format!("{}-{}{counter}", self.version, self.build))
    }

    /// Returns the release of Leap for a build: its number starts with 150400 or lp152. Those of Tumbleweed are small.
    fn leap(&self) -> Option<String> {
        let number = self.build.split('.').next().unwrap_or_default();
        match number.strip_prefix("lp") {
            Some(digits) if digits.len() == 3 => Some(format!("{}.{}", &digits[..2], &digits[2..])),
            None if number.len() == 6 => {
                let (major, rest) = number.split_at_checked(2)?;
                let minor: u32 = rest.get(..2)?.parse().ok()?;
                (major.parse::<u32>().ok()? >= 15).then(|| format!("{major}.{minor}"))
            }
            _ => None,
        }
    }

    /// Returns the directories that can contain the packages.
    fn folders(&self, part: &str) -> Vec<String> {
        let Some(leap) = self.leap() else {
            let mut folders = vec![format!("{TUMBLEWEED}{part}")];
            for project in ["stable", "HEAD"] {
                for standard in ["standard", "Submit/standard"] {
                    folders.push(format!("{KERNEL_PROJECT}/{project}/{standard}/{part}"));
                }
            }
            return folders;
        };
        // Since version 16, updates are in the release's own repository.
        let count = if leap.starts_with("15.") {
            LEAP.len()
        } else {
            2
        };
        let named = |base: &&str| base.replace("$release", &leap) + part;
        LEAP[..count].iter().map(named).collect()
    }

    fn packages(&self, kernel: &Kernel) -> Result<Vec<WantedPackage>, TargetError> {
        let machine = kernel.architecture.machine();
        let version = self.package_version()?;
        let at = |name: &str, part: &str| {
            let file = format!("{name}-{version}.{part}.rpm");
            let address = |folder: String| -> Arc<str> { format!("{folder}/{file}").into() };
            let candidates = self.folders(part).into_iter().map(address).collect();
            WantedPackage::at(candidates, PackageFormat::Rpm)
        };
        Ok(vec![
            at(&format!("kernel-{}-devel", self.flavour), machine),
            at("kernel-devel", "noarch"),
        ])
    }
}

/// Returns the names of the packages with the sources for a flavour: some flavours have their own.
fn sources_of(flavour: &str) -> Vec<String> {
    let mut names = vec!["kernel-devel".to_owned()];
    if flavour != DEFAULT {
        names.insert(
            0,
            format!("kernel-devel-{}", flavour.trim_end_matches("_debug")),
        );
    }
    names
}

/// Returns the two packages among those that a kernel names.
fn named_packages(kernel: &Kernel) -> Result<Vec<WantedPackage>, TargetError> {
    let flavour = Parts::of(kernel)?.flavour;
    let all = named(kernel);
    let is_rpm = |file: &str| PackageFormat::of_name(file) == Some(PackageFormat::Rpm);
    // After the name come version and release, separated by a dash.
    let name_of = |file: &str| file.rsplitn(3, '-').nth(2).map(str::to_owned);
    let find = |name: &str| {
        all.iter()
            .position(|one| name_of(&one.file).as_deref() == Some(name))
    };
    let tree_name = format!("kernel-{flavour}-devel");
    let tree = find(&tree_name);
    let sources = sources_of(flavour).iter().find_map(|name| find(name));
    if all.iter().any(|one| is_rpm(&one.file)) {
        let missing = match (tree, sources) {
            (None, _) => Some(tree_name.as_str()),
            (_, None) => Some("kernel-devel (noarch)"),
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(TargetError::packages(format!(
                "its packages lack {missing}"
            )));
        }
    }
    let wanted = all
        .into_iter()
        .enumerate()
        .filter(|(position, one)| !is_rpm(&one.file) || [tree, sources].contains(&Some(*position)))
        .map(|(_, one)| one.wanted(PackageFormat::Rpm));
    Ok(wanted.collect())
}

/// Returns the release of the default kernel in package format, with the rebuild counter, and the releases of other
/// kernels in the format of `uname -r`.
fn release_of(package: &RpmName<'_>) -> Option<String> {
    let flavour = package
        .name
        .strip_prefix("kernel-")?
        .strip_suffix("-devel")?;
    if flavour == DEFAULT {
        return Some(package.release());
    }
    let (build, _counter) = package.release.rsplit_once('.')?;
    FLAVOURS
        .contains(&flavour)
        .then(|| format!("{}-{build}-{flavour}", package.version))
}

/// Returns the release, as named by SUSE's packages (`15.4` of `150400`), and the line.
fn series(kernel: &Kernel) -> Series {
    let build = kernel.release.as_str().split('-').nth(1);
    let code = build
        .and_then(|build| build.split('.').next())
        .filter(|code| code.len() == 6)
        .and_then(|code| code.parse::<u32>().ok());
    let release = code.map_or_else(String::new, |code| {
        format!("{}.{}", code / 10_000, code / 100 % 100)
    });
    Series::with_line(release, kernel)
}

macro_rules! shared {
    () => {
        fn series(&self, kernel: &Kernel) -> Series {
            series(kernel)
        }

        fn check_release(
            &self,
            release: &KernelRelease,
            architecture: Architecture,
        ) -> Result<(), TargetError> {
            Parts::parse(release.as_str(), architecture).map(drop)
        }

        fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
            Ok(vec![Parts::of(kernel)?.uts_release()])
        }

        fn mount_points(&self) -> &'static [&'static str] {
            &["usr/src/*"]
        }

        fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
            let Parts {
                version,
                build,
                flavour,
                ..
            } = Parts::of(kernel)?;
            let machine = kernel.architecture.machine();
            let folder = |middle: String| -> std::path::PathBuf {
                format!("/usr/src/linux-{version}-{build}{middle}-obj/{machine}/{flavour}").into()
            };
            let mut names = vec![folder(String::new())];
            if flavour != DEFAULT {
                // For flavours with their own sources.
                names.push(folder(format!("-{flavour}")));
            }
            Ok(BuildFolder { names, search: &[] })
        }
    };
}

impl Target for OpenSuse {
    fn ids(&self) -> &'static [&'static str] {
        &["opensuse"]
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if kernel.packages.is_empty() {
            return Parts::of(kernel)?.packages(kernel);
        }
        named_packages(kernel)
    }

    fn rpm_index(&self) -> Option<RpmIndex> {
        let leap = LEAP[1..].iter().copied();
        Some(RpmIndex {
            repositories: leap.chain([TUMBLEWEED]).map(str::to_owned).collect(),
            oldest_release: 15,
            release_of,
            common: Some(|release| {
                let flavour = release.rsplit('-').next().unwrap_or(DEFAULT);
                let is_flavour = FLAVOURS.contains(&flavour);
                sources_of(if is_flavour { flavour } else { DEFAULT })
            }),
            kernel_version: |_| None,
        })
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let parts = Parts::of(kernel).ok()?;
        let id = if parts.leap().is_some() {
            "opensuse-leap"
        } else {
            "opensuse-tumbleweed"
        };
        Some(LoaderName {
            target: id.parse().ok()?,
            release: parts.uts_release().parse().ok()?,
            version: kernel.version.clone(),
        })
    }

    shared!();
}

impl Target for Sles {
    fn ids(&self) -> &'static [&'static str] {
        &["sles"]
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if kernel.packages.is_empty() {
            return Ok(Vec::new());
        }
        named_packages(kernel)
    }

    fn tree_kind(&self, kernel: &Kernel) -> Result<TreeKind, TargetError> {
        if !kernel.packages.is_empty() {
            return Ok(TreeKind::Headers);
        }
        let version = Parts::of(kernel)?.package_version()?;
        let machine = kernel.architecture.machine();
        let package = |(name, part): (&str, &str)| SubscribedPackage {
            name: format!("{name}={version}"),
            file: format!("{name}-{version}.{part}.rpm"),
        };
        Ok(TreeKind::Subscription(Subscription {
            manager: PackageManager::Zypper,
            packages: [
                ("kernel-default-devel", machine),
                ("kernel-devel", "noarch"),
            ]
            .map(package)
            .into(),
        }))
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let release = Parts::of(kernel).ok()?.uts_release();
        LoaderName::with_other_release(kernel, &release)
    }

    shared!();
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn urls_of_both_packages_are_derived() {
        let kernel = kernel("opensuse 5.14.21-150400.22.1.x86_64 1 amd64").0;
        let found = OpenSuse
            .header_packages(&kernel, Architecture::Amd64)
            .unwrap();
        let first: Vec<_> = found.iter().map(|one| &**one.url()).collect();
        let folder = "https://mirrors.edge.kernel.org/opensuse/distribution/leap/15.4/repo/oss";
        assert_eq!(
            first,
            [
                format!("{folder}/x86_64/kernel-default-devel-5.14.21-150400.22.1.x86_64.rpm"),
                format!("{folder}/noarch/kernel-devel-5.14.21-150400.22.1.noarch.rpm"),
            ]
        );
        assert_eq!(
            OpenSuse.build_folder(&kernel),
            Ok(BuildFolder::exactly(
                "/usr/src/linux-5.14.21-150400.22-obj/x86_64/default"
            ))
        );
        assert_eq!(
            OpenSuse.uts_releases(&kernel).unwrap(),
            ["5.14.21-150400.22-default"]
        );
        let name = OpenSuse.loader_name(&kernel).unwrap();
        assert_eq!(
            (name.target.as_str(), name.release.as_str()),
            ("opensuse-leap", "5.14.21-150400.22-default")
        );
    }

    #[test]
    fn releases_lead_to_their_repository_and_others_are_refused() {
        for (release, part) in [
            ("5.3.18-lp152.19.2.x86_64", "leap/15.2/repo/oss"),
            ("5.14.21-150500.55.7.1.x86_64", "leap/15.5/repo/oss"),
            ("4.12.14-150000.150.1.x86_64", "leap/15.0/repo/oss"),
            ("6.1.4-1.1.x86_64", "tumbleweed/repo/oss"),
            (
                "6.12.0-160000.5.1.x86_64",
                "distribution/leap/16.0/repo/oss",
            ),
        ] {
            let kernel = kernel(&format!("opensuse {release} 1 amd64")).0;
            let url = &addresses(&OpenSuse, &kernel)[0];
            assert!(url.contains(part), "{url}");
        }
        for release in [
            "5.14.0-284.11.1.el9_2.x86_64",
            "5.15.0-91-generic",
            "6.1.55",
        ] {
            let found = OpenSuse.check_release(&release.parse().unwrap(), Architecture::Amd64);
            assert!(found.is_err(), "{release}");
        }
    }

    #[test]
    fn leap_16_is_recognised_and_flavours_have_their_own_trees() {
        let leap = kernel("opensuse 6.12.0-160000.5.1.x86_64 1 amd64").0;
        let name = OpenSuse.loader_name(&leap).unwrap();
        assert_eq!(
            (name.target.as_str(), name.release.as_str()),
            ("opensuse-leap", "6.12.0-160000.5-default")
        );
        for (release, tree, sources, folder) in [
            (
                "6.4.0-150600.23.7-64kb",
                "kernel-64kb-devel-6.4.0-150600.23.7.1.aarch64.rpm",
                "kernel-devel-6.4.0-150600.23.7.1.noarch.rpm",
                "linux-6.4.0-150600.23.7-obj/aarch64/64kb",
            ),
            (
                "6.4.0-150600.8.5-azure",
                "kernel-azure-devel-6.4.0-150600.8.5.1.aarch64.rpm",
                "kernel-devel-azure-6.4.0-150600.8.5.1.noarch.rpm",
                "linux-6.4.0-150600.8.5-azure-obj/aarch64/azure",
            ),
        ] {
            let kernel = kernel(&format!("sles {release} 1 arm64"))
                .with(&format!("http://a/{tree}"))
                .with(&format!("http://a/{sources}"))
                .0;
            let check = Sles.check_release(&kernel.release, kernel.architecture);
            assert_eq!(check, Ok(()), "{release}");
            let found = Sles.header_packages(&kernel, Architecture::Arm64).unwrap();
            assert_eq!(found.len(), 2, "{release}");
            assert_eq!(Sles.uts_releases(&kernel).unwrap(), [release]);
            let folders = Sles.build_folder(&kernel).unwrap().names;
            assert!(
                folders.contains(&format!("/usr/src/{folder}").into()),
                "{folders:?}"
            );
        }
    }

    #[test]
    fn urls_on_mirrors_are_grouped_and_package_sets_must_be_complete() {
        let text = "opensuse 5.14.21-150400.22.1.x86_64 1 amd64";
        let tree = "kernel-default-devel-5.14.21-150400.22.1.x86_64.rpm";
        let sources = "kernel-devel-5.14.21-150400.22.1.noarch.rpm";
        let whole = ["http://a", "http://b"]
            .iter()
            .fold(kernel(text), |kernel, host| {
                kernel
                    .with(&format!("{host}/{tree}"))
                    .with(&format!("{host}/{sources}"))
            });
        let found = OpenSuse
            .header_packages(&whole.0, Architecture::Amd64)
            .unwrap();
        let counts: Vec<_> = found.iter().map(|one| one.candidates.len()).collect();
        assert_eq!(counts, [2, 2]);
        let half = kernel(text).with(&format!("http://a/{tree}")).0;
        let error = OpenSuse
            .header_packages(&half, Architecture::Amd64)
            .unwrap_err();
        assert!(error.to_string().contains("lack kernel-devel"), "{error}");
    }

    #[test]
    fn sles_uses_its_package_manager() {
        let kernel = kernel("sles 5.14.21-150400.22.1.x86_64 1 amd64").0;
        let Ok(TreeKind::Subscription(found)) = Sles.tree_kind(&kernel) else {
            panic!("no subscription");
        };
        assert_eq!(
            found.names(),
            [
                "kernel-default-devel=5.14.21-150400.22.1",
                "kernel-devel=5.14.21-150400.22.1"
            ]
        );
        assert_eq!(
            found.packages[1].file,
            "kernel-devel-5.14.21-150400.22.1.noarch.rpm"
        );
    }
}
