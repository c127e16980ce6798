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
