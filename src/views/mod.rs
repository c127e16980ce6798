//! Views: a night for people and for other programs, one file per format.
//!
//! Input: a [`Subject`], which is built from manifests. Output: text in a format. Views have no other effects.

mod coverage;
mod cyclonedx;
mod format;
mod html;
mod junit;
mod kcidb;
mod markdown;
mod metrics;
mod prometheus;
mod proofs;
mod stats;
mod subject;

pub use coverage::{Cell, Coverage, Failures, SignatureGroup};
pub use format::Format;
pub use proofs::{ProofCounts, Proofs};
pub use stats::{Stat, Stats};
pub use subject::{PastNight, PastRun, Subject, View};
