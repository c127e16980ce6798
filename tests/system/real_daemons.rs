//! Real modules for a real kernel, built in Docker daemons and a rootless Podman that these tests start (this needs
//! root): the bytes are the same as with this machine's own daemon.
//!
//! `scripts/test.sh` prepares the requirements, as for `real_builds`; the packages podman and uidmap are needed as
//! well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::executor::DockerAddress;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use support::docker_daemon::Daemon;
use support::real::{program, vendor};
use support::rootless_podman::Podman;

/// Two modules of one kernel, which are compiled concurrently.
const MATRIX: &str = r#"
drivers = ["0.20.0+driver", "2022-03"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "debian"
kernels = { from = "mirror", suites = ["bookworm"], flavours = ["cloud"], latest = 1 }

[driver."0.20.0+driver"]
source = { path = "VENDOR/falcosecurity-libs-0.20.0" }

[driver."2022-03"]
source = { path = "VENDOR/falcosecurity-scap-dkms-2022-03" }
module_name = "scap"
device_name = "scap"
"#;

/// Returns a directory with the matrix and its lock.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = MATRIX.replace("VENDOR", &vendor().display().to_string());
    fs::write(&folder.path().join("matrix.toml"), text).unwrap();
    let output = program(folder.path())
        .args(["lock", "matrix.toml"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "run it with scripts/test.sh, which finds the mirror\n{text}"
    );
    folder
}

/// Builds with its own cache in the named daemons, or in this machine's; returns the modules by path.
fn built(folder: &Path, name: &str, daemons: &[&DockerAddress]) -> BTreeMap<PathBuf, Sha256> {
    let out = folder.join(name);
    let mut command = program(folder);
    command
        .args(["run", "matrix.toml", "--locked", "--verbose"])
        .args(["--executor", "docker", "--jobs", "2", "--out"])
        .arg(&out)
        .arg("--cache")
        .arg(folder.join(format!("cache-{name}")));
    for daemon in daemons {
        command.args(["--docker-host", daemon.as_str()]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let manifest = read_manifest(&out.join("manifest.json")).unwrap();
    for daemon in daemons {
        let version = &manifest.executor.version;
        assert!(version.contains(daemon.as_str()), "{version}");
    }
    let artifacts = manifest.builds.iter().flat_map(|build| &build.artifacts);
    let modules: BTreeMap<_, _> = artifacts
        .map(|artifact| {
            assert_eq!(artifact.status.as_str(), "built", "{text}");
            let path = artifact.path.clone().unwrap();
            let digest = Sha256::of(fs::read(&out.join(&path)).unwrap());
            (path, digest)
        })
        .collect();
    assert_eq!(modules.len(), 2, "{text}");
    modules
}

/// Returns the containers that a daemon started, from its own events.
fn started(daemon: &Daemon) -> String {
    let mut command = Command::new("curl");
    command.args(["-sSf", "--get"]);
    let address = daemon.address.as_str();
    let server = if let Some(socket) = address.strip_prefix("unix://") {
        command.args(["--unix-socket", socket]);
        "http://localhost".to_owned()
    } else {
        let (server, certificates) = address.split_once("?certificates=").unwrap();
        for (option, name) in [("--cacert", "ca"), ("--cert", "cert"), ("--key", "key")] {
            command
                .arg(option)
                .arg(format!("{certificates}/{name}.pem"));
        }
        server.replace("tcp://", "https://")
    };
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let output = command
        .args(["--data-urlencode", "since=0"])
        .args(["--data-urlencode", &format!("until={now}")])
        .arg("--data-urlencode")
        .arg(r#"filters={"type": ["container"], "event": ["start"]}"#)
        .arg(format!("{server}/v1.41/events"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

// This is one test, since all results are compared with the same modules.
#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_and_rootless_podman_give_the_bytes_of_one_daemon() {
    let folder = workspace();
    let folder = folder.path();
    let modules = built(folder, "docker", &[]);

    // No daemon has a builder image yet.
    let (mut on_socket, mut with_tls) = (Daemon::on_socket(), Daemon::with_tls());
    tokio::join!(on_socket.wait(), with_tls.wait());
    let addresses = [&on_socket.address, &with_tls.address];
    assert_eq!(built(folder, "two", &addresses), modules);
    for daemon in [&on_socket, &with_tls] {
        let started = started(daemon);
        assert!(started.contains("module "), "{}: {started}", daemon.address);
    }

    let mut podman = Podman::start();
    podman.connect().await;
    let address = podman.address();
    assert_eq!(built(folder, "podman", &[&address]), modules);
}
