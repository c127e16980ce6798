//! The cache: outcomes of steps by key, and the clean-up and verification of the store.
//!
//! Every expensive operation is a step: a function from digests to an outcome. [`Outcomes::find`] is the only place
//! that looks outcomes up. Contents (trees, artifacts, logs) are in the [`crate::store`]; an outcome refers to them by
//! digest.

mod clean;
mod index;
mod listing;
mod outcome;
mod outcomes;
mod used;
mod verify;

pub use clean::{CacheSizes, CleanLimits, Cleaned, clean, sizes};
pub use outcome::{ArtifactFacts, FAILURE_RULES, Outcome, StepResult, TreeRole};
pub use outcomes::Outcomes;
pub use verify::{Defect, verify};
