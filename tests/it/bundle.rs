//! Tests of bundles, which carry files from one machine to another, and of runs without a network.

use std::path::Path;

use assert_cmd::Command;

use support::server::Server;

const RPM: &[u8] = b"\xed\xab\xee\xdb\x03\x00 stands for a package";

fn program(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("driverkit-matrix")
        .unwrap()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// Writes a matrix of two Fedora kernels and one driver; `server` is the mirror for both.
fn matrix(folder: &Path, server: &str) {
    let text = format!(
        "drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"fedora\"\nkernels = [\n    \
         {{ release = \"6.2.9-300.fc38.x86_64\" }},\n    {{ release = \"6.2.8-300.fc38.x86_64\" }},\n]\n\n[mirrors]\n\
         \"https://mirrors.kernel.org\" = [\"{server}\"]\n\
         \"https://github.com\" = [\"{server}\"]\n"
    );
    driverkit_matrix::fs::write(&folder.join("m.toml"), text).unwrap();
}

fn put(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    driverkit_matrix::fs::write(&path, content).unwrap();
}

fn mirror(folder: &Path) {
    let packages = "fedora/updates/38/Everything/x86_64/Packages/k";
    for release in ["6.2.9", "6.2.8"] {
        let file = format!("{packages}/kernel-devel-{release}-300.fc38.x86_64.rpm");
        put(folder, &file, &[RPM, release.as_bytes()].concat());
    }
    put(
        folder,
        "falcosecurity/libs/archive/8.1.0+driver.tar.gz",
        b"\x1f\x8b\x08 stands for sources",
    );
}

#[test]
fn a_bundle_contains_all_files_of_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("served");
    mirror(&served);
    let server = Server::of(&served);
    matrix(folder.path(), &server.address);
    let (code, said) = program(
        folder.path(),
        &["--cache", "one", "bundle", "export", "b.tar", "m.toml"],
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("wrote 3 files"), "{said}");
    let asked = server.requests();

    // The other machine has everything from the bundle: nothing is requested, and nothing is missing.
    let (code, said) = program(
        folder.path(),
        &["--cache", "two", "bundle", "import", "b.tar"],
    );
    assert_eq!(code, 0, "{said}");
    let again = [
        "--cache",
        "two",
        "--offline",
        "bundle",
        "export",
        "c.tar",
        "m.toml",
    ];
    let (code, said) = program(folder.path(), &again);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.requests(), asked);
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("b.tar"), bytes("c.tar"));

    // A flipped bit is detected.
    let mut damaged = bytes("b.tar");
    let position = damaged
        .windows(RPM.len())
        .position(|part| part == RPM)
        .unwrap();
    damaged[position + 10] ^= 1;
    driverkit_matrix::fs::write(&folder.path().join("d.tar"), damaged).unwrap();
    let (code, said) = program(
        folder.path(),
        &["--cache", "three", "bundle", "import", "d.tar"],
    );
    assert_eq!(code, 2);
    assert!(said.contains("the bundle is damaged"), "{said}");
    driverkit_matrix::fs::write(&folder.path().join("e.tar"), b"no archive").unwrap();
    let (code, _) = program(
        folder.path(),
        &["--cache", "three", "bundle", "import", "e.tar"],
    );
    assert_eq!(code, 2);
}

#[test]
fn an_offline_run_names_every_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(
        &folder.path().join("m.toml"),
        "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"rocky\"\nkernels = [{ release = \"5.14.0-284.11.1.el9_2.x86_64\" }]\n",
    )
    .unwrap();
    let arguments = [
        "--cache",
        "c",
        "--offline",
        "bundle",
        "export",
        "b.tar",
        "m.toml",
    ];
    let (code, said) = program(folder.path(), &arguments);
    assert_eq!(code, 1, "{said}");
    for text in [
        "missing for driver 8.1.0+driver: https://github.com/falcosecurity/libs/archive/8.1.0+driver.tar.gz was not requested",
        "missing for rocky 5.14.0-284.11.1.el9_2.x86_64 #1 amd64: https://download.rockylinux.org/pub/rocky/9.2/",
    ] {
        assert!(said.contains(text), "{said}");
    }
}
