//! Real drivers for real kernels, in Docker and in bubblewrap, with the same keys and the same bytes.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, the builder image `bookworm`, the driver sources in
//! `vendor/`, and the mirror's URL in `DRIVERKIT_MATRIX_MIRROR_DEBIAN`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use support::real::{program, vendor};

/// One kernel of each flavour and architecture; modules for all, and one probe for each architecture.
const MATRIX: &str = r#"
drivers = ["0.20.0+driver", "2022-03"]
architectures = ["amd64", "arm64"]
artifacts = ["module", "probe"]

[[target]]
name = "debian"
kernels = { from = "mirror", suites = ["bookworm"], flavours = ["plain", "cloud", "rt"], latest = 1 }

[driver."0.20.0+driver"]
source = { path = "VENDOR/falcosecurity-libs-0.20.0" }

[driver."2022-03"]
source = { path = "VENDOR/falcosecurity-scap-dkms-2022-03" }
module_name = "scap"
device_name = "scap"

[[exclude]]
kernel = "*-cloud-*"
driver = "0.20.0*"
reason = "one driver is enough for a flavour"

[[exclude]]
kernel = "*-rt-*"
driver = "0.20.0*"
reason = "one driver is enough for a flavour"

[[exclude]]
kernel = "*-cloud-*"
artifact = "probe"
reason = "a probe knows no flavours"

[[exclude]]
kernel = "*-rt-*"
artifact = "probe"
reason = "a probe knows no flavours"

[[exclude]]
driver = "2022-03"
artifact = "probe"
reason = "one probe for each architecture"
"#;

/// Returns every artifact under `out` by its path, with its digest.
fn artifacts(out: &Path) -> BTreeMap<PathBuf, Sha256> {
    let manifest = read_manifest(&out.join("manifest.json")).unwrap();
    let artifacts = manifest.builds.iter().flat_map(|build| &build.artifacts);
    artifacts
        .map(|artifact| {
            let path = artifact.path.clone().unwrap();
            let digest = Sha256::of(fs::read(&out.join(&path)).unwrap());
            assert_eq!(Some(digest), artifact.sha256, "{}", path.display());
            (path, digest)
        })
        .collect()
}

fn run(folder: &Path, cache: &str, executor: &str, out: &str) -> String {
    let output = program(folder)
        .env("DRIVERKIT_MATRIX_CACHE", cache)
        .args([
            "run",
            "matrix.toml",
            "--locked",
            "--verbose",
            "--executor",
            executor,
            "--out",
            out,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "run it with scripts/test.sh, which prepares the requirements\n{text}"
    );
    text
}

#[test]
fn docker_and_local_give_the_same_bytes_for_every_flavour_and_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let vendor = vendor();
    let text = MATRIX.replace("VENDOR", &vendor.display().to_string());
    fs::write(&folder.join("matrix.toml"), text).unwrap();
    let locked = program(folder)
        .env("DRIVERKIT_MATRIX_CACHE", "docker")
        .args(["lock", "matrix.toml"])
        .output()
        .unwrap();
    let locked = (
        locked.status.code(),
        String::from_utf8_lossy(&locked.stderr).into_owned(),
    );
    assert_eq!(
        locked.0,
        Some(0),
        "run it with scripts/test.sh, which finds the mirror\n{}",
        locked.1
    );

    run(folder, "docker", "docker", "out-docker");
    let by_docker = artifacts(&folder.join("out-docker"));
    let has = |words: &[&str]| {
        by_docker.keys().any(|path| {
            let path = path.display().to_string();
            words.iter().all(|word| path.contains(word))
        })
    };
    for words in [
        ["0.20.0+driver/x86_64", "falco_debian_6.1.", "-amd64_1.ko"],
        ["0.20.0+driver/x86_64", "falco_debian_6.1.", "-amd64_1.o"],
        ["0.20.0+driver/aarch64", "falco_debian_6.1.", "-arm64_1.ko"],
        ["0.20.0+driver/aarch64", "falco_debian_6.1.", "-arm64_1.o"],
        ["2022-03/x86_64", "scap_debian_6.1.", "-cloud-amd64_1.ko"],
        ["2022-03/x86_64", "scap_debian_6.1.", "-rt-amd64_1.ko"],
        ["2022-03/aarch64", "scap_debian_6.1.", "-rt-arm64_1.ko"],
    ] {
        assert!(has(&words), "{words:?} in {by_docker:#?}");
    }

    // With its own cache, everything is compiled again, without Docker.
    let text = run(folder, "local", "local", "out-local");
    assert!(text.contains("built"), "{text}");
    assert_eq!(artifacts(&folder.join("out-local")), by_docker);

    // With Docker's cache, nothing is compiled, since the keys are the same.
    let text = run(folder, "docker", "local", "out-cached");
    assert!(!text.contains("built"), "{text}");
    assert_eq!(artifacts(&folder.join("out-cached")), by_docker);
    let manifest = read_manifest(&folder.join("out-cached/manifest.json")).unwrap();
    assert_eq!(manifest.executor.name, "none");
}
