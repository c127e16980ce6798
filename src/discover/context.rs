//! The inputs of all sources.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{DiscoverError, KnownKernels, SharedLists};
use crate::fetch::Fetcher;
use crate::kernel::Kernel;

/// The inputs of a source in addition to the matrix.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Base URLs given at run time, by the name of the distribution.
    pub mirrors: &'a BTreeMap<String, String>,
    /// Downloads, for sources that need them (see [`super::needs_fetcher`]).
    pub fetcher: Option<&'a Fetcher>,
    /// Lists that several `[[target]]`s share.
    pub lists: &'a SharedLists,
    /// The kernels in the lock.
    pub known: &'a KnownKernels,
    /// Returns the day on which a kernel was first seen: today for an unknown kernel.
    pub first_seen: &'a dyn Fn(&Kernel) -> Date,
    /// Reports the progress of long operations to the user.
    pub progress: &'a dyn Fn(&str),
}

impl<'a> Context<'a> {
    /// Returns the downloads, which the source needs.
    pub(super) fn fetcher(self) -> Result<&'a Fetcher, DiscoverError> {
        self.fetcher.ok_or_else(|| {
            DiscoverError::unsupported(
                "this source needs a download, but downloads are not available",
            )
        })
    }
}
