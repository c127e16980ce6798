//! Which artifacts that machines share are brought to this one.

use std::collections::HashSet;
use std::sync::Arc;

use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::plan::BuildId;

/// Which artifacts that other machines built are brought here and placed; the others stay where they are.
#[derive(Clone, Debug)]
pub enum Brings {
    /// All artifacts.
    All,
    /// No artifacts.
    Nothing,
    /// All but these: they are where they are needed.
    AllBut(Arc<HashSet<(BuildId, Artifact, Sha256)>>),
}

impl Brings {
    /// Whether an artifact with this content is brought.
    pub fn wants(&self, build: BuildId, artifact: Artifact, sha256: Sha256) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::AllBut(others) => !others.contains(&(build, artifact, sha256)),
        }
    }
}
