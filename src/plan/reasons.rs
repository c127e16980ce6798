//! The reasons to leave out a kernel for every driver version and artifact.

use crate::kernel::Kernel;
use crate::matrix::TargetEntry;
use crate::target;

/// Returns the rule and the reason to leave a kernel out, or `None` to keep it.
pub(super) fn reason_to_leave_out(
    entry: &TargetEntry,
    kernel: &Kernel,
) -> Option<(&'static str, String)> {
    if !entry.name.get_ref().is_literal()
        && let Some(reason) = target::unknown_target(kernel)
    {
        return Some(("unknown target", reason));
    }
    let is_listed = &*kernel.source != "inline";
    if is_listed && let Some(reason) = target::no_kernel_package(kernel) {
        return Some(("no kernel package", reason));
    }
    Some(("architecture", architecture_reason(entry, kernel)?))
}

/// Returns the reason why a kernel's architecture is not built, or `None` if it is built.
fn architecture_reason(entry: &TargetEntry, kernel: &Kernel) -> Option<String> {
    let architecture = kernel.architecture;
    let lacks = target::find(&kernel.target)
        .is_some_and(|target| !target.architectures().contains(&architecture));
    if lacks {
        Some(format!(
            "{} has no kernels for {architecture}",
            kernel.target
        ))
    } else if entry.architectures.contains(&architecture) {
        None
    } else {
        Some(format!("the matrix does not request {architecture}"))
    }
}
