//! Talos: kernel.org's source; every kernel has the local version `-talos`, which lists of early 2023 lack.

use super::upstream::KernelOrg;

const LOCAL_VERSION: &str = "-talos";

/// Talos.
pub(super) const TALOS: KernelOrg = KernelOrg {
    ids: &["talos"],
    expected: "a release of Talos looks like `6.1.46-talos`",
    is_release: |release| ["", LOCAL_VERSION].contains(&release.rest),
    local_version: Some(LOCAL_VERSION),
    ..KernelOrg::BASE
};

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;
    use crate::kernel::Architecture;

    #[test]
    fn both_spellings_are_the_same_kernel() {
        for release in ["5.15.85-talos", "5.15.85"] {
            let kernel = kernel(&format!("talos {release} 1_v1.3.1 arm64")).0;
            assert_eq!(TALOS.uts_releases(&kernel).unwrap(), ["5.15.85-talos"]);
            assert!(addresses(&TALOS, &kernel)[0].ends_with("/linux-5.15.85.tar.xz"));
            let name = TALOS.loader_name(&kernel).map(|name| name.release);
            assert_eq!(name.is_some(), release == "5.15.85");
        }
        let release = "5.15.85-generic".parse().unwrap();
        assert!(TALOS.check_release(&release, Architecture::Amd64).is_err());
    }
}
