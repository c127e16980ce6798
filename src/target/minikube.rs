//! Minikube: kernel.org's source; several minikube versions ship the same kernel with different configurations.

use super::upstream::KernelOrg;
use crate::kernel::Kernel;

/// Minikube.
pub(super) const MINIKUBE: KernelOrg = KernelOrg {
    ids: &["minikube"],
    expected: "a release of minikube is a version alone, as in `5.10.57`",
    is_release: |release| release.rest.is_empty() && release.candidate.is_none(),
    gcc: |kernel: &Kernel| match kernel.release.numbers() {
        [4, ..] => "8",
        [5, ..] => "10",
        _ => "12",
    },
    ..KernelOrg::BASE
};

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;
    use crate::kernel::Architecture;

    #[test]
    fn source_and_compiler_follow_from_the_release() {
        for (release, gcc) in [("4.19.202", "8"), ("5.10.57", "10"), ("6.6.95", "12")] {
            let kernel = kernel(&format!("minikube {release} 1_1.26.0 amd64")).0;
            assert_eq!(MINIKUBE.default_gcc(&kernel), gcc);
            let url = &addresses(&MINIKUBE, &kernel)[0];
            assert!(url.ends_with(&format!("/linux-{release}.tar.xz")), "{url}");
        }
        let release = "5.10.57-generic".parse().unwrap();
        assert!(
            MINIKUBE
                .check_release(&release, Architecture::Amd64)
                .is_err()
        );
    }
}
