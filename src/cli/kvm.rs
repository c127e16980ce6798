//! Allows KVM for proofs only if a probe in a separate process has run a virtual machine in time.

use std::process::Command;

use super::ExitStatus;
use super::messages::put_error;
use crate::executor::{Executor, KVM_PROBE_TIME, Kvm, run_empty_machine};
use crate::fs::blocking;

/// The hidden command that runs the probe.
const COMMAND: &str = "probe-kvm";

/// Lets the executor use KVM if it works on this machine. Returns a notice about the result.
pub(super) async fn allow(executor: &dyn Executor) -> String {
    let probed = blocking(|| {
        let program = std::env::current_exe()
            .map_err(|error| format!("failed to find the path of this program: {error}"))?;
        let mut command = Command::new(program);
        command.arg(COMMAND);
        Kvm::probe(command, KVM_PROBE_TIME)
    });
    match probed.await.and_then(|kvm| executor.allow_kvm(kvm)) {
        Ok(()) => "KVM works here: kernels for amd64 boot with it".to_owned(),
        Err(reason) => {
            format!("KVM is not used: {reason}; qemu emulates the processor instead")
        }
    }
}

/// Runs the probe in the child process.
pub(super) fn probe() -> ExitStatus {
    match run_empty_machine() {
        Ok(()) => ExitStatus::Success,
        Err(message) => {
            put_error(&message);
            ExitStatus::Infrastructure
        }
    }
}
