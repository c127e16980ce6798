//! Flatcar: a release is the version of the operating system. Each release publishes a list with its kernel and
//! compiler versions, next to the kernel's configuration.

use std::borrow::Cow;
use std::sync::Arc;

use super::package::{PackageFormat, WantedPackage};
use super::tree::{BuildFolder, SourceTree, TreeKind};
use super::upstream::{NO_BUILD_FOLDER, SourceRelease, source_package};
use super::vanilla::VANILLA;
use super::{Target, TargetError, gcc};
use crate::kernel::{Architecture, Kernel, KernelRelease, Upstream};

/// Flatcar Container Linux.
pub(super) struct Flatcar;

/// The first major number of a release that driverkit accepts.
const FIRST_MAJOR: u32 = 1500;

/// Releases up to this one used another numbering, in which the number does not show the channel.
const LAST_OLD_MAJOR: u32 = 2605;

const CHANNELS: [&str; 4] = ["stable", "beta", "alpha", "lts"];

/// A disk image named by lists of 2022 for every release; it is not usable for builds here.
const DEVELOPER_CONTAINER: &str = "flatcar_developer_container.bin.bz2";

/// Returns the channels that can have a release, most likely first; the URL of a list names the right one.
fn channels(kernel: &Kernel) -> Vec<&'static str> {
    let named = kernel.packages.iter().find_map(|package| {
        let (_, host) = package.url.split_once("://")?;
        let word = host.split('.').next()?;
        CHANNELS.into_iter().find(|channel| *channel == word)
    });
    if let Some(channel) = named {
        return vec![channel];
    }
    let first = match kernel.release.numbers() {
        [major, ..] if major <= LAST_OLD_MAJOR => "stable",
        [_, 0, _] => "alpha",
        [_, 1, _] => "beta",
        _ => "stable",
    };
    let mut channels = vec![first];
    channels.extend(CHANNELS.into_iter().filter(|channel| *channel != first));
    channels
}

fn published(kernel: &Kernel, file: &str) -> WantedPackage {
    let (release, architecture) = (&kernel.release, kernel.architecture);
    let address = |channel: &&str| -> Arc<str> {
        format!("https://{channel}.release.flatcar-linux.net/{architecture}-usr/{release}/{file}")
            .into()
    };
    WantedPackage::at(
        channels(kernel).iter().map(address).collect(),
        PackageFormat::Tar,
    )
}

fn upstream(kernel: &Kernel) -> Result<SourceRelease<'_>, TargetError> {
    let upstream = kernel.upstream.as_ref().ok_or_else(|| {
        TargetError::unknown(
            "the kernel of this release is not known yet: Flatcar's list of packages names it",
        )
    })?;
    VANILLA.parse(&upstream.version)
}

