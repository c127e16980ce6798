//! Arch Linux: the archive keeps every package. Lists use the package's version, hosts the format of `uname -r`.

use std::sync::Arc;

use super::package::{PackageFormat, WantedPackage, named};
use super::{BuildFolder, LoaderName, Target, TargetError};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// Arch Linux and Arch Linux ARM.
pub(super) struct Arch;

/// A kernel package of Arch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Stable,
    Hardened,
    Zen,
    Lts,
    Aarch64,
}

impl Flavour {
    fn of(release: &str, architecture: Architecture) -> Self {
        if architecture == Architecture::Arm64 {
            Self::Aarch64
        } else if release.contains("hardened") || release.contains(".a-") {
            Self::Hardened
        } else if release.contains("zen") {
            Self::Zen
        } else if release.contains("arch") {
            Self::Stable
        } else {
            Self::Lts
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Stable => "linux-headers",
            Self::Hardened => "linux-hardened-headers",
            Self::Zen => "linux-zen-headers",
            Self::Lts => "linux-lts-headers",
            Self::Aarch64 => "linux-aarch64-headers",
        }
    }

    /// The suffixes of `uname -r`; Arch Linux ARM has used two.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Stable => &[""],
            Self::Hardened => &["-hardened"],
            Self::Zen => &["-zen"],
            Self::Lts => &["-lts"],
            Self::Aarch64 => &["-aarch64-ARCH", "-ARCH"],
        }
    }
}

/// Returns the package's version, `6.0.6.arch1-1`, from either format of a release.
fn package_version(kernel: &Kernel, flavour: Flavour) -> String {
    let release = kernel.release.as_str();
    let bare = flavour
        .suffixes()
        .iter()
        .find_map(|suffix| release.strip_suffix(suffix).filter(|_| !suffix.is_empty()))
        .unwrap_or(release);
    let mut text = bare.to_owned();
    // `6.8.0-arch1-1`: the word is part of the version, and the zero is dropped.
    if let Some(position) = bare.find('-')
        && bare[position + 1..].starts_with(|letter: char| letter.is_ascii_alphabetic())
    {
        let version = &bare[..position];
        let short = match version.strip_suffix(".0") {
            Some(short) if short.contains('.') => short,
            _ => version,
        };
        text = format!("{short}.{}", &bare[position + 1..]);
    }
    // Users of driverkit put the package's revision into the kernel version.
    if !text.contains('-') {
        text = format!("{text}-{}", kernel.version);
    }
    text
}

/// Returns the possible values of `uname -r` for a package's version.
fn uts_releases(version: &str, flavour: Flavour) -> Vec<String> {
    let end = version
        .find(|other: char| !other.is_ascii_digit() && other != '.')
        .unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let numbers = numbers.trim_end_matches('.');
    let zero = if numbers.split('.').count() == 2 {
        ".0"
    } else {
        ""
    };
    // The old hardened kernels kept the dot: `5.10.9.a-1-hardened`.
    let separator = match rest {
        _ if rest.starts_with('-') => "",
        _ if rest.starts_with("a-") => ".",
        _ => "-",
    };
    let with = |suffix: &&str| format!("{numbers}{zero}{separator}{rest}{suffix}");
    flavour.suffixes().iter().map(with).collect()
}

fn facts(kernel: &Kernel) -> (Flavour, Vec<String>) {
    let flavour = Flavour::of(kernel.release.as_str(), kernel.architecture);
    let mut releases = uts_releases(&package_version(kernel, flavour), flavour);
    let own = kernel.release.as_str();
    if let Some(position) = releases.iter().position(|release| release == own) {
        releases.swap(0, position);
    }
    (flavour, releases)
}

