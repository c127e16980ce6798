//! Identifies the header packages of a kernel by the names of their files.

use crate::kernel::{Architecture, Kernel};
use crate::target::TargetError;
use crate::target::package::Named;

/// The prefix of the flavours of the Raspberry Pi's own kernels.
pub(super) const PI: &str = "rpi";

/// The flavour of the Raspberry Pi 3 and 4; 5 has `rpi-2712`.
const PI_64: &str = "rpi-v8";

/// The parts of a Debian package's file name: `name_version_architecture.deb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::target) struct PackageFile {
    pub(in crate::target) name: String,
    pub(in crate::target) version: String,
    pub(in crate::target) architecture: String,
}

impl PackageFile {
    pub(in crate::target) fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(".deb")?.splitn(3, '_');
        let (name, version) = (parts.next()?, parts.next()?);
        let architecture = parts.next()?;
        // An epoch is not part of a file name, but some programs write it there.
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
        })
    }
}

/// Splits a release in the format of `uname -r` into ABI and the rest: flavour and architecture.
/// `5.10.0-0.deb10.17-rt-amd64` returns `5.10.0-0.deb10.17` and `rt-amd64`.
pub(crate) fn split_abi(uts_release: &str) -> Option<(&str, &str)> {
    let is_abi = |segment: &str| {
        segment.starts_with(|first: char| first.is_ascii_digit())
            || segment == "trunk"
            || segment
                .strip_prefix("rc")
                .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let mut position = 0_usize;
    for segment in uts_release.split('-') {
        if !is_abi(segment) {
            let (abi, rest) = uts_release.split_at_checked(position.checked_sub(1)?)?;
            return Some((abi, &rest[1..]));
        }
        position += segment.len() + 1;
    }
    None
}

/// The header packages of a kernel, identified by the names of their files.
pub(super) struct Headers {
    /// The version of the architecture's package.
    pub(super) version: String,
    /// The part of its name after `linux-headers-`.
    pub(super) uts_release: String,
    pub(super) abi: String,
    /// Flavour and architecture: `cloud-amd64`.
    pub(super) flavour: String,
    /// True if real-time kernels may use the headers of the other flavours.
    pub(super) is_real_time_shared: bool,
}

/// The parts of a header tree, in the order in which they are unpacked and named in keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Tree,
    Common,
    Programs,
}

impl Headers {
    pub(super) fn of(kernel: &Kernel) -> Result<Self, TargetError> {
        let release = kernel.release.as_str();
        // Lists put all kernels of the Raspberry Pi into one entry, which is named after none of them.
        let of_pi = release.strip_suffix(&format!("-{PI}-{}", kernel.architecture));
        let mut found: Vec<Self> = kernel
            .packages
            .iter()
            .filter_map(|package| PackageFile::parse(&package.file_name()))
            .filter(|file| file.architecture == kernel.architecture.as_str())
            .filter_map(|file| {
                let uts_release = file.name.strip_prefix("linux-headers-")?;
                let (abi, flavour) = split_abi(uts_release)?;
                let of_version = release
                    .strip_prefix(&file.version)
                    .and_then(|rest| rest.strip_prefix('-'));
                let is_wanted = uts_release == release
                    || of_version == Some(flavour)
                    || (release == file.version && flavour == kernel.architecture.as_str())
                    // The version already contains the flavour, and lists do not repeat it.
                    || (of_version.is_some() && of_version == flavour.strip_prefix("grsec-"))
                    || (of_pi == Some(&file.version) && flavour.strip_prefix(PI).is_some());
                is_wanted.then(|| Self {
                    uts_release: uts_release.to_owned(),
                    abi: abi.to_owned(),
                    flavour: flavour.to_owned(),
                    version: file.version.clone(),
                    is_real_time_shared: kernel.release.numbers() >= [6, 13, 0],
                })
            })
            .collect();
        // driverkit uses the one of the Raspberry Pi 3 and 4.
        found.sort_by_key(|headers| headers.flavour.starts_with(PI) && headers.flavour != PI_64);
        found.into_iter().next().ok_or_else(|| {
            TargetError::packages(format!(
                "none of its packages is the header package of {release}, a file named \
                     linux-headers-<ABI>-[<flavour>-]{0}_<version>_{0}.deb",
                kernel.architecture
            ))
        })
    }

    /// Returns the possible names of the package with the headers shared by flavours.
    pub(super) fn common(&self) -> Vec<String> {
        let plain = format!("linux-headers-{}-common", self.abi);
        match self.flavour.split('-').next() {
            // Real time is part of every kernel since 6.12, and Debian later began to build it from the shared headers.
            Some("rt") if self.is_real_time_shared => vec![plain.clone() + "-rt", plain],
            Some("rt") => vec![plain + "-rt"],
            Some("rpi") => vec![plain + "-rpi"],
            Some("grsec") => vec![plain + "-grsec"],
            _ => vec![plain],
        }
    }

    /// Returns the possible names of the package with the programs.
    pub(super) fn kbuild(&self) -> [String; 2] {
        let line: Vec<&str> = self.abi.splitn(3, '.').take(2).collect();
        let line = line.join(".");
        [
            format!("linux-kbuild-{}", self.abi),
            format!("linux-kbuild-{line}"),
        ]
    }

    /// Returns the package with the programs. Prefers the one for the build host, then the one with the headers' own
    /// version. One of another architecture is used if there is no other.
    pub(super) fn kbuild_for(
        &self,
        files: &[(PackageFile, Named<'_>)],
        host: Architecture,
    ) -> Result<PackageFile, TargetError> {
        let names = self.kbuild();
        files
            .iter()
            .map(|(file, _)| file)
            .filter(|file| names.contains(&file.name))
            .min_by_key(|file| {
                let is_native = file.architecture == host.as_str();
                (!is_native, file.version != self.version)
            })
            .cloned()
            .ok_or_else(|| {
                let message = format!("its packages lack {} or {}", names[0], names[1]);
                TargetError::packages(message)
            })
    }
}
