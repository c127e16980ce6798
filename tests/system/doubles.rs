//! Second builds of a real driver, of which one contains the host name or the time of the build.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::event::{ArtifactReport, DoubleResult};
use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;

/// Builds a driver for one real kernel twice.
fn build(folder: &Path, sources: &Path, words: &[&str]) -> ArtifactReport {
    let matrix = format!(
        "drivers = [\"0.20.0\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n[driver.\"0.20.0\"]\n\
         source = {{ path = \"{}\" }}\nmodule_name = \"scap\"\n\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"mirror\", suites = [\"bookworm\"], flavours = [\"cloud\"], latest = 1 }}\n",
        sources.display()
    );
    fs::write(&folder.join("matrix.toml"), matrix).unwrap();
    let output = support::real::program(folder)
        .args(["run", "matrix.toml", "--double", "1"])
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let manifest = read_manifest(&folder.join("out/manifest.json"));
    let mut manifest = manifest.unwrap_or_else(|error| panic!("{error}: {text}"));
    manifest.builds.remove(0).artifacts.remove(0)
}

#[test]
fn docker_and_bubblewrap_build_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sources = support::real::vendor().join("falcosecurity-scap-dkms-0.20.0");
    let artifact = build(folder.path(), &sources, &["--executor", "docker"]);
    let double = artifact.double.unwrap();
    assert_eq!(double.result, DoubleResult::Same, "{}", double.message);
    assert_eq!(double.message, "the same bytes by local");
}

#[test]
fn a_driver_that_contains_the_host_name_or_time_is_not_reproducible() {
    let vendored = support::real::vendor().join("falcosecurity-scap-dkms-0.20.0");
    for built in ["uname -n", "date +%H:%M"] {
        let folder = tempfile::tempdir().unwrap();
        let sources = folder.path().join("sources");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&vendored)
            .arg(&sources)
            .status();
        assert!(copied.unwrap().success());
        let makefile = fs::read_to_string(&sources.join("Makefile")).unwrap();
        let flags = format!("ccflags-y := -DBUILT='\"$(shell {built})\"'");
        let changed = makefile.replacen("ccflags-y := ", &flags, 1);
        assert_ne!(changed, makefile);
        fs::write(&sources.join("Makefile"), changed).unwrap();
        let main = fs::read_to_string(&sources.join("main.c")).unwrap();
        let named = "\nMODULE_INFO(built, BUILT);\n";
        fs::write(&sources.join("main.c"), main + named).unwrap();
        let words = ["--executor", "local", "--toolchain", "host"];
        let artifact = build(folder.path(), &sources, &words);
        let failure = artifact.failure.expect(built);
        assert_eq!(failure.class, FailureClass::NotReproducible, "{failure:?}");
        assert!(failure.message.contains("section .modinfo"), "{failure:?}");
    }
}