impl Target for Flatcar {
    fn ids(&self) -> &'static [&'static str] {
        &["flatcar"]
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), TargetError> {
        let text = release.as_str();
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_version = text.split('.').count() == 3 && text.split('.').all(is_number);
        if is_version && release.numbers()[0] >= FIRST_MAJOR {
            Ok(())
        } else {
            Err(TargetError::release(format!(
                "a release of Flatcar is the version of the system, from {FIRST_MAJOR}.0.0 on, as in `3033.2.4`"
            )))
        }
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        let is_container =
            |package: &crate::kernel::Package| package.file_name() == DEVELOPER_CONTAINER;
        if kernel.packages.iter().all(is_container) {
            let addresses = upstream(kernel)?.addresses();
            return Ok(vec![WantedPackage::at(addresses, PackageFormat::Tar)]);
        }
        let mut kernel = kernel.clone();
        kernel.packages.retain(|package| !is_container(package));
        let release = SourceRelease {
            version: "",
            candidate: None,
            rest: "",
        };
        source_package(&kernel, &release)
    }

    fn tree_kind(&self, _kernel: &Kernel) -> Result<TreeKind, TargetError> {
        Ok(TreeKind::Source(SourceTree {
            local_version: String::new(),
            extra_version: Some("-flatcar".to_owned()),
        }))
    }

    fn upstream_list(&self, kernel: &Kernel) -> Option<WantedPackage> {
        Some(published(kernel, "flatcar_production_image_packages.txt"))
    }

    /// Reads one package per line, `category/name-version[-revision]::repository`.
    fn read_upstream(&self, text: &str) -> Result<Upstream, TargetError> {
        let version = |name: &str| {
            text.lines().find_map(|line| {
                let rest = line.trim().strip_prefix(name)?.strip_prefix('-')?;
                let version = rest.split("::").next()?.split('-').next()?;
                version
                    .starts_with(|digit: char| digit.is_ascii_digit())
                    .then_some(version)
            })
        };
        // Rejects a list that ends in the middle of a line, because that line may have a truncated version.
        if !text.ends_with('\n') {
            let message = "the list of packages ends in the middle of a line";
            return Err(TargetError::unknown(message));
        }
        let kernel = version("sys-kernel/coreos-kernel").ok_or_else(|| {
            TargetError::unknown("the list of packages names no sys-kernel/coreos-kernel")
        })?;
        Ok(Upstream {
            version: kernel
                .parse()
                .map_err(|error| TargetError::unknown(format!("{error}")))?,
            gcc: version("sys-devel/gcc").map(Arc::from),
        })
    }

    fn published_config(&self, kernel: &Kernel) -> Option<WantedPackage> {
        Some(published(
            kernel,
            "flatcar_production_image_kernel_config.txt",
        ))
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        Ok(vec![upstream(kernel)?.uts_version() + "-flatcar"])
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &[]
    }

    fn build_folder(&self, _kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        Err(TargetError::unknown(NO_BUILD_FOLDER))
    }

    fn default_gcc<'a>(&self, kernel: &'a Kernel) -> Cow<'a, str> {
        match kernel.upstream.as_deref() {
            Some(Upstream { gcc: Some(gcc), .. }) => (&**gcc).into(),
            Some(upstream) => gcc::default_gcc(&upstream.version).into(),
            None => gcc::default_gcc(&kernel.release).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn the_list_of_packages_gives_kernel_and_compiler() {
        let text = "sys-devel/gcc-config-2.5::x\nsys-devel/gcc-10.3.0-r2::portage-stable\n\
                    sys-kernel/coreos-firmware-2022-r1::x\nsys-kernel/coreos-kernel-5.15.63::coreos\n";
        let upstream = Flatcar.read_upstream(text).unwrap();
        assert_eq!(upstream.version.as_str(), "5.15.63");
        assert_eq!(upstream.gcc.as_deref(), Some("10.3.0"));
        assert!(Flatcar.read_upstream("<html>").is_err());

        let mut kernel = kernel("flatcar 3227.2.2 1 amd64").0;
        assert!(
            Flatcar
                .header_packages(&kernel, Architecture::Amd64)
                .is_err()
        );
        kernel.upstream = Some(Box::new(upstream));
        assert_eq!(Flatcar.default_gcc(&kernel), "10.3.0");
        assert_eq!(Flatcar.uts_releases(&kernel).unwrap(), ["5.15.63-flatcar"]);
        let wanted = Flatcar
            .header_packages(&kernel, Architecture::Amd64)
            .unwrap();
        assert_eq!(wanted[0].file_name(), "linux-5.15.63.tar.xz");
    }

    #[test]
    fn the_channel_is_guessed_or_read_from_a_named_url() {
        let bare = |release: &str| kernel(&format!("flatcar {release} 1 arm64")).0;
        assert_eq!(channels(&bare("3033.2.4"))[0], "stable");
        assert_eq!(channels(&bare("3033.1.0"))[0], "beta");
        assert_eq!(
            channels(&bare("3185.0.0")),
            ["alpha", "stable", "beta", "lts"]
        );
        let url = "https://beta.release.flatcar-linux.net/arm64-usr/3185.0.0/flatcar_developer_container.bin.bz2";
        let named = kernel("flatcar 3185.0.0 1 arm64").with(url).0;
        let list = Flatcar.upstream_list(&named).unwrap();
        assert_eq!(
            list.candidates,
            ["https://beta.release.flatcar-linux.net/arm64-usr/3185.0.0/flatcar_production_image_packages.txt"]
                .map(Arc::<str>::from)
        );
    }

    #[test]
    fn releases_are_checked() {
        for (release, is_good) in [
            ("3185.0.0", true),
            ("1688.5.3", true),
            ("1499.0.0", false),
            ("3185.0.0-x", false),
            ("5.15.63", false),
        ] {
            let found = Flatcar.check_release(&release.parse().unwrap(), Architecture::Amd64);
            assert_eq!(found.is_ok(), is_good, "{release}");
        }
    }
}
