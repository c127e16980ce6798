//! A module is loaded into a kernel that is built from its source for the proof: the smallest kernel that loads
//! modules.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::event::ProofResult;
use driverkit_matrix::fs;
use driverkit_matrix::report::{BuildRecord, read_manifest};
use support::real::{kernel_source, program};

use crate::proof::run;
use crate::targets::kernels::small_driver;

/// The options that a kernel needs to boot and to load modules.
const SMALL: &str = include_str!("../data/small-kernel.config");

/// Further options of the test's kernel. The kernel is built without debug information, which must not change anything
/// for modules.
const OPTIONS: &str = "CONFIG_SMP=y
CONFIG_SYSTEM_TRUSTED_KEYS=\"keys/that-only-the-distribution-has.pem\"
CONFIG_BPF_SYSCALL=y
CONFIG_DEBUG_KERNEL=y
CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y
CONFIG_DEBUG_INFO_BTF=y
CONFIG_KERNEL_XZ=y
";

/// Returns the configuration of a small kernel.
fn configuration(source: &Path, folder: &Path) -> String {
    let linux = folder.join("linux");
    fs::create_folder(&linux).unwrap();
    run(Command::new("tar")
        .args(["--strip-components=1", "-xf"])
        .arg(source)
        .current_dir(&linux));
    run(Command::new("make")
        .args(["-s", "tinyconfig"])
        .current_dir(&linux));
    let config = linux.join(".config");
    let text = fs::read_to_string(&config).unwrap();
    let is_kept =
        |line: &&str| !line.starts_with("CONFIG_KERNEL_XZ") && !line.contains("DEBUG_INFO_NONE");
    let lines: Vec<&str> = text.lines().filter(is_kept).collect();
    let text = lines.join("\n") + "\n" + SMALL + OPTIONS;
    std::fs::remove_dir_all(&linux).unwrap();
    text
}

/// Runs the matrix; returns the builds of the manifest and the output.
fn build(folder: &Path, prove: &str) -> (Vec<BuildRecord>, String) {
    let output = program(folder)
        .args(["run", "matrix.toml", "--verbose", "--executor", "local"])
        .args(["--toolchain", "host", "--prove", prove])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    (manifest.builds, text)
}

/// Returns the cached outcome of the one kernel that was built, which names the run that built it.
fn kernel_outcome(folder: &Path) -> String {
    let files = walkdir::WalkDir::new(folder.join("cache"))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file() && entry.metadata().unwrap().len() < 1 << 16)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let mut found = files.filter(|text| text.contains("\"kernel/1\""));
    let one = found.next().expect("the outcome of the kernel");
    assert_eq!(found.next(), None);
    one
}

#[test]
#[ignore = "builds a kernel: make test-built-kernel"]
fn a_kernel_is_built_once_from_its_source_and_loads_its_modules() {
    let (source, version) = kernel_source();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let archive = source.join(format!("linux-{version}.tar.xz"));
    fs::write(
        &folder.join("small.config"),
        configuration(&archive, folder),
    )
    .unwrap();
    let drivers = ["one", "two"];
    for driver in drivers {
        fs::create_folder(&folder.join(driver)).unwrap();
        small_driver(&folder.join(driver));
    }
    // The second driver differs, so its module is another one.
    let path = folder.join("two/main.c");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "MODULE_VERSION(\"2\");\n").unwrap();
    let matrix = |drivers: &[&str]| {
        let section = |name: &&str| format!("[driver.{name}]\nsource = {{ path = {name:?} }}\n");
        let sections: Vec<String> = drivers.iter().map(section).collect();
        format!(
            "drivers = {drivers:?}\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n[[target]]\nname = \"vanilla\"\n\
             kernels = [{{ release = \"{version}-small\", config = \"small.config\" }}]\n\n[mirrors]\n\
             \"https://cdn.kernel.org/pub/linux/kernel/v6.x\" = [\"file://{}\"]\n\n{}",
            source.display(),
            sections.concat()
        )
    };
    fs::write(&folder.join("matrix.toml"), matrix(&drivers[..1])).unwrap();

    // Building a kernel takes minutes, so `series` does not do it.
    let (builds, text) = build(folder, "series");
    let proof = builds[0].artifacts[0].proof.clone().unwrap();
    assert_eq!(proof.result, ProofResult::NotProven);
    assert!(
        proof.message.contains("prove = \"all\""),
        "{}",
        proof.message
    );
    assert!(!text.contains("built from source"), "{text}");

    let (builds, text) = build(folder, "all");
    let proof = builds[0].artifacts[0].proof.clone().unwrap();
    assert_eq!(
        proof.result,
        ProofResult::Loaded,
        "{}\n{text}",
        proof.message
    );
    let notice = "modules are proven in 1 kernel built from source, which takes minutes";
    assert!(text.contains(notice), "{text}");
    let vermagic = builds[0].artifacts[0].vermagic.as_deref().unwrap();
    assert!(
        vermagic.starts_with(&format!("{version}-small SMP ")),
        "{vermagic}"
    );

    let (_, text) = build(folder, "all");
    assert!(text.contains("no job is started"), "{text}");

    let first = kernel_outcome(folder);
    // Another driver is loaded into the same kernel, which is not built again.
    fs::write(&folder.join("matrix.toml"), matrix(&drivers)).unwrap();
    let (builds, text) = build(folder, "all");
    for build in &builds {
        let proof = build.artifacts[0].proof.as_ref().unwrap();
        assert_eq!(
            proof.result,
            ProofResult::Loaded,
            "{}\n{text}",
            proof.message
        );
    }
    assert_eq!(kernel_outcome(folder), first);
}
