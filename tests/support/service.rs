//! What services that speak Docker's API have in common, when a test starts them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driverkit_matrix::executor::{DockerAddress, DockerExecutor};

/// A command with mounts and processes of its own, which writes to `log` in `folder`. All of it ends with its first
/// process, as on a machine that is switched off; and that ends with this process, whatever becomes of this process.
pub fn in_namespaces(program: &str, folder: &Path) -> Command {
    unshared(&["--mount", "--pid", "--mount-proc"], program, folder)
}

/// The same among the processes of this machine, of which only the first ends.
pub fn in_mounts(program: &str, folder: &Path) -> Command {
    unshared(&["--mount"], program, folder)
}

fn unshared(kinds: &[&str], program: &str, folder: &Path) -> Command {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(kinds)
        .args(["--fork", "--kill-child", program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// Connects as soon as the service answers; says `setup` and its log where it ends before.
pub async fn connect(
    address: &DockerAddress,
    process: &mut Child,
    folder: &Path,
    setup: &str,
) -> DockerExecutor {
    loop {
        match DockerExecutor::connect_to(address).await {
            Ok(executor) => return executor,
            Err(error) => {
                let ended = process.try_wait().unwrap();
                let log = std::fs::read_to_string(folder.join("log")).unwrap();
                assert!(ended.is_none(), "{setup} ({error})\n{log}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
