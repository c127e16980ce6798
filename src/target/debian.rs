//! Debian: three header packages per kernel (architecture, common, kbuild), named by ABI and package version.
//!
//! A release has two formats: that of `uname -r`, with the ABI (`6.1.0-50-cloud-amd64`), and that of the package's
//! version (`6.1.176-1-cloud-amd64`), used by lists and loaders. The names of the package files show which package
//! belongs to which release; nothing is guessed from one format about the other.

mod headers;

pub(super) use headers::PackageFile;
pub(crate) use headers::split_abi;

use headers::{Headers, PI, Part};

use super::package::{Named, PackageFormat, WantedPackage, named};
use super::{BuildFolder, LoaderName, Series, Target, TargetError, series};
use crate::kernel::{Architecture, Kernel, KernelRelease};

/// The target `debian`.
pub struct Debian;

/// The numbers of Debian's releases, which packages use to name the release that they were built for.
const RELEASES: [(&str, &str); 9] = [
    ("7", "wheezy"),
    ("8", "jessie"),
    ("9", "stretch"),
    ("10", "buster"),
    ("11", "bullseye"),
    ("12", "bookworm"),
    ("13", "trixie"),
    ("14", "forky"),
    ("15", "duke"),
];

/// The upstream line of each release.
const LINES: [([u32; 2], &str); 7] = [
    ([3, 2], "wheezy"),
    ([3, 16], "jessie"),
    ([4, 9], "stretch"),
    ([4, 19], "buster"),
    ([5, 10], "bullseye"),
    ([6, 1], "bookworm"),
    ([6, 12], "trixie"),
];

