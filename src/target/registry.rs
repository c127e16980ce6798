//! The registry of targets.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use super::package::PackageFormat;
use super::series::Series;
use super::{
    Debian, Subscription, Target, TargetError, TreeKind, alinux, almalinux, amazonlinux, arch,
    bottlerocket, centos, fedora, flatcar, generic, minikube, oracle, photon, redhat, rocky, suse,
    talos, ubuntu, vanilla,
};
use crate::kernel::{Architecture, Kernel, KernelRelease, TargetId};

/// Returns the series of a kernel, by the rules of its target.
pub fn series_of(kernel: &Kernel) -> Series {
    find(&kernel.target).map_or_else(Series::default, |target| target.series(kernel))
}

/// Every target.
pub static ALL: &[&dyn Target] = &[
    &ubuntu::Ubuntu,
    &alinux::ALINUX,
    &almalinux::ALMA_LINUX,
    &amazonlinux::AMAZON_LINUX,
    &amazonlinux::AMAZON_LINUX_2,
    &amazonlinux::AMAZON_LINUX_2022,
    &amazonlinux::AMAZON_LINUX_2023,
    &arch::Arch,
    &bottlerocket::BOTTLEROCKET,
    &centos::CENTOS,
    &Debian,
    &fedora::FEDORA,
    &flatcar::Flatcar,
    &generic::Generic,
    &minikube::MINIKUBE,
    &oracle::ORACLE,
    &photon::Photon,
    &redhat::RedHat,
    &rocky::ROCKY,
    &suse::OpenSuse,
    &suse::Sles,
    &talos::TALOS,
    &vanilla::VANILLA,
];

/// The targets by the ids that they list. Used several times for every kernel, hence the fast hasher.
static BY_ID: LazyLock<HashMap<&'static str, &'static dyn Target, RandomState>> =
    LazyLock::new(|| {
        let ids = |target: &'static dyn Target| target.ids().iter().map(move |id| (*id, target));
        ALL.iter().copied().flat_map(ids).collect()
    });

/// Returns the target that is responsible for `id`.
pub fn find(id: &TargetId) -> Option<&'static dyn Target> {
    let listed = BY_ID.get(id.as_str()).copied();
    // Some targets are responsible for more ids than they list.
    let answers = |target: &&dyn Target| target.answers_for(id.as_str());
    listed.or_else(|| ALL.iter().copied().find(answers))
}

/// The rules for one kernel, looked up once: a plan has hundreds of thousands of kernels.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The rules of its target.
    pub own: Option<&'static dyn Target>,
    /// The rules for reading its packages and finding its tree: those of its target or, if packages are named for a
    /// kernel that the target does not know, the generic ones.
    pub used: Option<&'static dyn Target>,
    /// True if the release can belong to its target.
    pub knows_release: bool,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = |target: Option<&'static dyn Target>| target.map(Target::ids);
        formatter
            .debug_struct("Rules")
            .field("own", &ids(self.own))
            .field("used", &ids(self.used))
            .field("knows_release", &self.knows_release)
            .finish()
    }
}

impl Rules {
    /// Returns the rules for a kernel.
    pub fn of(kernel: &Kernel) -> Self {
        let generic = || (!kernel.packages.is_empty()).then_some(&generic::Generic as &dyn Target);
        let Some(own) = find(&kernel.target) else {
            return Self {
                own: None,
                used: generic(),
                knows_release: true,
            };
        };
        let knows_release = own
            .check_release(&kernel.release, kernel.architecture)
            .is_ok();
        // A target with kernel sources has no rules for header packages.
        let is_for_headers = || match own.tree_kind(kernel) {
            Ok(TreeKind::Source(_)) => !kernel
                .packages
                .iter()
                .any(|package| is_header_package(&package.url)),
            _ => true,
        };
        let is_understood = kernel.packages.is_empty() || (knows_release && is_for_headers());
        Self {
            own: Some(own),
            used: if is_understood { Some(own) } else { generic() },
            knows_release,
        }
    }
}

/// Returns the rules for reading the packages of a kernel and finding its tree: see [`Rules::used`].
pub fn rules_of(kernel: &Kernel) -> Option<&'static dyn Target> {
    Rules::of(kernel).used
}

