//! Mirrors: what distributions themselves publish of their kernels.
//!
//! In: a `[[target]]` with `from = "mirror"`. Out: its kernels, with addresses, sizes and digests as far as the
//! distribution's indexes tell them. Nothing is guessed: what an index contradicts, or a signature does not cover, is
//! an error, and the lock stays as it was.

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
