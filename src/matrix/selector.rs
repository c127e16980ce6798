//! Selectors: the part of the matrix that a rule or a filter applies to.

use super::Pattern;
use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Architecture, Kernel, TargetId};

/// Patterns on each axis. An axis without patterns matches everything; otherwise one of its patterns has to match.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Patterns for the target.
    pub targets: Vec<Pattern>,
    /// Patterns for the kernel release.
    pub kernels: Vec<Pattern>,
    /// Patterns for the driver version.
    pub drivers: Vec<Pattern>,
    /// Patterns for the architecture.
    pub architectures: Vec<Pattern>,
    /// Patterns for the artifact.
    pub artifacts: Vec<Pattern>,
}

impl Selector {
    /// Returns true if a target matches.
    pub fn matches_target(&self, target: &TargetId) -> bool {
        any(&self.targets, |pattern| {
            pattern.matches_name(target.as_str())
        })
    }

    /// Returns true if an architecture matches.
    pub fn matches_architecture(&self, architecture: Architecture) -> bool {
        any(&self.architectures, |pattern| {
            pattern.matches_architecture(architecture)
        })
    }

    /// Returns true if the target, release and architecture of a kernel match.
    pub fn matches_kernel(&self, kernel: &Kernel) -> bool {
        self.matches_target(&kernel.target)
            && self.matches_architecture(kernel.architecture)
            && any(&self.kernels, |pattern| {
                pattern.matches_release(&kernel.release)
            })
    }

    /// Returns true if a driver version matches.
    pub fn matches_driver(&self, version: &DriverVersion) -> bool {
        any(&self.drivers, |pattern| pattern.matches_driver(version))
    }

    /// Returns true if an artifact matches.
    pub fn matches_artifact(&self, artifact: Artifact) -> bool {
        any(&self.artifacts, |pattern| {
            pattern.matches_name(artifact.as_str())
        })
    }
}

fn any(patterns: &[Pattern], matches: impl FnMut(&Pattern) -> bool) -> bool {
    patterns.is_empty() || patterns.iter().any(matches)
}
