//! Debian: three header packages a kernel (architecture, common, kbuild), named by ABI and package version.
//!
//! A release has two forms: that of `uname -r`, with the ABI (`6.1.0-50-cloud-amd64`), and that of the package's
//! version (`6.1.176-1-cloud-amd64`), which lists and loaders use. Which package belongs to which is read from the
//! names of the package files, exactly; nothing is guessed from one form about the other.

use std::path::PathBuf;

use super::Target;
use crate::kernel::{Architecture, Kernel, KernelRelease, Package};

/// The target `debian`.
pub struct Debian;

/// What the file name of a Debian package says: `name_version_architecture.deb`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PackageFile {
    name: String,
    version: String,
    architecture: String,
}

impl PackageFile {
    /// Reads the last segment of an address or path; `%2B` and the like stand for their characters.
    fn of(package: &Package) -> Option<Self> {
        let url = package.url.split(['?', '#']).next()?;
        let file = decode_percent(url.rsplit('/').next()?);
        let mut parts = file.strip_suffix(".deb")?.splitn(3, '_');
        let (name, version) = (parts.next()?, parts.next()?);
        let architecture = parts.next()?;
        // An epoch is no part of a file's name, but some programs write it there.
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
        })
    }
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |position: usize| char::from(*bytes.get(position)?).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        match (bytes[position], digit(position + 1), digit(position + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                position += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                position += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Cuts a release of the form of `uname -r` into ABI and the rest: flavour and architecture.
/// `5.10.0-0.deb10.17-rt-amd64` gives `5.10.0-0.deb10.17` and `rt-amd64`.
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

/// The header packages of a kernel, told apart by the names of their files.
struct Headers {
    /// The package of the architecture.
    version: String,
    /// What it is named after `linux-headers-`.
    uts_release: String,
    abi: String,
    /// Flavour and architecture: `cloud-amd64`.
    flavour: String,
    /// Whether real-time kernels may share the headers of the others.
    is_real_time_shared: bool,
}

impl Headers {
    fn of(kernel: &Kernel) -> Result<Self, String> {
        let release = kernel.release.as_str();
        kernel
            .packages
            .iter()
            .filter_map(PackageFile::of)
            .filter(|file| file.architecture == kernel.architecture.as_str())
            .find_map(|file| {
                let uts_release = file.name.strip_prefix("linux-headers-")?;
                let (abi, flavour) = split_abi(uts_release)?;
                let is_wanted = uts_release == release
                    || release
                        .strip_prefix(&file.version)
                        .and_then(|rest| rest.strip_prefix('-'))
                        == Some(flavour);
                is_wanted.then(|| Self {
                    uts_release: uts_release.to_owned(),
                    abi: abi.to_owned(),
                    flavour: flavour.to_owned(),
                    version: file.version.clone(),
                    is_real_time_shared: kernel.release.numbers() >= [6, 13, 0],
                })
            })
            .ok_or_else(|| {
                format!(
                    "none of its packages is the header package of {release}, a file named \
                     linux-headers-<ABI>-[<flavour>-]{0}_<version>_{0}.deb",
                    kernel.architecture
                )
            })
    }

    /// The names that the package with the headers that flavours share can have.
    fn common(&self) -> Vec<String> {
        let plain = format!("linux-headers-{}-common", self.abi);
        match self.flavour.split('-').next() {
            // Since real time is part of every kernel (6.12), Debian came to build it from the shared headers.
            Some("rt") if self.is_real_time_shared => vec![plain.clone() + "-rt", plain],
            Some("rt") => vec![plain + "-rt"],
            Some("rpi") => vec![plain + "-rpi"],
            _ => vec![plain],
        }
    }

    /// The names that the package with the programs can have.
    fn kbuild(&self) -> [String; 2] {
        let line: Vec<&str> = self.abi.splitn(3, '.').take(2).collect();
        let line = line.join(".");
        [
            format!("linux-kbuild-{}", self.abi),
            format!("linux-kbuild-{line}"),
        ]
    }
}

impl Target for Debian {
    fn ids(&self) -> &'static [&'static str] {
        &["debian"]
    }

    fn architectures(&self) -> &'static [Architecture] {
        &Architecture::ALL
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        architecture: Architecture,
    ) -> Result<(), String> {
        let release = release.as_str();
        let end = format!("-{architecture}");
        // Kernels for large pages: `6.12.9-arm64-16k`.
        if release.ends_with(&end) || release.ends_with(&(end.clone() + "-16k")) {
            Ok(())
        } else {
            Err(format!("a Debian release ends in `{end}`"))
        }
    }

    fn check_packages(&self, kernel: &Kernel, host: Architecture) -> Result<(), String> {
        let headers = Headers::of(kernel)?;
        let files: Vec<PackageFile> = kernel
            .packages_for(host)
            .filter_map(PackageFile::of)
            .collect();
        let common = headers.common();
        let is_common =
            |file: &PackageFile| common.contains(&file.name) && file.version == headers.version;
        if !files.iter().any(is_common) {
            return Err(format!(
                "its packages lack {} of version {}",
                common.join(" or "),
                headers.version
            ));
        }
        let names = headers.kbuild();
        let mut kbuilds = files.iter().filter(|file| names.contains(&file.name));
        let mut others = kbuilds.clone().map(|file| file.architecture.as_str());
        if kbuilds.any(|file| file.architecture == host.as_str()) {
            return Ok(());
        }
        match others.next() {
            Some(other) => Err(format!(
                "its linux-kbuild is for {other} and cannot run on this {host} machine"
            )),
            None => Err(format!("its packages lack {} or {}", names[0], names[1])),
        }
    }

    fn uts_release(&self, kernel: &Kernel) -> Result<String, String> {
        Ok(Headers::of(kernel)?.uts_release)
    }

    /// The loader cuts version and revision out of `uname -v`, where it finds numbers only, and knows the flavours
    /// rt and cloud: what a version has after its revision (`~bpo12+1`, `+deb12u1`) is never asked for.
    fn loader_release(&self, kernel: &Kernel) -> Option<String> {
        let headers = Headers::of(kernel).ok()?;
        let architecture = kernel.architecture.as_str();
        let flavour = headers.flavour.strip_suffix(architecture)?;
        if !["", "rt-", "cloud-"].contains(&flavour) {
            return None;
        }
        let version = numbers(&headers.version)?;
        let alias = format!("{version}-{flavour}{architecture}");
        (alias != kernel.release.as_str()).then_some(alias)
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/*", "usr/lib/linux-kbuild-*"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<PathBuf, String> {
        Ok(PathBuf::from("/usr/src").join(format!("linux-headers-{}", self.uts_release(kernel)?)))
    }
}

/// The start of a package's version that is three numbers and a revision: `6.12.95-1` of `6.12.95-1~bpo12+1`.
fn numbers(version: &str) -> Option<&str> {
    let bytes = version.as_bytes();
    let mut position = 0;
    for separator in [Some(b'.'), Some(b'.'), Some(b'-'), None] {
        let digits = bytes[position..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        position += digits;
        if digits == 0 || (separator.is_some() && bytes.get(position).copied() != separator) {
            return None;
        }
        position += usize::from(separator.is_some());
    }
    Some(&version[..position])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str, architecture: Architecture, files: &[&str]) -> Kernel {
        Kernel {
            target: "debian".parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture,
            packages: files
                .iter()
                .map(|file| Package {
                    url: format!("http://host:1/pool/main/l/linux/{file}.deb").into(),
                    size_bytes: None,
                    sha256: None,
                    host: None,
                })
                .collect(),
            config_sha256: None,
            source: "inline".into(),
        }
    }

    fn amd64(release: &str, files: &[&str]) -> Kernel {
        kernel(release, Architecture::Amd64, files)
    }

    const BOOKWORM: [&str; 5] = [
        "linux-headers-6.1.0-50-amd64_6.1.176-1_amd64",
        "linux-headers-6.1.0-50-cloud-amd64_6.1.176-1_amd64",
        "linux-headers-6.1.0-50-rt-amd64_6.1.176-1_amd64",
        "linux-headers-6.1.0-50-common_6.1.176-1_all",
        "linux-kbuild-6.1_6.1.176-1_amd64",
    ];

    #[test]
    fn releases_are_cut_behind_the_abi() {
        for (release, expected) in [
            ("4.19.0-6-cloud-amd64", Some(("4.19.0-6", "cloud-amd64"))),
            (
                "5.10.0-0.deb10.17-rt-amd64",
                Some(("5.10.0-0.deb10.17", "rt-amd64")),
            ),
            ("4.19.0-0.bpo.19-amd64", Some(("4.19.0-0.bpo.19", "amd64"))),
            ("6.0.0-rc7-amd64", Some(("6.0.0-rc7", "amd64"))),
            ("6.12.9-arm64", Some(("6.12.9", "arm64"))),
            ("6.16.8+deb14-arm64", Some(("6.16.8+deb14", "arm64"))),
            ("6.12.9-arm64-16k", Some(("6.12.9", "arm64-16k"))),
            ("6.1.0-50-common", Some(("6.1.0-50", "common"))),
            ("amd64", None),
            ("6.1", None),
            ("", None),
        ] {
            assert_eq!(split_abi(release), expected, "{release}");
        }
    }

    #[test]
    fn header_package_is_found_by_both_forms_and_exactly() {
        for (release, uts) in [
            ("6.1.0-50-amd64", Some("6.1.0-50-amd64")),
            ("6.1.176-1-amd64", Some("6.1.0-50-amd64")),
            ("6.1.0-50-cloud-amd64", Some("6.1.0-50-cloud-amd64")),
            ("6.1.176-1-rt-amd64", Some("6.1.0-50-rt-amd64")),
            ("6.1.176-1-grsec-amd64", None),
            ("6.1.17-1-amd64", None),
            ("6.1.0-5-amd64", None),
            ("6.1.176-1-arm64", None),
        ] {
            let found = Debian.uts_release(&amd64(release, &BOOKWORM));
            assert_eq!(found.as_deref().ok(), uts, "{release}");
        }
        let kernel = amd64("6.1.176-1-rt-amd64", &BOOKWORM);
        let folder = Debian.build_folder(&kernel).unwrap();
        assert_eq!(
            folder,
            PathBuf::from("/usr/src/linux-headers-6.1.0-50-rt-amd64")
        );
    }

    #[test]
    fn odd_versions_and_encoded_names_are_read() {
        for (release, file, uts) in [
            (
                "6.12.95-1~bpo12+1-amd64",
                "linux-headers-6.12.95%2Bdeb12-amd64_6.12.95-1%7ebpo12%2B1_amd64",
                "6.12.95+deb12-amd64",
            ),
            (
                "5.10.136-1~deb10u3-amd64",
                "linux-headers-5.10.0-0.deb10.17-amd64_5.10.136-1~deb10u3_amd64",
                "5.10.0-0.deb10.17-amd64",
            ),
            (
                "6.0~rc7-1~exp1-amd64",
                "linux-headers-6.0.0-rc7-amd64_6.0~rc7-1~exp1_amd64",
                "6.0.0-rc7-amd64",
            ),
            (
                "4.19.118-2+deb10u1~bpo9+1-amd64",
                "linux-headers-4.19.0-0.bpo.9-amd64_4.19.118-2+deb10u1~bpo9+1_amd64",
                "4.19.0-0.bpo.9-amd64",
            ),
        ] {
            let found = Debian.uts_release(&amd64(release, &[file]));
            assert_eq!(found.as_deref(), Ok(uts));
        }
        let mut with_query = amd64("6.1.176-1-amd64", &BOOKWORM);
        with_query.packages[0].url = format!("{}?token=a/b", with_query.packages[0].url).into();
        assert!(Debian.uts_release(&with_query).is_ok());
    }

    #[test]
    fn large_page_kernels_are_told_apart() {
        let files = [
            "linux-headers-6.12.9-arm64_6.12.9-1_arm64",
            "linux-headers-6.12.9-arm64-16k_6.12.9-1_arm64",
        ];
        for (release, uts) in [
            ("6.12.9-1-arm64", "6.12.9-arm64"),
            ("6.12.9-1-arm64-16k", "6.12.9-arm64-16k"),
        ] {
            let kernel = kernel(release, Architecture::Arm64, &files);
            assert_eq!(Debian.uts_release(&kernel).as_deref(), Ok(uts));
            let architecture = kernel.architecture;
            assert_eq!(Debian.check_release(&kernel.release, architecture), Ok(()));
            assert_eq!(Debian.loader_release(&kernel), None);
        }
        let release = "6.12.9-amd64".parse().unwrap();
        assert!(Debian.check_release(&release, Architecture::Arm64).is_err());
    }

    #[test]
    fn missing_packages_are_named() {
        let check = |release: &str, files: &[&str], host| {
            Debian
                .check_packages(&amd64(release, files), host)
                .unwrap_or_else(|error| panic!("{error}"));
        };
        check("6.1.176-1-cloud-amd64", &BOOKWORM, Architecture::Amd64);
        let newer = [
            "linux-headers-6.12.95+deb12-rt-amd64_6.12.95-1~bpo12+1_amd64",
            "linux-headers-6.12.95+deb12-common-rt_6.12.95-1~bpo12+1_all",
            "linux-kbuild-6.12.95+deb12_6.12.95-1~bpo12+1_amd64",
        ];
        check("6.12.95+deb12-rt-amd64", &newer, Architecture::Amd64);
        let newest = [
            "linux-headers-7.2.13+deb14-rt-amd64_7.2.13-1_amd64",
            "linux-headers-7.2.13+deb14-common_7.2.13-1_all",
            "linux-kbuild-7.2.13+deb14_7.2.13-1_amd64",
        ];
        check("7.2.13-1-rt-amd64", &newest, Architecture::Amd64);

        for (release, files, host, text) in [
            (
                "6.1.176-1-rt-amd64",
                &BOOKWORM[..],
                Architecture::Amd64,
                "linux-headers-6.1.0-50-common-rt of version 6.1.176-1",
            ),
            (
                "6.1.176-1-amd64",
                &BOOKWORM[..4],
                Architecture::Amd64,
                "lack linux-kbuild-6.1.0-50 or linux-kbuild-6.1",
            ),
            (
                "6.1.176-1-amd64",
                &BOOKWORM,
                Architecture::Arm64,
                "linux-kbuild is for amd64 and cannot run on this arm64 machine",
            ),
            (
                "6.1.176-1-amd64",
                &BOOKWORM[1..],
                Architecture::Amd64,
                "header package of 6.1.176-1-amd64",
            ),
        ] {
            let found = Debian.check_packages(&amd64(release, files), host);
            assert!(found.as_ref().unwrap_err().contains(text), "{found:?}");
        }
    }

    #[test]
    fn loader_names_lack_what_follows_the_revision() {
        for (release, file, alias) in [
            (
                "6.12.95-1~bpo12+1-cloud-amd64",
                "linux-headers-6.12.95+deb12-cloud-amd64_6.12.95-1~bpo12+1_amd64",
                Some("6.12.95-1-cloud-amd64"),
            ),
            ("6.1.176-1-amd64", BOOKWORM[0], None),
            ("6.1.0-50-amd64", BOOKWORM[0], Some("6.1.176-1-amd64")),
            (
                "6.0~rc7-1~exp1-amd64",
                "linux-headers-6.0.0-rc7-amd64_6.0~rc7-1~exp1_amd64",
                None,
            ),
        ] {
            let found = Debian.loader_release(&amd64(release, &[file]));
            assert_eq!(found.as_deref(), alias, "{release}");
        }
    }
}
