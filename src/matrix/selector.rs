//! Selectors: which part of the grid a rule or a filter is about.

use super::Pattern;
use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Architecture, Kernel, TargetId};

/// Patterns on each axis; an axis without patterns takes everything, several patterns on one take what any matches.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// On the target.
    pub targets: Vec<Pattern>,
    /// On the kernel release.
    pub kernels: Vec<Pattern>,
    /// On the driver version.
    pub drivers: Vec<Pattern>,
    /// On the architecture.
    pub architectures: Vec<Pattern>,
    /// On the artifact.
    pub artifacts: Vec<Pattern>,
}

impl Selector {
    /// Whether a target can be meant.
    pub fn matches_target(&self, target: &TargetId) -> bool {
        any(&self.targets, |pattern| {
            pattern.matches_name(target.as_str())
        })
    }

    /// Whether an architecture can be meant.
    pub fn matches_architecture(&self, architecture: Architecture) -> bool {
        any(&self.architectures, |pattern| {
            pattern.matches_architecture(architecture)
        })
    }

    /// Whether a kernel is meant: its target, release and architecture.
    pub fn matches_kernel(&self, kernel: &Kernel) -> bool {
        self.matches_target(&kernel.target)
            && self.matches_architecture(kernel.architecture)
            && any(&self.kernels, |pattern| {
                pattern.matches_release(&kernel.release)
            })
    }

    /// Whether a driver version is meant.
    pub fn matches_driver(&self, version: &DriverVersion) -> bool {
        any(&self.drivers, |pattern| pattern.matches_driver(version))
    }

    /// Whether an artifact is meant.
    pub fn matches_artifact(&self, artifact: Artifact) -> bool {
        any(&self.artifacts, |pattern| {
            pattern.matches_name(artifact.as_str())
        })
    }
}

fn any(patterns: &[Pattern], matches: impl FnMut(&Pattern) -> bool) -> bool {
    patterns.is_empty() || patterns.iter().any(matches)
}
