//! Which targets there are.

use super::{
    Debian, Subscription, Target, TreeKind, alinux, almalinux, amazonlinux, arch, bottlerocket,
    centos, fedora, flatcar, minikube, oracle, photon, redhat, rocky, suse, talos, ubuntu, vanilla,
};
use crate::kernel::{Kernel, TargetId};

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

/// The target that answers for `id`.
pub fn find(id: &TargetId) -> Option<&'static dyn Target> {
    ALL.iter()
        .copied()
        .find(|target| target.answers_for(id.as_str()))
}

/// The ids of all targets, sorted.
pub fn known_ids() -> Vec<&'static str> {
    let mut ids: Vec<_> = ALL
        .iter()
        .flat_map(|target| target.ids())
        .copied()
        .collect();
    ids.sort_unstable();
    ids
}

/// Whether a target answers for the id.
pub fn is_known(id: &TargetId) -> bool {
    find(id).is_some()
}

/// How a kernel's packages come out of a subscription, where there is no other way to them.
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
