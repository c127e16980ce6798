//! What machines share beside a store on disk: outcomes, what URLs gave, and contents by digest.

use futures_util::future::BoxFuture;

use super::Store;
use crate::digest::Sha256;

/// Whether this machine is to do a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is: no other machine does it, or that is unknown.
    Granted,
    /// Another machine does it, or did.
    Taken,
}

/// A store that several machines share. Looking something up needs no connection: it was read when it was opened.
pub trait Shared: Send + Sync {
    /// The outcome under a key, as [`crate::store`] keeps it on disk.
    fn outcome(&self, key: Sha256) -> Option<Vec<u8>>;

    /// Notes that this machine has an outcome; others will know it.
    fn note_outcome(&self, key: Sha256, text: &[u8]);

    /// Notes that an outcome is of no use: its content is lost.
    fn forget_outcome(&self, key: Sha256);

    /// Claims the step under a key that has no outcome, in one request that takes a few seconds at most.
    fn claim(&self, key: Sha256) -> BoxFuture<'_, Claim>;

    /// Waits for a step that another machine has claimed: until its outcome is known, or it can be claimed again.
    fn wait_for(&self, key: Sha256) -> BoxFuture<'_, ()>;

    /// Ends a claim of this machine, if there is one; the step has no outcome unless that was noted.
    fn release(&self, key: Sha256);

    /// What a URL gave, as it is kept on disk.
    fn record(&self, url: &str) -> Option<Vec<u8>>;

    /// Notes what a URL gave: the record, and the content that it names.
    fn note_record(&self, url: &str, text: &[u8], content: Sha256);

    /// The content that a tree is packed in, if the shared store has it.
    fn packed_tree(&self, tree: Sha256) -> Option<Sha256>;

    /// Whether the shared store has the content with this digest.
    fn has(&self, content: Sha256) -> bool;

    /// Brings a content into `store`; false if the shared store does not have it. The error says why it cannot be used.
    fn fetch<'a>(
        &'a self,
        content: Sha256,
        store: &'a Store,
    ) -> BoxFuture<'a, Result<bool, String>>;
}