impl Target for Debian {
    fn series(&self, kernel: &Kernel) -> Series {
        let number = series::number_behind(kernel.release.as_str(), &["bpo", "deb"]);
        // `deb10.17` has a suffix after the release's number.
        let number = number.and_then(|number| number.split('.').next());
        let named = number.and_then(|number| RELEASES.iter().find(|(known, _)| *known == number));
        let name = named
            .map(|(_, name)| *name)
            .or_else(|| series::name_of_line(kernel, &LINES));
        Series::with_own_lines(name.unwrap_or_default(), kernel, &LINES)
    }

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
    ) -> Result<(), TargetError> {
        let text = release.as_str();
        let end = format!("-{architecture}");
        // Kernels for large pages: `6.12.9-arm64-16k`.
        // A package's version without flavour means the plain flavour: `4.19.235-1`.
        let is_version = || {
            numbers(text).is_some_and(|start| {
                let rest = &text[start.len()..];
                rest.is_empty() || rest.starts_with(['+', '~']) && !rest.contains('-')
            })
        };
        if text.ends_with(&end)
            || text.ends_with(&(end.clone() + "-16k"))
            || is_version()
            || is_of_derivative(text, architecture)
        {
            Ok(())
        } else {
            Err(TargetError::release(format!(
                "a Debian release ends in `{end}`, as in `6.1.0-50-cloud{end}` or `6.1.176-1{end}`"
            )))
        }
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        if kernel.packages.is_empty() {
            return Err(TargetError::unknown(
                "the URLs of Debian's packages cannot be computed, since their versions differ: name them with \
                 `headers`, or take the kernel from the mirror",
            ));
        }
        let headers = Headers::of(kernel);
        if are_foreign(kernel, &headers) {
            let wanted = |one: Named<'_>| one.wanted(PackageFormat::Deb);
            return Ok(named(kernel).into_iter().map(wanted).collect());
        }
        let headers = headers?;
        let mut files = Vec::with_capacity(kernel.packages.len());
        for one in named(kernel) {
            if let Some(file) = PackageFile::parse(&one.file) {
                files.push((file, one));
            }
        }
        let tree = format!("linux-headers-{}", headers.uts_release);
        let common = headers.common();
        let is_common =
            |file: &PackageFile| common.contains(&file.name) && file.version == headers.version;
        if !files.iter().any(|(file, _)| is_common(file)) {
            return Err(TargetError::packages(format!(
                "its packages lack {} of version {}",
                common.join(" or "),
                headers.version
            )));
        }
        let kbuild = headers.kbuild_for(&files, host)?;
        let mut wanted = Vec::with_capacity(3);
        for (file, one) in files {
            let is_tree = file.name == tree
                && file.version == headers.version
                && file.architecture == kernel.architecture.as_str();
            if is_tree {
                wanted.push((Part::Tree, one.wanted(PackageFormat::Deb)));
            } else if is_common(&file) {
                wanted.push((Part::Common, one.wanted(PackageFormat::Deb)));
            } else if file == kbuild {
                let programs = programs_for(one.wanted(PackageFormat::Deb), &file, host);
                wanted.push((Part::Programs, programs));
            }
        }
        wanted.sort_by_key(|(part, _)| *part);
        Ok(wanted.into_iter().map(|(_, package)| package).collect())
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        let headers = Headers::of(kernel);
        if are_foreign(kernel, &headers) {
            return Ok(vec![kernel.release.to_string()]);
        }
        Ok(vec![headers?.uts_release])
    }

    fn remark(&self, kernel: &Kernel) -> Option<String> {
        let headers = Headers::of(kernel).ok()?;
        if !kernel
            .release
            .as_str()
            .ends_with(&format!("-{PI}-{}", kernel.architecture))
        {
            return None;
        }
        let others: Vec<String> = kernel
            .packages
            .iter()
            .filter_map(|package| PackageFile::parse(&package.file_name()))
            .filter_map(|file| Some(file.name.strip_prefix("linux-headers-")?.to_owned()))
            .filter(|other| {
                let flavour = split_abi(other).map(|(_, flavour)| flavour.to_owned());
                *other != headers.uts_release
                    && flavour.is_some_and(|flavour| flavour.starts_with(PI))
            })
            .collect();
        (!others.is_empty()).then(|| {
            format!(
                "it is built for {}; its packages also contain {}, a separate kernel: name it by that release",
                headers.uts_release,
                others.join(" and ")
            )
        })
    }

    /// The loader takes version and revision from `uname -v`, where it recognises only numbers, and knows the flavours
    /// rt and cloud: the suffix of a version after its revision (`~bpo12+1`, `+deb12u1`) is never requested. If it does
    /// not find three numbers, as in `7.3~rc7-1~exp1`, it uses `uname -r`.
    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let headers = Headers::of(kernel).ok()?;
        let Some(version) = numbers(&headers.version) else {
            let release = headers.uts_release;
            return LoaderName::with_other_release(kernel, &release);
        };
        let architecture = kernel.architecture.as_str();
        let flavour = headers.flavour.strip_suffix(architecture)?;
        if !["", "rt-", "cloud-"].contains(&flavour) {
            return None;
        }
        let release = format!("{version}-{flavour}{architecture}");
        LoaderName::with_other_release(kernel, &release)
    }

    /// The loader does not see other flavours: it requests `6.12.9-1-arm64` on a host of `6.12.9-arm64-16k`, and
    /// `6.12.47-1` on hosts of all kernels of the Raspberry Pi.
    fn shared_loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let headers = Headers::of(kernel).ok()?;
        let version = numbers(&headers.version)?;
        let architecture = kernel.architecture.as_str();
        let seen = match headers.flavour.split_once(architecture) {
            Some((before, _)) => {
                let known = ["rt-", "cloud-"]
                    .into_iter()
                    .find(|one| before.ends_with(one));
                format!("-{}{architecture}", known.unwrap_or_default())
            }
            None => String::new(),
        };
        let is_seen_whole = seen == format!("-{}", headers.flavour);
        if is_seen_whole {
            return None;
        }
        LoaderName::with_release(kernel, &format!("{version}{seen}"))
    }

    /// A backport (`6.12.43-1~bpo12+1`) has the loader name of the version that it was made from.
    fn has_exact_loader_name(&self, kernel: &Kernel) -> bool {
        Headers::of(kernel)
            .is_ok_and(|headers| numbers(&headers.version) == Some(headers.version.as_str()))
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/*", "usr/lib/linux-kbuild-*"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        let headers = Headers::of(kernel);
        if are_foreign(kernel, &headers) {
            return Ok(BuildFolder {
                names: vec![format!("/usr/src/linux-headers-{}", kernel.release).into()],
                search: &["usr/src/linux-headers-*"],
            });
        }
        let uts_release = headers?.uts_release;
        Ok(BuildFolder::exactly(format!(
            "/usr/src/linux-headers-{uts_release}"
        )))
    }
}

/// Returns true for releases of Proxmox (`6.8.12-1-pve`) and the Raspberry Pi (`6.1.21-v8+`, `6.12.47+rpt-rpi-2712`).
fn is_of_derivative(release: &str, architecture: Architecture) -> bool {
    let text = release.trim_end_matches('+');
    let mut words = text.rsplit('-');
    let (last, before) = (words.next().unwrap_or_default(), words.next());
    match architecture {
        Architecture::Amd64 => last == "pve",
        Architecture::Arm64 => last.starts_with("v8") || before == Some(PI),
    }
}

/// Returns true if a kernel's packages do not follow Debian's naming rules: those of derivatives, and those packed by
/// hand. Then all of them are used. `headers` is the result of Debian's rules for them.
fn are_foreign(kernel: &Kernel, headers: &Result<Headers, TargetError>) -> bool {
    let is_debian = |package: &crate::kernel::Package| {
        let file = PackageFile::parse(&package.file_name());
        file.is_some_and(|file| file.name.starts_with("linux-"))
    };
    let is_of_derivative = is_of_derivative(kernel.release.as_str(), kernel.architecture);
    match kernel.packages.len() {
        0 => false,
        // The kernel's own `make bindeb-pkg` puts a whole tree into a package with the name of Debian's partial one.
        1 if is_of_derivative => true,
        _ => headers.is_err() && (is_of_derivative || !kernel.packages.iter().any(is_debian)),
    }
}

/// Adds the URL of the package with the programs for the build host, in the same directory: a list names only that for
/// the kernel's own architecture. An index names both, with digests.
fn programs_for(
    mut wanted: WantedPackage,
    file: &PackageFile,
    host: Architecture,
) -> WantedPackage {
    if file.architecture == host.as_str() || wanted.sha256.is_some() {
        return wanted;
    }
    let (from, to) = (
        format!("_{}.deb", file.architecture),
        format!("_{host}.deb"),
    );
    let native = wanted.candidates.iter().filter_map(|url| {
        let start = url.strip_suffix(from.as_str())?;
        Some(format!("{start}{to}").into())
    });
    let mut candidates: Vec<_> = native.collect();
    candidates.append(&mut wanted.candidates);
    WantedPackage {
        candidates,
        size_bytes: None,
        ..wanted
    }
}

/// Returns the start of a package's version, if it is three numbers and a revision: `6.12.95-1` of `6.12.95-1~bpo12+1`.
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
mod tests;
