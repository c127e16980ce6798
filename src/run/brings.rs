//! Which artifacts of the shared store are downloaded to this machine.

use std::collections::HashSet;
use std::sync::Arc;

use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::plan::BuildId;

/// Which artifacts built by other machines are downloaded and placed; the others stay in the shared store.
#[derive(Clone, Debug)]
pub enum Brings {
    /// All artifacts.
    All,
    /// No artifacts.
    Nothing,
    /// All artifacts except these, which are already where they are needed.
    AllBut(Arc<HashSet<(BuildId, Artifact, Sha256)>>),
}

impl Brings {
    /// Whether an artifact with this content is downloaded.
    pub fn wants(&self, build: BuildId, artifact: Artifact, sha256: Sha256) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::AllBut(others) => !others.contains(&(build, artifact, sha256)),
        }
    }
}
