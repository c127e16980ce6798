//! Nights: the changes from one run to another.
//!
//! Input: manifests. Output: a [`Diff`], sentences about a kernel, known failures. Nothing here has other effects.

mod compilers;
mod diff;
mod draw;
mod known;
mod night;
mod suggest;
mod why;

pub use compilers::{Attempt, CompilerRow, CompilerTable};
pub use diff::{ArtifactId, Change, Changed, Diff, Group, diff, diff_nights};
pub use draw::{draw_markdown, draw_text, escape_markdown};
pub use known::KnownFailures;
pub use night::{Night, NightArtifact};
pub use suggest::suggest;
pub use why::{LockedFacts, Query, of_earlier, why};
