//! The matrix file, which the user writes, parsed strictly.
//!
//! Input: the text of a TOML file. Output: a [`Matrix`] with validated names, versions and patterns, or all errors of
//! the file, each with its position. Nothing here opens a connection or expands the matrix.

mod attestation;
mod bracket;
mod drivers;
mod index;
mod key;
mod pattern;
mod read;
mod rules;
mod section;
mod selector;
mod settings;
mod signing;
mod sources;
mod syntax;
mod types;

pub use attestation::Attestation;
pub use index::SelectorIndex;
pub use pattern::{ParsePatternError, Pattern};
pub use read::{hint_for_target, read};
pub use rules::message_pattern;
pub use selector::Selector;
pub use settings::{Prove, Settings, parse_lease, parse_size, parse_time};
pub use signing::Signing;
pub use sources::{
    InlineKernel, KernelSources, ListPlace, MirrorSource, Selection, Source, SourceKind,
};
pub use types::{
    Exclude, Kept, KnownFailure, LockSettings, Matrix, Mirrors, Override, SharedStore, TargetEntry,
};

#[cfg(test)]
mod tests;
