//! Podman's Docker-compatible socket, rootless.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;

use driverkit_matrix::executor::{DockerAddress, DockerExecutor};

use crate::service::{connect, in_namespaces};

const SETUP: &str = "this test needs root and packages podman and uidmap: run scripts/setup.sh";

const START: &str = r#"
cd "$1"
mkdir -p home run storage
printf 'nobody:100000:65536\n' >ids
chown -R nobody:nogroup home run storage
mount --bind ids /etc/subuid
mount --bind ids /etc/subgid
# vfs copies the whole image for each container, and overlay lies on no other overlay.
driver=overlay
[ "$(stat -f -c %T .)" != overlayfs ] || driver=vfs
# The signal at the parent's end is lost with the change of the user.
exec setpriv --reuid nobody --regid nogroup --clear-groups --pdeathsig KILL \
    env -i HOME="$1/home" XDG_RUNTIME_DIR="$1/run" PATH="$PATH" TMPDIR="$1/home" \
    podman --runtime runc --cgroup-manager cgroupfs --storage-driver "$driver" --root "$1/storage" --runroot "$1/run/containers" \
    system service --time 0 "unix://$1/run/podman.sock"
"#;

/// A service that an ordinary user (nobody) runs, in a mount namespace in which that user has subordinate ids.
pub struct Podman {
    process: Child,
    folder: tempfile::TempDir,
}

impl Podman {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Its user goes through it.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["/etc/subuid", "/etc/subgid"] {
            assert!(Path::new(file).exists(), "{SETUP}");
        }
        let process = in_namespaces("sh", folder.path())
            .args(["-e", "-c", START, "sh"])
            .arg(folder.path())
            .spawn()
            .expect(SETUP);
        Self { process, folder }
    }

    pub fn address(&self) -> DockerAddress {
        let address = format!("unix://{}/run/podman.sock", self.folder.path().display());
        address.parse().unwrap()
    }

    /// Connects as soon as it answers.
    pub async fn connect(&mut self) -> DockerExecutor {
        let address = self.address();
        connect(&address, &mut self.process, self.folder.path(), SETUP).await
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
