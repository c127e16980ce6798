//! The query for an archive.

use std::path::Path;

use crate::kernel::Architecture;

/// The query for an archive.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The suites.
    pub suites: &'a [String],
    /// The architectures.
    pub architectures: &'a [Architecture],
    /// The flavours; empty for all.
    pub flavours: &'a [String],
    /// The keyring with the keys that must sign `Release` files. `None` to skip the check of signatures.
    pub keyring: Option<&'a Path>,
    /// Whether a `Release` file past its `Valid-Until` is accepted, with a notice.
    pub allows_expired: bool,
    /// Whether suites that no mirror has, and architectures that a suite does not have, are skipped.
    pub skips_missing: bool,
    /// Receives a message for the user about each suite.
    pub progress: &'a dyn Fn(&str),
}

impl Default for Question<'_> {
    fn default() -> Self {
        Self {
            suites: &[],
            architectures: &[],
            flavours: &[],
            keyring: None,
            allows_expired: false,
            skips_missing: false,
            progress: &|_| {},
        }
    }
}

impl Question<'_> {
    /// Whether kernels of a flavour are requested.
    pub(super) fn wants_flavour(&self, flavour: &str) -> bool {
        self.flavours.is_empty() || self.flavours.iter().any(|wanted| wanted == flavour)
    }
}
