//! The settings of the remote store, and its errors and summaries.

use std::time::Duration;

use super::keys::Trust;
use crate::bucket::{BucketError, BucketSettings};
use crate::fs::FileError;

/// The default time for which a machine has a step to itself.
pub const USUAL_LEASE: Duration = Duration::from_mins(5);

/// Which contents the remote store stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "any of the kinds may be kept without the others"
)]
pub struct Keep {
    /// Modules and probes.
    pub artifacts: bool,
    /// The logs of jobs.
    pub logs: bool,
    /// Header packages, kernel configurations and driver sources, which mirrors delete.
    pub headers: bool,
    /// Header trees that a job prepared from a kernel source. They are large, so they are only stored on request.
    pub prepared: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            artifacts: true,
            logs: true,
            headers: true,
            prepared: false,
        }
    }
}

/// The settings of the remote store.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// The bucket.
    pub bucket: BucketSettings,
    /// Which packs are trusted.
    pub trust: Trust,
    /// Which contents are stored.
    pub keep: Keep,
    /// True if nothing is written.
    pub is_read_only: bool,
    /// The time for which a machine has a step to itself; zero disables waiting for other machines.
    pub lease: Duration,
}

/// The reason why the remote store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// An error of the bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An error of a local file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither keys nor trust in the bucket are configured.
    #[error("{0}: no keys configured, and the store is not declared trusted")]
    NoTrust(String),
}

/// The size of the remote store.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The number of trusted packs.
    pub packs: usize,
    /// The number of outcomes in them.
    pub outcomes: usize,
    /// The number of contents that they reference.
    pub contents: usize,
    /// The size of these contents in bytes.
    pub content_bytes: u64,
    /// Packs that are not trusted, with the reason.
    pub refused: Vec<String>,
}

/// The additions of a run to the remote store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// The number of outcomes that other machines can use now.
    pub outcomes: usize,
    /// The number of contents that were uploaded.
    pub contents: usize,
    /// The size of these contents in bytes.
    pub content_bytes: u64,
    /// The number of outcomes of this run that other machines cannot use.
    pub withheld: usize,
    /// The reasons.
    pub problems: Vec<String>,
}
