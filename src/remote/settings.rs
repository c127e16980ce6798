//! Where the remote store is, how it is used, and what is said about it.

use std::time::Duration;

use super::keys::Trust;
use crate::bucket::{BucketError, BucketSettings};
use crate::fs::FileError;

/// How long a machine has what it compiles to itself, unless the settings say otherwise.
pub const USUAL_LEASE: Duration = Duration::from_mins(5);

/// What the remote store keeps of what is made.
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
    /// Header trees that a job made of a kernel source. They are large, so only where that is asked for.
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

/// Where the remote store is and how it is used.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// The bucket.
    pub bucket: BucketSettings,
    /// Whose packs are believed.
    pub trust: Trust,
    /// What is kept.
    pub keep: Keep,
    /// Whether nothing is written.
    pub is_read_only: bool,
    /// How long a machine that compiles something has it to itself; zero: no machine waits for another.
    pub lease: Duration,
}

/// Why the remote store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// This machine's disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing says whose outcomes are believed.
    #[error("{0}: nothing says whose outcomes are believed")]
    NoTrust(String),
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Packs that are believed.
    pub packs: usize,
    /// Outcomes in them.
    pub outcomes: usize,
    /// Contents that they name.
    pub contents: usize,
    /// The size of those in bytes.
    pub content_bytes: u64,
    /// Packs that are not believed, with the reason.
    pub refused: Vec<String>,
}

/// What a run left in the remote store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Outcomes that other machines know now.
    pub outcomes: usize,
    /// Contents that were sent.
    pub contents: usize,
    /// Their size in bytes.
    pub content_bytes: u64,
    /// Outcomes of this run that other machines do not know.
    pub withheld: usize,
    /// Why.
    pub problems: Vec<String>,
}
