//! Nights: what changed from one run to another.
//!
//! In: manifests. Out: a [`Diff`]. Nothing here runs, asks or writes anything.

mod diff;
mod draw;

pub use diff::{ArtifactId, Change, Changed, Diff, Group, diff};
pub use draw::{draw_markdown, draw_text};
