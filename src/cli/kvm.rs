//! KVM for proofs: only where a probe, in a process of its own, has run a machine in time.

use std::process::Command;

use super::{ExitStatus, put_error};
use crate::executor::{Executor, KVM_PROBE_TIME, Kvm, run_empty_machine};

/// The hidden command that the probe is.
const COMMAND: &str = "probe-kvm";

/// Lets an executor use KVM if it works here. Returns the notice about it.
pub(super) async fn allow(executor: &dyn Executor) -> String {
    let probed = tokio::task::spawn_blocking(|| {
        let program = std::env::current_exe()
            .map_err(|error| format!("the program does not find itself: {error}"))?;
        let mut command = Command::new(program);
        command.arg(COMMAND);
        Kvm::probe(command, KVM_PROBE_TIME)
    });
    let probed = probed.await.unwrap_or_else(|error| Err(error.to_string()));
    match probed.and_then(|kvm| executor.allow_kvm(kvm)) {
        Ok(()) => "KVM works here: kernels for amd64 boot with it".to_owned(),
        Err(reason) => {
            format!("KVM is not used: {reason}; qemu emulates the processor instead")
        }
    }
}

/// The probe, in the child.
pub(super) fn probe() -> ExitStatus {
    match run_empty_machine() {
        Ok(()) => ExitStatus::Success,
        Err(message) => {
            put_error(&message);
            ExitStatus::Infrastructure
        }
    }
}
