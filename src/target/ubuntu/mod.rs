//! Ubuntu, all flavours: two packages per kernel, whose names follow from release and version. The pool directory is
//! one of a few, and only one of them has the packages.

mod names;
mod release;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use names::Names;
use release::Release;

use super::debian::PackageFile;
use super::package::{Named, PackageFormat, WantedPackage, named};
use super::{BuildFolder, LoaderName, Series, Target, TargetError, series};
use crate::kernel::{Architecture, Kernel, KernelRelease, Package};

/// Ubuntu: the ids `ubuntu` and `ubuntu-` with a flavour or a pool.
pub(super) struct Ubuntu;

/// Returns the two packages among those that a kernel names: lists add those of other flavours of the same build.
fn of_list(kernel: &Kernel, release: &Release<'_>) -> Result<Vec<WantedPackage>, TargetError> {
    let all: Vec<(Option<PackageFile>, Named<'_>)> = named(kernel)
        .into_iter()
        .map(|one| (PackageFile::parse(&one.file), one))
        .collect();
    let wanted = |one: Named<'_>| one.wanted(PackageFormat::Deb);
    // Packed by hand: their names contain no information.
    if all.iter().all(|(file, _)| file.is_none()) {
        return Ok(all.into_iter().map(|(_, one)| wanted(one)).collect());
    }
    let architecture = kernel.architecture.as_str();
    let trees = release
        .flavours()
        .map(|flavour| release.tree_package(flavour));
    let is_tree =
        |file: &PackageFile| file.architecture == architecture && trees.contains(&file.name);
    let find = |test: &dyn Fn(&PackageFile) -> bool| {
        all.iter()
            .position(|(file, _)| file.as_ref().is_some_and(test))
    };
    let tree = find(&is_tree).ok_or_else(|| {
        TargetError::packages(format!(
            "none of its packages is {}_<version>_{architecture}.deb",
            trees[0]
        ))
    })?;
    let version = all[tree].0.as_ref().map(|file| file.version.clone());
    let is_common = |file: &PackageFile| {
        release.is_common_package(&file.name) && Some(&file.version) == version.as_ref()
    };
    let common = find(&is_common).ok_or_else(|| {
        TargetError::packages(format!(
            "its packages lack linux-headers-{0} or linux-<pool>-headers-{0} of version {1}",
            release.abi(),
            version.unwrap_or_default()
        ))
    })?;
    let mut packages: Vec<Option<Named<'_>>> = all.into_iter().map(|(_, one)| Some(one)).collect();
    let both = [tree, common].map(|position| packages[position].take());
    Ok(both.into_iter().flatten().map(wanted).collect())
}

/// Returns true if a kernel's package names are those that [`of_list`] expects. False proves nothing.
fn has_both_packages(kernel: &Kernel, release: &Release<'_>) -> bool {
    let [flavour, _] = release.flavours();
    let architecture = kernel.architecture.as_str();
    let files = kernel.packages.iter().map(Package::file_name);
    let files: SmallVec<[Cow<'_, str>; 8]> = files.collect();
    let version = files.iter().find_map(|file| {
        let rest = file.strip_prefix("linux-headers-")?;
        let rest = rest.strip_prefix(release.abi())?.strip_prefix('-')?;
        let rest = rest.strip_prefix(flavour)?.strip_prefix('_')?;
        rest.strip_suffix(".deb")?
            .strip_suffix(architecture)?
            .strip_suffix('_')
            .filter(|version| !version.contains(['_', ':']))
    });
    let is_common = |file: &str| {
        let parts = file.split_once('_');
        parts.is_some_and(|(name, rest)| {
            let of_version = version.and_then(|version| rest.strip_prefix(version));
            let rest = of_version.and_then(|rest| rest.strip_suffix(".deb"));
            rest.is_some_and(|rest| rest.starts_with('_')) && release.is_common_package(name)
        })
    };
    files.iter().any(|file| is_common(file))
}

/// Returns the packages with URLs computed by the rules.
fn computed(kernel: &Kernel, release: &Release<'_>) -> Vec<WantedPackage> {
    let names = Names::new(release, kernel.version.as_str(), kernel.architecture);
    let mut trees: Vec<Arc<str>> = Vec::with_capacity(24);
    let mut commons: Vec<Arc<str>> = Vec::with_capacity(64);
    names.each_tree(|address| trees.push(address.into()));
    names.each_common(|address| commons.push(address.into()));
    [trees, commons]
        .map(|candidates| WantedPackage::at(candidates, PackageFormat::Deb))
        .into()
}

/// Ubuntu's long-term releases, by the suffix of the versions of kernels built for them.
const RELEASES: [(&str, &str); 7] = [
    ("14.04", "trusty"),
    ("16.04", "xenial"),
    ("18.04", "bionic"),
    ("20.04", "focal"),
    ("22.04", "jammy"),
    ("24.04", "noble"),
    ("26.04", "resolute"),
];

/// The upstream line of each release.
const LINES: [([u32; 2], &str); 7] = [
    ([3, 13], "trusty"),
    ([4, 4], "xenial"),
    ([4, 15], "bionic"),
    ([5, 4], "focal"),
    ([5, 15], "jammy"),
    ([6, 8], "noble"),
    ([7, 0], "resolute"),
];

impl Target for Ubuntu {
    fn series(&self, kernel: &Kernel) -> Series {
        let number = series::number_behind(kernel.version.as_str(), &["~"]);
        let named = RELEASES
            .iter()
            .find(|(known, _)| number.is_some_and(|number| number.starts_with(known)));
        let name = named
            .map(|(_, name)| *name)
            .or_else(|| series::name_of_line(kernel, &LINES));
        Series::with_own_lines(name.unwrap_or_default(), kernel, &LINES)
    }

    fn ids(&self) -> &'static [&'static str] {
        &["ubuntu", "ubuntu-generic", "ubuntu-aws"]
    }

    fn answers_for(&self, id: &str) -> bool {
        id == "ubuntu"
            || id
                .strip_prefix("ubuntu-")
                .is_some_and(|rest| !rest.is_empty())
    }

    fn check_release(
        &self,
        release: &KernelRelease,
        _architecture: Architecture,
    ) -> Result<(), TargetError> {
        Release::parse(release.as_str()).map(drop)
    }

    fn header_packages(
        &self,
        kernel: &Kernel,
        _host: Architecture,
    ) -> Result<Vec<WantedPackage>, TargetError> {
        let release = Release::parse(kernel.release.as_str())?;
        if kernel.packages.is_empty() {
            return Ok(computed(kernel, &release));
        }
        of_list(kernel, &release)
    }

    fn check_packages(&self, kernel: &Kernel, host: Architecture) -> Result<(), TargetError> {
        let release = Release::parse(kernel.release.as_str())?;
        if has_both_packages(kernel, &release) {
            return Ok(());
        }
        self.header_packages(kernel, host).map(drop)
    }

    fn uts_releases(&self, kernel: &Kernel) -> Result<Vec<String>, TargetError> {
        let release = Release::parse(kernel.release.as_str())?;
        let mut releases: Vec<_> = release
            .flavours()
            .iter()
            .map(|flavour| release.uts_release(flavour))
            .collect();
        releases.dedup();
        Ok(releases)
    }

    /// The loader uses the first alphabetic word after the numbers as the target.
    fn loader_name(&self, kernel: &Kernel) -> Option<LoaderName> {
        let (target, own) = (kernel.target.as_str(), kernel.release.as_str());
        let version = kernel.version.as_str();
        let is_letters =
            |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let known = Release::parse(own).ok();
        let (words, version) = match &known {
            Some(release) => (release.flavours()[0], release.version_of(version)),
            // A release that no rule knows is already in the format of `uname -r`: `6.15.1-x64v3-xanmod1`.
            None => (own.split_once('-').unwrap_or_default().1, version),
        };
        let word = words.split('-').find(is_letters).unwrap_or("generic");
        // Called for every kernel of a plan, and most have their own name: no strings are allocated for those.
        let is_own_release = known.is_none_or(|release| {
            let suffix = own.strip_prefix(release.abi());
            suffix.and_then(|suffix| suffix.strip_prefix('-')) == Some(words)
        });
        let is_own_target = target.strip_prefix("ubuntu-") == Some(word);
        if is_own_release && version == kernel.version.as_str() && is_own_target {
            return None;
        }
        let target = if is_own_target {
            kernel.target.clone()
        } else {
            format!("ubuntu-{word}").parse().ok()?
        };
        let release = match known {
            Some(release) if !is_own_release => release.uts_release(words).parse().ok()?,
            _ => kernel.release.clone(),
        };
        Some(LoaderName {
            target,
            release,
            version: version.parse().ok()?,
        })
    }

    fn mount_points(&self) -> &'static [&'static str] {
        &["usr/src/*"]
    }

    fn build_folder(&self, kernel: &Kernel) -> Result<BuildFolder, TargetError> {
        let releases = self.uts_releases(kernel)?;
        let folder = |release: &String| format!("/usr/src/linux-headers-{release}").into();
        Ok(BuildFolder {
            names: releases.iter().map(folder).collect(),
            search: &[],
        })
    }
}
