//! One real kernel and one real driver, built as driverkit's users do it: with their configuration file, named header
//! packages, and the driver's sources from where driverkit downloads them.
//!
//! `scripts/test.sh` prepares the requirements, as for `real_builds`.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;
use support::real::{kernel_of_bookworm, program, vendor};
use support::server::Server;

/// Serves Falco's driver sources under the path that GitHub uses.
fn serve_sources(folder: &Path) -> Server {
    let archive = folder.join("sources/falcosecurity/libs/archive");
    fs::create_folder(&archive).unwrap();
    let made = Command::new("tar")
        .arg("-C")
        .arg(vendor())
        .arg("-czf")
        .arg(archive.join("0.20.0+driver.tar.gz"))
        .arg("falcosecurity-libs-0.20.0")
        .status()
        .unwrap();
    assert!(made.success());
    Server::of(&folder.join("sources"))
}

const CONFIG: &str =
    "driverversion: 0.20.0+driver\noutput:\n  module: output/falco.ko\n  probe: output/falco.o\n";

#[test]
fn docker_builds_a_real_module_and_probe_from_a_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = kernel_of_bookworm(folder);
    fs::write(&folder.join("config.yaml"), kernel.config(CONFIG)).unwrap();
    let server = serve_sources(folder);
    let docker = || {
        let mut command = program(folder);
        command
            .args(["docker", "-c", "config.yaml", "--timeout", "600"])
            .env("DRIVERKIT_MATRIX_MIRROR_GITHUB", &server.address);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let text = docker();
    assert!(
        text.contains("module 0.20.0+driver/x86_64/debian_"),
        "{text}"
    );
    assert!(
        text.contains(
            "gcc 12 of driverkit-matrix/builder:bookworm (the kernel's own, exact version)"
        ),
        "{text}"
    );
    let module = fs::read(&folder.join("output/falco.ko")).unwrap();
    let vermagic = format!("vermagic={} SMP", kernel.uts_release);
    assert!(
        module
            .windows(vermagic.len())
            .any(|part| part == vermagic.as_bytes())
    );
    assert!(folder.join("output/falco.o").is_file());

    let text = docker();
    assert_eq!(text.matches("already built").count(), 2, "{text}");
    assert_eq!(fs::read(&folder.join("output/falco.ko")).unwrap(), module);
}