/// Returns why a kernel from a list is left out, if its target is unknown.
pub fn unknown_target(kernel: &Kernel) -> Option<String> {
    let is_unknown = find(&kernel.target).is_none();
    is_unknown.then(|| {
        format!(
            "`{}` is not a target of this program: a [[target]] of that name with `generic = true` uses its packages as they are",
            kernel.target
        )
    })
}

/// Returns why a kernel is left out, if the names of its packages show that they are something else: lists have entries
/// such as `Linux-PAM-devel-1.3.0-1.ph3.x86_64.rpm`. Names without the release prove nothing.
pub fn no_kernel_package(kernel: &Kernel) -> Option<String> {
    let release = kernel.release.as_str();
    let release = release
        .strip_suffix(kernel.architecture.machine())
        .map_or(release, |release| release.trim_end_matches('.'));
    let is_foreign = |file: &str| {
        // The fast path for most files: a release begins with a digit, so these prefixes come before it.
        if file.starts_with("linux") || file.starts_with("kernel") {
            return false;
        }
        let name = file.split(release).next().unwrap_or(file);
        name.len() < file.len()
            && PackageFormat::of_name(file).is_some_and(|format| format != PackageFormat::Tar)
            && !name.contains("kernel")
            && !name.starts_with("linux")
            && !name.is_empty()
    };
    let first = kernel.packages.first()?;
    let mut packages = kernel.packages.iter();
    packages
        .all(|package| is_foreign(&package.file_name()))
        .then(|| format!("{} is not a kernel package", first.file_name()))
}

/// Returns true if the file at a URL is a distribution's package by its name, and so not a kernel source.
pub fn is_header_package(url: &str) -> bool {
    let format = PackageFormat::of_name(&crate::kernel::file_name(url));
    format.is_some_and(|format| format != PackageFormat::Tar)
}

/// Checks that `release` can belong to the target `id`. The error tells what was expected and, if possible, whose
/// release it looks like. An unknown target accepts any release.
pub fn check_release(
    id: &TargetId,
    release: &KernelRelease,
    architecture: Architecture,
) -> Result<(), TargetError> {
    let Some(target) = find(id) else {
        return Ok(());
    };
    let checked = target.check_release(release, architecture);
    checked.map_err(|error| {
        let others = owners(release, architecture);
        if others.is_empty() {
            return error;
        }
        TargetError::release(format!(
            "{error}; `{release}` looks like one of {}",
            others.join(", ")
        ))
    })
}

/// Returns the targets that a release can belong to, by its format.
fn owners(release: &KernelRelease, architecture: Architecture) -> Vec<&'static str> {
    // These accept any version.
    let is_broad = |id: &str| {
        ["bottlerocket", "generic", "minikube", "vanilla"].contains(&id)
            || (id == "talos" && !release.as_str().ends_with("-talos"))
    };
    ALL.iter()
        .filter(|target| target.check_release(release, architecture).is_ok())
        .filter_map(|target| target.ids().first().copied())
        .filter(|id| !is_broad(id))
        .collect()
}

/// Returns a warning if the rules of a kernel's target do not know its release, although packages are named for it. The
/// packages are inspected, so the kernel is not rejected.
pub fn doubt_of_release(kernel: &Kernel) -> Option<String> {
    if kernel.packages.is_empty() {
        return None;
    }
    let expected = check_release(&kernel.target, &kernel.release, kernel.architecture).err()?;
    Some(format!(
        "{expected}; the content of its named packages decides"
    ))
}

/// Names of distributions in os-release and lists that are not target ids, with the id to use for each.
const OTHER_NAMES: [(&str, &str); 16] = [
    (
        "amzn",
        "`amazonlinux2023`, `amazonlinux2` or `amazonlinux`, by its VERSION_ID",
    ),
    ("oraclelinux", "`ol`"),
    ("oracle", "`ol`"),
    ("rhel", "`redhat`"),
    ("raspbian", "`debian`"),
    ("raspberrypi", "`debian`"),
    ("proxmox", "`debian`"),
    ("linuxmint", "`ubuntu`"),
    ("pop", "`ubuntu`"),
    ("opensuse-leap", "`opensuse`"),
    ("opensuse-tumbleweed", "`opensuse`"),
    ("sled", "`sles`"),
    ("archarm", "`arch`"),
    ("photonos", "`photon`"),
    ("alma", "`almalinux`"),
    ("rockylinux", "`rocky`"),
];

