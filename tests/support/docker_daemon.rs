//! Real Docker daemons for single tests; starting `dockerd` needs root.

use std::path::Path;
use std::process::{Child, Command};

use driverkit_matrix::executor::{DockerAddress, DockerExecutor};
use rustix::process::{Pid, Signal, kill_process};

use crate::service::{connect, in_namespaces};

pub const SETUP: &str =
    "these tests start daemons of their own, which needs root: run scripts/setup.sh";

/// How often a daemon is started again if its containerd starts too slowly.
const RESTARTS: usize = 3;

/// A Docker daemon with its own directories.
pub struct Daemon {
    process: Child,
    pub folder: tempfile::TempDir,
    pub address: DockerAddress,
    /// `--host` and further arguments.
    arguments: Vec<String>,
}

impl Daemon {
    /// Starts a daemon that listens on its own socket.
    pub fn on_socket() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix://{}", folder.path().join("docker.sock").display());
        Self::start(folder, &address, &[])
    }

    /// Starts a daemon that listens on a port of this machine and accepts only clients with a certificate.
    pub fn with_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let path = |name: &str| format!("{}/{name}", folder.path().display());
        let arguments = [
            "--tlsverify=true".to_owned(),
            format!("--tlscacert={}", path("ca.pem")),
            format!("--tlscert={}", path("server-cert.pem")),
            format!("--tlskey={}", path("server-key.pem")),
        ];
        let mut daemon = Self::start(folder, &format!("tcp://{address}"), &arguments);
        let certificates = daemon.folder.path().display();
        daemon.address = format!("tcp://{address}?certificates={certificates}")
            .parse()
            .unwrap();
        daemon
    }

    pub fn start(folder: tempfile::TempDir, address: &str, arguments: &[String]) -> Self {
        let mut all = vec!["--host".to_owned(), address.to_owned()];
        all.extend_from_slice(arguments);
        Self {
            process: spawn(folder.path(), &all),
            folder,
            address: address.parse().unwrap(),
            arguments: all,
        }
    }

    /// Starts the daemon again with the same data after it has ended.
    pub fn start_again(&mut self) {
        // The file is from a killed daemon; another process may have its process ID by now.
        drop(std::fs::remove_file(self.folder.path().join("pid")));
        self.process = spawn(self.folder.path(), &self.arguments);
    }

    pub async fn wait(&mut self) {
        for _ in 0..RESTARTS {
            if !self.has_slow_containerd().await {
                break;
            }
            self.start_again();
        }
        connect(&self.address, &mut self.process, self.folder.path(), SETUP).await;
    }

    /// Waits until the daemon answers or ends; returns true if it ended because its containerd did not start within the
    /// ten seconds that dockerd allows, which is too short on a busy machine.
    async fn has_slow_containerd(&mut self) -> bool {
        while DockerExecutor::connect_to(&self.address).await.is_err() {
            if self.process.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
                return log.contains("timeout waiting for containerd");
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    /// Sends a signal to `dockerd` itself.
    pub fn signal(&self, signal: Signal) {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let child = children.unwrap_or_default().trim().parse().ok();
        if let Some(child) = child.and_then(Pid::from_raw) {
            // It is fine if the process has ended already.
            let _ = kill_process(child, signal);
        }
    }

    /// Ends the daemon with a signal to `dockerd` itself.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.process.wait().unwrap();
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let path = |name: &str| folder.join(name);
    in_namespaces("dockerd", folder)
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
        .arg("--data-root")
        .arg(path("data"))
        .arg("--exec-root")
        .arg(path("exec"))
        .arg("--pidfile")
        .arg(path("pid"))
        .args(arguments)
        .spawn()
        .expect(SETUP)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}

/// Creates a certificate authority, a server certificate for 127.0.0.1 and a client certificate with openssl.
pub fn make_certificates(folder: &Path) {
    let script = "
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca.pem
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' > server.cnf
        printf 'extendedKeyUsage=clientAuth\\n' > client.cnf
        sign() {
            openssl req -newkey rsa:2048 -nodes -subj \"/CN=$1\" -keyout \"$2\" -out request.pem
            openssl x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile \"$1.cnf\" -out \"$3\"
        }
        sign server server-key.pem server-cert.pem
        sign client key.pem cert.pem";
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
