//! Photon: the package of a kernel is in one of three repositories; flavours have their own packages.

use super::package::{PackageFormat, WantedPackage};
use super::repository::{RpmIndex, RpmName};
use super::rpm::{in_folders, is_numbered, one_package};
use super::{BuildFolder, LoaderName, Series, Target, TargetError};
use crate::kernel::{Architecture, Kernel, KernelRelease, file_name};

/// Photon OS.
pub(super) struct Photon;

/// A release without its architecture, split at the mark: `4.19.112-1.ph3-aws` is `4.19.112-1.ph3` and `aws`.
struct Parts<'a> {
    release: &'a str,
    number: &'a str,
    flavour: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Lists of 2022 append the architecture to the release, `uname -r` does not.
    fn parse(release: &'a str, architecture: Architecture) -> Result<Self, TargetError> {
        let text = release
            .strip_suffix(architecture.machine())
            .and_then(|text| text.strip_suffix('.'))
            .unwrap_or(release);
        let expected = || TargetError::release("a Photon release looks like `5.10.118-10.ph4`");
        let position = text.rfind(".ph").ok_or_else(expected)?;
        let mark = &text[position + 1..];
        if !is_numbered(mark, "ph") || !text[..position].contains('-') {
            return Err(expected());
        }
        let (mark, flavour) = match mark.split_once('-') {
            Some((mark, flavour)) => (mark, Some(flavour)),
            None => (mark, None),
        };
        let number = &mark[2..];
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        if flavour == Some("esx") {
            return Err(TargetError::release(
                "Photon's esx kernels have no tracepoints: no driver works with them",
            ));
        }
        Ok(Self {
            release: &text[..position + 1 + mark.len()],
            number,
            flavour,
        })
    }

    fn of(kernel: &'a Kernel) -> Result<Self, TargetError> {
        Self::parse(kernel.release.as_str(), kernel.architecture)
    }

    fn uts_release(&self) -> String {
        match self.flavour {
            Some(flavour) => format!("{}-{flavour}", self.release),
            None => self.release.to_owned(),
        }
    }

    fn file(&self, architecture: Architecture) -> String {
        let flavour = self
            .flavour
            .map_or(String::new(), |flavour| format!("{flavour}-"));
        format!(
            "linux-{flavour}devel-{}.{}.rpm",
            self.release,
            architecture.machine()
        )
    }
}

/// Returns the URL of one of the three repositories of a Photon release.
fn repository(number: &str, part: &str) -> String {
    format!("https://packages.vmware.com/photon/{number}.0/photon{part}_{number}.0_$arch/")
}

/// `linux-devel` is for the default kernel, `linux-aws-devel` for a flavour; no driver can be built for `esx`.
fn release_of(package: &RpmName<'_>) -> Option<String> {
    let middle = package.name.strip_prefix("linux")?.strip_suffix("-devel")?;
    let release = format!("{}-{}", package.version, package.release);
    match middle.strip_prefix('-') {
        None => middle.is_empty().then_some(release),
        Some("esx") => None,
        Some(flavour) => Some(format!("{release}-{flavour}")),
    }
}

