//! Shared code to start services that implement Docker's API.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driverkit_matrix::executor::{DockerAddress, DockerExecutor};

/// Returns a command in its own mount and process namespaces that writes to `log` in `folder`. When its first process
/// ends, all others are killed, as if a machine was switched off. The first process ends with this process, even if
/// this process is killed.
pub fn in_namespaces(program: &str, folder: &Path) -> Command {
    unshared(&["--mount", "--pid", "--mount-proc"], program, folder)
}

/// The same without a process namespace; only the first process ends with this process.
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

/// Connects as soon as the service answers; panics with `setup` and the log if the service ends first.
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
