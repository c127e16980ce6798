//! What is asked of an archive.

use std::path::Path;

use crate::kernel::Architecture;

/// What is asked of an archive.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The suites.
    pub suites: &'a [String],
    /// The architectures.
    pub architectures: &'a [Architecture],
    /// The flavours; empty for all.
    pub flavours: &'a [String],
    /// The keys that `Release` files must be signed with; none for not looking at signatures.
    pub keyring: Option<&'a Path>,
    /// Whether a `Release` file past its `Valid-Until` is taken, with a notice.
    pub allows_expired: bool,
    /// Whether suites that no mirror has, and architectures that a suite has not, are passed over.
    pub skips_missing: bool,
    /// Told of every suite that is begun, for a person.
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
    /// Whether kernels of a flavour are asked for.
    pub(super) fn wants_flavour(&self, flavour: &str) -> bool {
        self.flavours.is_empty() || self.flavours.iter().any(|wanted| wanted == flavour)
    }
}
