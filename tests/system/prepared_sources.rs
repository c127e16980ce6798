//! A real module for a real kernel source, prepared in Docker: from `[mirrors]` and a kernel configuration to a module.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, the builder image `bookworm`, the driver sources and
//! the kernel source in `vendor/`.

use std::path::Path;

use driverkit_matrix::failure::Phase;
use driverkit_matrix::fs;
use driverkit_matrix::report::{Manifest, read_manifest};
use serde_json::json;
use support::real::{kernel_source, program, vendor};

fn run(folder: &Path, executor: &str) -> Manifest {
    let output = program(folder)
        .args(["run", "matrix.toml", "--verbose", "--executor", executor])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    read_manifest(&folder.join("out/manifest.json")).unwrap()
}

#[test]
fn modules_of_all_drivers_are_built_from_a_kernel_source() {
    let vendor = vendor();
    let (source, version) = kernel_source();
    let release = format!("{version}-edge");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let matrix = format!(
        r#"
drivers = ["0.20.0+driver", "2022-03"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "vanilla"
kernels = [{{ release = "{release}", config = "{source}/config-cloud-amd64" }}]

[mirrors]
"https://cdn.kernel.org/pub/linux/kernel/v6.x" = ["file://{source}"]

[driver."0.20.0+driver"]
source = {{ path = "{vendor}/falcosecurity-libs-0.20.0" }}

[driver."2022-03"]
source = {{ path = "{vendor}/falcosecurity-scap-dkms-2022-03" }}
module_name = "scap"
"#,
        source = source.display(),
        vendor = vendor.display(),
    );
    fs::write(&folder.join("matrix.toml"), matrix).unwrap();

    let manifest = run(folder, "docker");
    assert_eq!(manifest.builds.len(), 2);
    let has_prepared = |build: &&driverkit_matrix::report::BuildRecord| {
        build.phase_seconds.contains_key(&Phase::Prepare)
    };
    assert_eq!(manifest.builds.iter().filter(has_prepared).count(), 1);
    for build in &manifest.builds {
        let vermagic = build.artifacts[0].vermagic.as_deref().unwrap();
        assert!(
            vermagic.starts_with(&format!("{release} SMP ")),
            "{vermagic}"
        );
        assert_eq!(
            serde_json::to_value(build.tree).unwrap(),
            json!({ "origin": "source", "symbols_checked": false, "host_programs": "rebuilt" })
        );
        assert_eq!(
            build.toolchain.as_ref().unwrap().reason,
            "the kernel's own, exact version"
        );
    }
    assert!(
        !manifest.builds[0].checks["CLASS_CREATE_1"] && manifest.builds[0].checks["ACCESS_OK_2"]
    );

    // The keys do not depend on the executor, so another executor finds everything in the cache.
    assert_eq!(run(folder, "local").executor.name, "none");
}
