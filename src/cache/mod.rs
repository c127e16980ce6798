//! The cache: outcomes of steps under their keys, and what keeps the store healthy.
//!
//! Everything that costs is a step: a function of digests to an outcome. [`Outcomes::find`] is the one place that
//! answers "is it there?" for all of them. Contents (trees, artifacts, logs) lie in the [`crate::store`]; an outcome
//! only names them by digest.

mod clean;
mod outcome;
mod verify;

pub use clean::{CacheSizes, CleanLimits, Cleaned, clean, sizes};
pub use outcome::{ArtifactFacts, FAILURE_RULES, Outcome, Outcomes, StepResult, TreeRole};
pub use verify::{Defect, verify};
