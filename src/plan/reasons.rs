//! Why kernels are left out whatever is built for them.

use crate::kernel::Kernel;
use crate::matrix::TargetEntry;
use crate::target;

/// Why a kernel cannot be built at all, if it cannot: the rule and the reason.
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

/// Why a kernel's architecture is not built, if it is not.
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
        Some(format!("the matrix does not ask for {architecture}"))
    }
}
