//! A real driver in the old layout, from a commit in a local clone.
//!
//! The old sources are derived from the real ones of March 2022 in the dkms package: moved back into `driver/`, with
//! the Makefile turned back into its template (`PROBE_NAME`), and without generated files. `scripts/test.sh` prepares
//! the requirements.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use support::real::{program, vendor};

/// Restores the old layout from flat sources.
fn write_old_layout(flat: &Path, clone: &Path) {
    let driver = clone.join("driver");
    for entry in walkdir::WalkDir::new(flat) {
        let entry = entry.unwrap();
        let relative = entry.path().strip_prefix(flat).unwrap();
        if entry.file_type().is_file() {
            fs::write(&driver.join(relative), fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    let makefile = fs::read_to_string(&flat.join("Makefile")).unwrap();
    let template = makefile
        .replace("scap", "@PROBE_NAME@")
        .replace("ccflags-y := ", "ccflags-y := @KBUILD_FLAGS@");
    assert_ne!(template, makefile);
    fs::write(&driver.join("Makefile.in"), template).unwrap();
    for (file, version) in [("API_VERSION", "1.0.0\n"), ("SCHEMA_VERSION", "1.0.0\n")] {
        fs::write(&driver.join(file), version).unwrap();
    }
    for generated in ["Makefile", "driver_config.h", "dkms.conf"] {
        fs::remove_file(&driver.join(generated)).unwrap();
    }
}

fn git(folder: &Path, words: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {output:?}");
}

#[test]
fn a_module_is_built_from_an_old_driver_in_a_clone() {
    let vendor = vendor();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let clone = folder.join("clone");
    write_old_layout(&vendor.join("falcosecurity-scap-dkms-2022-03"), &clone);
    git(&clone, &["init", "--quiet", "--initial-branch=main"]);
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "--quiet", "-m", "old"]);
    git(&clone, &["tag", "0.1.0"]);
    // Changes that are not committed are ignored.
    fs::write(&clone.join("driver/main.c"), "#error changed\n").unwrap();
    fs::write(
        &folder.join("matrix.toml"),
        r#"
drivers = ["0.1.0"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "debian"
kernels = { from = "mirror", suites = ["bookworm"], flavours = ["plain"], latest = 1 }

[driver."0.1.0"]
source = { git = "clone", ref = "0.1.0" }
module_name = "falco_old"
device_name = "old"
"#,
    )
    .unwrap();
    let output = program(folder)
        .args(["run", "matrix.toml", "--verbose"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    let artifact = &manifest.builds[0].artifacts[0];
    let path = artifact.path.as_ref().unwrap().display().to_string();
    assert!(
        path.starts_with("0.1.0/x86_64/falco_old_debian_6.1."),
        "{path}"
    );
    let module = fs::read(&folder.join("out").join(path)).unwrap();
    let has = |text: &[u8]| module.windows(text.len()).any(|window| window == text);
    assert!(has(b"name=falco_old\0") && has(b"0.1.0\0"));
}
