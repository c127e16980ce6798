//! Bottlerocket: kernel.org's source of the same version, with the configuration of a variant.

use super::upstream::KernelOrg;

/// Bottlerocket.
pub(super) const BOTTLEROCKET: KernelOrg = KernelOrg {
    ids: &["bottlerocket"],
    expected: "a release of Bottlerocket is a version, as in `6.1.72`",
    is_release: |release| release.rest.is_empty() && release.candidate.is_none(),
    ..KernelOrg::BASE
};
