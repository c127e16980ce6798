//! Support floors: the kernels and driver versions for which an artifact cannot exist.

use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Architecture, Kernel};

/// The last driver version with the legacy probe.
const LAST_PROBE: [u64; 3] = [9, 1, 0];

/// Returns the oldest kernel that an artifact supports: major, minor and patch number.
fn oldest(architecture: Architecture, artifact: Artifact) -> [u32; 3] {
    match (artifact, architecture) {
        (Artifact::Module, Architecture::Amd64) => [3, 10, 0],
        (Artifact::Module, Architecture::Arm64) => [3, 16, 0],
        (Artifact::Probe, Architecture::Amd64) => [4, 14, 0],
        (Artifact::Probe, Architecture::Arm64) => [4, 17, 0],
    }
}

/// Returns `Ok` if an artifact can exist for a kernel, otherwise the reason why not.
pub(super) fn of_kernel(kernel: &Kernel, artifact: Artifact) -> Result<(), String> {
    let architecture = kernel.architecture;
    let oldest = oldest(architecture, artifact);
    if kernel.release.numbers() >= oldest {
        return Ok(());
    }
    let [major, minor, _] = oldest;
    Err(format!(
        "a {artifact} needs kernel {major}.{minor} or newer on {architecture}"
    ))
}

/// Returns `Ok` if a driver version may have an artifact, otherwise the reason why not. A version that is not a release
/// always returns `Ok`, because only its sources show which artifacts it has.
pub(super) fn of_driver(version: &DriverVersion, artifact: Artifact) -> Result<(), &'static str> {
    match (artifact, version.numbers()) {
        (Artifact::Probe, Some(numbers)) if numbers > LAST_PROBE => {
            Err("drivers after 9.1.0+driver have no probe")
        }
        _ => Ok(()),
    }
}

/// Returns `Ok` if a driver version can have an artifact for a kernel, otherwise the reason why not.
pub fn supports(
    kernel: &Kernel,
    version: &DriverVersion,
    artifact: Artifact,
) -> Result<(), String> {
    of_kernel(kernel, artifact)?;
    of_driver(version, artifact).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(release: &str, architecture: Architecture, artifact: Artifact) -> bool {
        let kernel = Kernel {
            target: "centos".parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture,
            packages: crate::kernel::PackageSet::default(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        };
        of_kernel(&kernel, artifact).is_ok()
    }

    #[test]
    fn artifact_needs_a_minimum_kernel_on_each_architecture() {
        use Architecture::{Amd64, Arm64};
        use Artifact::{Module, Probe};
        for (release, architecture, artifact, expected) in [
            ("3.10.0-957.el7.x86_64", Amd64, Module, true),
            ("2.6.32-754.el6.x86_64", Amd64, Module, false),
            ("3.10.0-957.el7.aarch64", Arm64, Module, false),
            ("3.16.0-1", Arm64, Module, true),
            ("4.13.16-1", Amd64, Probe, false),
            ("4.14.0-1", Amd64, Probe, true),
            ("4.16.18-1", Arm64, Probe, false),
            ("4.17.0-1", Arm64, Probe, true),
        ] {
            assert_eq!(has(release, architecture, artifact), expected, "{release}");
        }
    }

    #[test]
    fn drivers_after_9_1_0_have_no_probe() {
        for (version, expected) in [
            ("9.1.0+driver", true),
            ("9.1.1+driver", false),
            ("10.0.0+driver", false),
            ("0.23.2", true),
            ("master", true),
            ("2022-03", true),
        ] {
            let version = version.parse().unwrap();
            assert_eq!(
                of_driver(&version, Artifact::Probe).is_ok(),
                expected,
                "{version}"
            );
            assert!(of_driver(&version, Artifact::Module).is_ok());
        }
    }
}
