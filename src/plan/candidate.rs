//! A build as one matrix asks for it, before equal ones are one.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::Build;

/// The number of a matrix, and the place in it in bytes. Shared: candidates of one `[[target]]` mostly have the same.
pub(super) type Origin = Arc<(usize, Range<usize>)>;

/// One build as one matrix asks for it.
pub(super) struct Candidate {
    pub(super) build: Build,
    /// The matrix and the place in it.
    pub(super) origin: Origin,
}

impl Candidate {
    /// Whether it comes after another in a plan.
    pub(super) fn follows(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| order_of(&before.build, &self.build).is_lt())
    }
}

/// The order of a plan.
pub(super) fn order_of(left: &Build, right: &Build) -> Ordering {
    // Most neighbours are builds of one kernel: no need to look into it.
    let kernels = if left.shares_kernel(right) {
        Ordering::Equal
    } else {
        left.kernel.identity().cmp(&right.kernel.identity())
    };
    kernels.then_with(|| left.driver.version.cmp(&right.driver.version))
}
