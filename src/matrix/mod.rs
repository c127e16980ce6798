//! The matrix file: what a person writes, read strictly.
//!
//! In: the text of a TOML file. Out: a [`Matrix`] whose names, versions and patterns are checked, or every error of
//! the file at once, each with its place. Nothing here opens a connection or expands the grid.

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