/// Returns what a user may have meant by an unknown target.
pub fn hint_for(id: &str) -> Option<String> {
    let id = id.to_lowercase();
    if id == "cos" {
        let hint = "the kernels of cos do not load modules: use Falco's modern eBPF probe there, which needs no driver";
        return Some(hint.to_owned());
    }
    let (_, meant) = OTHER_NAMES.iter().find(|(name, _)| *name == id)?;
    Some(format!("the target of `{id}` is {meant}"))
}

/// Returns the ids of all targets, sorted.
pub fn known_ids() -> Vec<&'static str> {
    let mut ids: Vec<_> = ALL
        .iter()
        .flat_map(|target| target.ids())
        .copied()
        .collect();
    ids.sort_unstable();
    ids
}

/// Returns true if a target is responsible for the id.
pub fn is_known(id: &TargetId) -> bool {
    find(id).is_some()
}

/// Returns the subscription of a kernel's packages, if they are not available otherwise.
pub fn subscription(kernel: &Kernel) -> Option<Subscription> {
    // Named packages are downloaded like any other.
    if !kernel.packages.is_empty() {
        return None;
    }
    match find(&kernel.target)?.tree_kind(kernel) {
        Ok(TreeKind::Subscription(subscription)) => Some(subscription),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;
    use super::*;

    #[test]
    fn a_release_of_another_distribution_is_refused_with_its_targets() {
        let check = |text: &str| {
            let kernel = kernel(text).0;
            check_release(&kernel.target, &kernel.release, kernel.architecture)
        };
        for (text, owner) in [
            (
                "bottlerocket 5.14.0-427.13.1.el9_4.x86_64 1 amd64",
                "almalinux, centos, ol, redhat, rocky",
            ),
            (
                "almalinux 3.10.0-957.el7.x86_64 1 amd64",
                "centos, ol, redhat",
            ),
            ("rocky 5.4.17-2136.311.6.el8uek.x86_64 1 amd64", "ol"),
            ("centos 5.15.0-205.149.5.1.el9uek.x86_64 1 amd64", "ol"),
            ("redhat 6.12.0-101.33.4.3.el10uek.x86_64 1 amd64", "ol"),
            (
                "rocky 6.1.102-108.177.amzn2023.x86_64 1 amd64",
                "amazonlinux2023",
            ),
            ("debian 5.15.0-91-generic 1 amd64", "ubuntu"),
            ("fedora 6.1.0-50-amd64 1 amd64", "debian"),
            ("photon 6.1.46-talos 1 amd64", "talos"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("looks like one of {owner}")),
                "{text}: {error}"
            );
        }
        let error = check("rocky 6.6.30-acme 1 amd64").unwrap_err().to_string();
        assert!(!error.contains("looks like one of"), "{error}");
        assert_eq!(check("bottlerocket 6.1.72 1_1.19.0-aws amd64"), Ok(()));
    }

    #[test]
    fn named_packages_follow_the_rules_of_the_target_or_generic_ones() {
        for (text, file, is_generic) in [
            (
                "rocky 5.14.0-284.11.1.el9_2.x86_64 1 amd64",
                "kernel-devel.rpm",
                false,
            ),
            ("rocky 6.6.30-acme 1 amd64", "acme.rpm", true),
            (
                "arch 7.2.3-1-cachyos 1 amd64",
                "linux-cachyos-headers.pkg.tar.zst",
                true,
            ),
            (
                "ubuntu 6.15.1-x64v3-xanmod1 1 amd64",
                "linux-headers.deb",
                true,
            ),
            ("vanilla 6.6.30-acme 1 amd64", "acme.deb", true),
            ("vanilla 6.6.30-acme 1 amd64", "linux-6.6.30.tar.xz", false),
            ("acme 6.6.30-acme 1 amd64", "acme.deb", true),
        ] {
            let bare = kernel(text).0;
            let is_known = rules_of(&bare).is_some_and(|rules| rules.ids() != [generic::ID]);
            assert_eq!(is_known, find(&bare.target).is_some(), "{text}");
            let named = kernel(text).with(&format!("http://a/{file}")).0;
            let rules = rules_of(&named).unwrap();
            assert_eq!(rules.ids() == [generic::ID], is_generic, "{text} {file}");
        }
    }
}
