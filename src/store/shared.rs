//! The interface of a store shared by several machines: outcomes, records of URLs, and contents by
//! digest.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Store;
use crate::digest::Sha256;

/// The answer to a claim of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This machine does the step: no other machine does it, or that is unknown.
    Granted,
    /// Another machine does the step, or has done it.
    Taken,
}

/// A store that several machines share. A look-up needs no connection: the index was read when the
/// store was opened.
pub trait Shared: Send + Sync {
    /// The outcome under a key, as [`crate::store`] keeps it on disk.
    fn outcome(&self, key: Sha256) -> Option<Vec<u8>>;

    /// Records an outcome of this machine, to be published to the others.
    fn note_outcome(&self, key: Sha256, text: &[u8]);

    /// Records that an outcome is unusable because its content is lost.
    fn forget_outcome(&self, key: Sha256);

    /// Claims the step under a key that has no outcome, in one request that takes a few seconds at most.
    fn claim(&self, key: Sha256) -> BoxFuture<'_, Claim>;

    /// Waits for a step that another machine has claimed: until its outcome is known, or it can be claimed again.
    fn wait_for(&self, key: Sha256) -> BoxFuture<'_, ()>;

    /// Ends a claim of this machine, if there is one; the step has no outcome unless that was noted.
    fn release(&self, key: Sha256);

    /// The record of a URL, in the format of the disk store.
    fn record(&self, url: &str) -> Option<Vec<u8>>;

    /// Records what a URL returned: the text of its record, and the content that the record names.
    fn note_record(&self, url: &str, text: &[u8], content: Sha256);

    /// The content that a tree is packed in, if the shared store has it.
    fn packed_tree(&self, tree: Sha256) -> Option<Sha256>;

    /// Whether the shared store has the content with this digest.
    fn has(&self, content: Sha256) -> bool;

    /// Copies a content into `store`. Returns false if the shared store does not have it, an error
    /// if it cannot be used.
    fn fetch<'a>(
        &'a self,
        content: Sha256,
        store: &'a Arc<Store>,
    ) -> BoxFuture<'a, Result<bool, String>>;
}
