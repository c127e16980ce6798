//! Checks whether hardware virtualisation can be used, with a probe in a separate process that has a deadline.
//!
//! On some machines `/dev/kvm` exists but hangs, or creates machines but never runs one. So the probe runs an empty
//! machine in a child process. At the deadline the child is killed, and abandoned if a system call keeps it from
//! ending.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::Architecture;

/// The KVM device.
pub(super) const DEVICE: &str = "/dev/kvm";

/// How long the probe may take.
pub const KVM_PROBE_TIME: Duration = Duration::from_secs(5);

/// How often the child's state is checked.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long a killed child may take to end before it is abandoned.
const END_TIME: Duration = Duration::from_millis(500);

/// The maximum length of the child's error message.
const MESSAGE_BYTES: u64 = 4096;

/// Permission to use the device, as determined by a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kvm {
    /// The group that may open the device, if not everybody may.
    pub(super) group: Option<u32>,
}

impl Kvm {
    /// Creates the permission without a probe, for a caller that knows that the device works and which group may open
    /// it.
    pub fn unprobed(group: Option<u32>) -> Self {
        Self { group }
    }

    /// Probes the device with `command`, which calls [`run_empty_machine`]; returns the reason if the device cannot be
    /// used. Takes little more than `time`, whatever the device does.
    pub fn probe(command: Command, time: Duration) -> Result<Self, String> {
        if Architecture::of_host() != Architecture::Amd64 {
            return Err("supported on amd64 only".to_owned());
        }
        let device = Path::new(DEVICE)
            .metadata()
            .map_err(|error| format!("{DEVICE}: {error}"))?;
        run_within(command, time)?;
        let group = group_that_opens(device.mode(), device.gid())?;
        Ok(Self { group })
    }
}

/// Runs a machine without memory until its first exit. A machine that cannot be entered thus fails here, not in a
/// proof.
pub fn run_empty_machine() -> Result<(), String> {
    let failed = |what: &'static str| move |error| format!("{DEVICE}: failed to {what}: {error}");
    let kvm = kvm_ioctls::Kvm::new().map_err(failed("open it"))?;
    let machine = kvm.create_vm().map_err(failed("create a machine"))?;
    let processor = machine.create_vcpu(0);
    let mut processor = processor.map_err(failed("create a processor"))?;
    processor.run().map_err(failed("run a machine"))?;
    Ok(())
}

/// Returns the group that a sandbox needs to open the device. Sandboxes run as `nobody`, with at most one more group.
fn group_that_opens(mode: u32, group: u32) -> Result<Option<u32>, String> {
    const READ_AND_WRITE: u32 = 0o6;
    let has = |shift: u32| (mode >> shift) & READ_AND_WRITE == READ_AND_WRITE;
    if has(0) {
        Ok(None)
    } else if has(3) && group != 0 {
        Ok(Some(group))
    } else {
        Err(format!(
            "sandboxes may not open {DEVICE} (mode {:o}, group {group}); give a dedicated group, such as `kvm`, read and write access",
            mode & 0o777
        ))
    }
}

/// Runs a command that must succeed within `time`.
fn run_within(mut command: Command, time: Duration) -> Result<(), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.map_err(|error| format!("failed to start the probe: {error}"))?;
    let ended = |error: std::io::Error| format!("failed to wait for the probe: {error}");
    let Some(status) = wait(&mut child, time).map_err(ended)? else {
        // A process in an uninterruptible system call stays; waiting for it would hang too.
        let is_gone = child.kill().is_ok() && wait(&mut child, END_TIME).map_err(ended)?.is_some();
        let left = if is_gone {
            ""
        } else {
            " and could not be killed"
        };
        return Err(format!(
            "{DEVICE} did not answer within {} s{left}",
            time.as_secs_f32()
        ));
    };
    if status.success() {
        return Ok(());
    }
    let mut message = String::new();
    if let Some(stderr) = child.stderr.take() {
        // An unreadable message is ignored.
        drop(stderr.take(MESSAGE_BYTES).read_to_string(&mut message));
    }
    let message = message.trim();
    Err(if message.is_empty() {
        format!("the probe failed: {status}")
    } else {
        message.to_owned()
    })
}

/// Waits for a process for at most `time`.
fn wait(child: &mut Child, time: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, argument: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(argument);
        command
    }

    #[test]
    fn device_that_hangs_is_given_up_at_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("kvm");
        assert!(
            Command::new("mkfifo")
                .arg(&device)
                .status()
                .unwrap()
                .success()
        );
        // The pipe has no writer, so even opening it hangs; the polite signals do not end the probe either.
        let command = shell("trap '' TERM INT HUP; exec cat \"$1\"", &device);
        let start = Instant::now();
        let probed = run_within(command, Duration::from_millis(300));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(
            probed,
            Err("/dev/kvm did not answer within 0.3 s".to_owned())
        );
    }

    #[test]
    fn what_the_probe_says_is_the_reason() {
        let nothing = Path::new("");
        let long = Duration::from_secs(20);
        assert_eq!(run_within(shell("exit 0", nothing), long), Ok(()));
        assert_eq!(
            run_within(shell("echo /dev/kvm: no >&2; exit 1", nothing), long),
            Err("/dev/kvm: no".to_owned())
        );
        let killed = run_within(shell("kill -KILL $$", nothing), long).unwrap_err();
        assert!(
            killed.starts_with("the probe failed: signal: 9"),
            "{killed}"
        );
        let missing = run_within(Command::new("/does/not/exist"), long).unwrap_err();
        assert!(
            missing.starts_with("failed to start the probe: "),
            "{missing}"
        );
    }

    #[test]
    fn sandboxes_get_the_group_of_the_device_only_if_they_need_it() {
        assert_eq!(group_that_opens(0o20666, 104), Ok(None));
        assert_eq!(group_that_opens(0o20660, 104), Ok(Some(104)));
        // Never the group of root.
        for (mode, group) in [(0o20660, 0), (0o20600, 104), (0o20640, 104)] {
            let refused = group_that_opens(mode, group).unwrap_err();
            assert!(
                refused.contains("sandboxes may not open /dev/kvm"),
                "{refused}"
            );
        }
    }
}
