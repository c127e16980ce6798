//! Mirrors: reads kernels from the repositories of their distributions.
//!
//! Input: a `[[target]]` with `from = "mirror"`. Output: its kernels, with the URLs, sizes and digests that the
//! distribution's indexes list. Nothing is guessed: a file that contradicts its index, or lacks a required signature, is
//! an error. The lock then stays unchanged.

pub mod apt;
mod arch;
mod ask;
mod error;
mod flatcar;
mod listing;
mod rpm;

pub use ask::{DEFAULT_MIRRORS, usual_suites};
pub use error::DiscoverMirrorError;

pub(super) use ask::discover;

use super::DiscoverError;
use crate::kernel::{ParseKernelError, TargetId};
use crate::target::{self, Target};

/// Returns a target by its id.
fn known_target(name: &str) -> Result<(TargetId, &'static dyn Target), DiscoverError> {
    let id: TargetId = name
        .parse()
        .map_err(|error: ParseKernelError| DiscoverError::unsupported(error.to_string()))?;
    let target = target::find(&id);
    let target =
        target.ok_or_else(|| DiscoverError::unsupported(format!("unknown target `{name}`")))?;
    Ok((id, target))
}