impl Target for Arch {
    fn ids(&self) -> &'static [&'static str] {
        &["arch"]
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), TargetError> {
        let text = release.as_str();
        let flavour = Flavour::of(text, architecture);
        let is_word = |word: &str| {
            let word = word.trim_start_matches(['-', '.']);
            let known = ["arch", "zen", "hardened", "lts", "aarch64", "ARCH", "a"];
            known.contains(&word.trim_end_matches(|digit: char| digit.is_ascii_digit()))
                || word.bytes().all(|byte| byte.is_ascii_digit())
        };
        let has_revision = text.contains('-') || flavour == Flavour::Stable;
        if has_revision && text.split(['-', '.']).all(is_word) {
            Ok(())
        } else {
            Err(TargetError::release(
                "a release of Arch looks like `6.8.1-arch1-1` or, as packages spell it, `6.8.1.arch1-1`",
            ))
        }
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if !kernel.packages.is_empty() {
            let wanted = |one: super::package::Named<'_>| one.wanted(PackageFormat::Pacman);
            return Ok(named(kernel).into_iter().map(wanted).collect());
        }
        let flavour = Flavour::of(kernel.release.as_str(), kernel.architecture);
        let version = package_version(kernel, flavour);
        let (package, machine) = (flavour.package(), kernel.architecture.machine());
        let hosts: &[&str] = match kernel.architecture {
            Architecture::Amd64 => &["https://archive.archlinux.org/packages/l"],
            Architecture::Arm64 => &[
                "https://alaa.ad24.cz/packages/l",
                "http://tardis.tiny-vps.com/aarm/packages/l",
            ],
        };
        // Newer packages are compressed with zstd, older ones with xz; the year of the change differs by architecture.
        let mut candidates: Vec<Arc<str>> = Vec::with_capacity(hosts.len() * 2);
        for host in hosts {
            for end in ["zst", "xz"] {
                let url = format!("{host}/{package}/{package}-{version}-{machine}.pkg.tar.{end}");
                candidates.push(url.into());
            }
        }
        Ok(vec![WantedPackage::at(candidates, PackageFormat::Pacman)])
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        Ok(facts(kernel).1)
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        // A release that no rule knows is already in the format of `uname -r`: `7.2.3-1-cachyos`.
        self.check_release(&kernel.release, kernel.architecture)
            .ok()?;
        let release = facts(kernel).1.swap_remove(0);
        LoaderName::with_other_release(kernel, &release)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/lib/modules/*/build"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        let folder = |release: String| format!("/usr/lib/modules/{release}/build").into();
        Ok(BuildFolder {
            names: facts(kernel).1.into_iter().map(folder).collect(),
            search: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn both_forms_give_the_same_package() {
        for (release, version, package, uts) in [
            (
                "6.0.6.arch1-1",
                "6.0.6.arch1-1",
                "linux-headers",
                "6.0.6-arch1-1",
            ),
            (
                "6.8.1-arch1-1",
                "6.8.1.arch1-1",
                "linux-headers",
                "6.8.1-arch1-1",
            ),
            (
                "6.8.0-arch1-1",
                "6.8.arch1-1",
                "linux-headers",
                "6.8.0-arch1-1",
            ),
            (
                "5.1.arch1-1",
                "5.1.arch1-1",
                "linux-headers",
                "5.1.0-arch1-1",
            ),
            (
                "6.0.6.arch1",
                "6.0.6.arch1-1",
                "linux-headers",
                "6.0.6-arch1-1",
            ),
            (
                "6.0.10.zen2-1",
                "6.0.10.zen2-1",
                "linux-zen-headers",
                "6.0.10-zen2-1-zen",
            ),
            (
                "6.0.10-zen2-1-zen",
                "6.0.10.zen2-1",
                "linux-zen-headers",
                "6.0.10-zen2-1-zen",
            ),
            (
                "5.10.9.a-1",
                "5.10.9.a-1",
                "linux-hardened-headers",
                "5.10.9.a-1-hardened",
            ),
            (
                "6.1.12.hardened1-1",
                "6.1.12.hardened1-1",
                "linux-hardened-headers",
                "6.1.12-hardened1-1-hardened",
            ),
            (
                "5.15.79-1",
                "5.15.79-1",
                "linux-lts-headers",
                "5.15.79-1-lts",
            ),
            (
                "5.15.79-1-lts",
                "5.15.79-1",
                "linux-lts-headers",
                "5.15.79-1-lts",
            ),
        ] {
            let kernel = kernel(&format!("arch {release} 1 amd64")).0;
            assert_eq!(
                addresses(&Arch, &kernel)[0],
                format!(
                    "https://archive.archlinux.org/packages/l/{package}/{package}-{version}-x86_64.pkg.tar.zst"
                )
            );
            assert_eq!(Arch.uts_releases(&kernel).unwrap(), [uts], "{release}");
            let check = Arch.check_release(&kernel.release, Architecture::Amd64);
            assert_eq!(check, Ok(()), "{release}");
        }
    }

    #[test]
    fn arm_kernels_have_one_package_and_two_forms_of_release() {
        let kernel = kernel("arch 5.10.12-1-ARCH 1 arm64").0;
        assert!(
            addresses(&Arch, &kernel)[1]
                .ends_with("/linux-aarch64-headers-5.10.12-1-aarch64.pkg.tar.xz")
        );
        let found = Arch.uts_releases(&kernel).unwrap();
        assert_eq!(found, ["5.10.12-1-ARCH", "5.10.12-1-aarch64-ARCH"]);
        assert_eq!(Arch.loader_name(&kernel), None);
    }

    #[test]
    fn releases_of_other_distributions_are_refused() {
        for release in [
            "5.15.0-91-generic",
            "5.10.0-18-amd64",
            "3.10.0-957.el7.x86_64",
            "6.1.55",
        ] {
            let found = Arch.check_release(&release.parse().unwrap(), Architecture::Amd64);
            assert!(found.is_err(), "{release}");
        }
    }
}
