//! Rootless Podman with its Docker-compatible socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};

use driverkit_matrix::executor::{DockerAddress, DockerExecutor};

use rustix::process::{Pid, Signal, kill_process};

use crate::service::{connect, in_mounts, in_namespaces};

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

/// A service that an ordinary user (nobody) runs, in a mount namespace in which that user has subordinate IDs.
pub struct Podman {
    process: Child,
    folder: tempfile::TempDir,
    /// Whether its processes are visible on this machine.
    is_seen: bool,
}

impl Podman {
    pub fn start() -> Self {
        Self::start_in(in_namespaces, false)
    }

    /// Starts the service with processes that are visible on this machine.
    pub fn start_among_our_processes() -> Self {
        Self::start_in(in_mounts, true)
    }

    fn start_in(namespaces: fn(&str, &Path) -> Command, is_seen: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The user of the service needs access.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["/etc/subuid", "/etc/subgid"] {
            assert!(Path::new(file).exists(), "{SETUP}");
        }
        let process = namespaces("sh", folder.path())
            .args(["-e", "-c", START, "sh"])
            .arg(folder.path())
            .spawn()
            .expect(SETUP);
        Self {
            process,
            folder,
            is_seen,
        }
    }

    pub fn address(&self) -> DockerAddress {
        let address = format!("unix://{}/run/podman.sock", self.folder.path().display());
        address.parse().unwrap()
    }

    /// Connects as soon as the service answers.
    pub async fn connect(&mut self) -> DockerExecutor {
        let address = self.address();
        connect(&address, &mut self.process, self.folder.path(), SETUP).await
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if !self.is_seen {
            return;
        }
        // The service itself is a child of that process; the process that keeps its user namespace alive is not.
        let pause = self.folder.path().join("run/libpod/tmp/pause.pid");
        let pause = std::fs::read_to_string(pause).unwrap_or_default();
        let folder = self.folder.path().to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_ours = name == pause.trim() || String::from_utf8_lossy(&words).contains(&folder);
            if let Some(process) = name.parse().ok().and_then(Pid::from_raw)
                && is_ours
            {
                // The process may have ended already.
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}