impl Target for Photon {
    fn ids(&self) -> &'static [&'static str] {
        &["photon"]
    }

    fn series(&self, kernel: &Kernel) -> Series {
        Parts::of(kernel).map_or_else(
            |_| Series::default(),
            |parts| Series::with_line(format!("ph{}", parts.number), kernel),
        )
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), TargetError> {
        Parts::parse(release.as_str(), architecture).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        let parts = Parts::of(kernel)?;
        let file = parts.file(kernel.architecture);
        // Lists name packages of other flavours for releases without a flavour.
        let of_flavour = |url: &str| {
            let name = file_name(url);
            let flavour = name
                .strip_prefix("linux-")?
                .split_once("devel-")?
                .0
                .to_owned();
            (PackageFormat::of_name(&name) == Some(PackageFormat::Rpm)).then_some(flavour)
        };
        let wanted = parts
            .flavour
            .map_or(String::new(), |flavour| format!("{flavour}-"));
        let mut flavours = kernel
            .packages
            .iter()
            .filter_map(|one| of_flavour(&one.url));
        if kernel
            .packages
            .iter()
            .all(|one| of_flavour(&one.url).is_some_and(|found| found != wanted))
            && let Some(found) = flavours.next()
        {
            return Err(TargetError::packages(format!(
                "its package has flavour {}: expected {file}",
                found.trim_end_matches('-')
            )));
        }
        one_package(kernel, &file, || {
            let (number, machine) = (parts.number, kernel.architecture.machine());
            let folder = |part: &str| repository(number, part).replace("$arch", machine) + machine;
            let order = if number == "3" {
                ["_updates", "_release", ""]
            } else {
                ["", "_updates", "_release"]
            };
            Ok(in_folders(&order.map(folder), &file))
        })
    }

    fn rpm_index(&self) -> Option<RpmIndex> {
        let of_number = |number| ["", "_release", "_updates"].map(|part| repository(number, part));
        Some(RpmIndex {
            repositories: ["5", "4", "3", "2", "1"]
                .into_iter()
                .flat_map(of_number)
                .collect(),
            oldest_release: 0,
            release_of,
            common: None,
            kernel_version: |_| None,
        })
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        Ok(vec![Parts::of(kernel)?.uts_release()])
    }

    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let release = Parts::of(kernel).ok()?.uts_release();
        LoaderName::with_other_release(kernel, &release)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/*"]
    }

    /// The directory's name has the flavour before `headers`, after the release, or not at all.
    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        let uts_release = Parts::of(kernel)?.uts_release();
        Ok(BuildFolder {
            names: vec![format!("/usr/src/linux-headers-{uts_release}").into()],
            search: &["usr/src/linux-*headers-*"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn both_forms_of_a_release_give_the_same_package() {
        for text in [
            "photon 4.19.15-2.ph3.aarch64 1 arm64",
            "photon 4.19.15-2.ph3 1 arm64",
        ] {
            let kernel = kernel(text).0;
            assert_eq!(
                addresses(&Photon, &kernel)[0],
                "https://packages.vmware.com/photon/3.0/photon_updates_3.0_aarch64/aarch64/linux-devel-4.19.15-2.ph3.aarch64.rpm"
            );
            assert_eq!(Photon.uts_releases(&kernel).unwrap(), ["4.19.15-2.ph3"]);
        }
        let named = |text: &str| Photon.loader_name(&kernel(text).0);
        let with_machine = named("photon 4.19.15-2.ph3.aarch64 1 arm64").unwrap();
        assert_eq!(with_machine.release.as_str(), "4.19.15-2.ph3");
        assert_eq!(named("photon 5.10.118-10.ph4 1 amd64"), None);
    }

    #[test]
    fn packages_of_another_flavour_are_refused() {
        let find = |release: &str, file: &str| {
            let kernel = kernel(&format!("photon {release} 1 amd64"));
            let kernel = kernel.with(&format!("http://a/{file}")).0;
            let found = Photon.header_packages(&kernel, Architecture::Amd64);
            found.map(|packages| packages.len())
        };
        let aws = "linux-aws-devel-5.10.118-10.ph4.x86_64.rpm";
        assert_eq!(find("5.10.118-10.ph4-aws", aws), Ok(1));
        let error = find("5.10.118-10.ph4", aws).unwrap_err().to_string();
        assert!(error.contains("has flavour aws"), "{error}");
        assert_eq!(find("5.10.118-10.ph4", "headers.tar.gz"), Ok(1));
        assert_eq!(
            find("5.10.118-10.ph4", "linux-devel-5.10.118-10.ph4.x86_64.rpm"),
            Ok(1)
        );
    }

    #[test]
    fn releases_of_other_distributions_are_refused() {
        for release in [
            "5.10.118-10.ph4-esx",
            "5.10.0-18-amd64",
            "6.1.1.ph5",
            "5.1-1.phx",
        ] {
            let found = Photon.check_release(&release.parse().unwrap(), Architecture::Amd64);
            assert!(found.is_err(), "{release}");
        }
    }
}
