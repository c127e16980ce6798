//! Builds as requested by single matrices, before equal ones are merged.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::Build;

/// The index of a matrix and the byte range in its file. Shared, because most candidates of a `[[target]]` are equal
/// in both.
pub(super) type Origin = Arc<(usize, Range<usize>)>;

/// One build as requested by one matrix.
pub(super) struct Candidate {
    pub(super) build: Build,
    /// The place that requests the build.
    pub(super) origin: Origin,
}

impl Candidate {
    /// Returns whether this candidate comes after `before` in plan order.
    pub(super) fn follows(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| order_of(&before.build, &self.build).is_lt())
    }
}

/// Compares two builds by the order of a plan.
pub(super) fn order_of(left: &Build, right: &Build) -> Ordering {
    // Most neighbours share one kernel, which makes the comparison cheap.
    let kernels = if left.shares_kernel(right) {
        Ordering::Equal
    } else {
        left.kernel.identity().cmp(&right.kernel.identity())
    };
    kernels.then_with(|| left.driver.version.cmp(&right.driver.version))
}
