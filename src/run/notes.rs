//! Information about a build, collected for its report while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::digest::Sha256;
use crate::engine::work::Done;
use crate::event::{ArtifactReport, BuildReport, Common, InputReport, ToolchainReport, TreeReport};
use crate::failure::{FailureClass, Phase};
use crate::plan::Build;

/// The parts of a build's report that are known so far.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) inputs: Common<Vec<InputReport>>,
    pub(super) clang_version: Option<String>,
    pub(super) toolchain: Option<Common<ToolchainReport>>,
    pub(super) tree: Option<TreeReport>,
    pub(super) driver_sha256: Option<Sha256>,
    pub(super) checks: Common<BTreeMap<String, bool>>,
    /// The steps that this build ran itself.
    pub(super) new: Vec<(Phase, Done)>,
    pub(super) phases: Vec<(Phase, Duration)>,
}

impl Notes {
    /// Returns the report of a build with these artifacts.
    pub(super) fn report(
        self,
        build: &Build,
        artifacts: Common<Vec<ArtifactReport>>,
        started: jiff::Timestamp,
    ) -> BuildReport {
        let mut phases = self.phases;
        let mut cpu = None;
        let mut peak_memory_bytes = None;
        for (phase, done) in &self.new {
            phases.push((*phase, done.outcome.wall));
            if let Some(used) = done.outcome.cpu {
                *cpu.get_or_insert(Duration::ZERO) += used;
            }
            peak_memory_bytes = peak_memory_bytes.max(done.outcome.peak_memory_bytes);
        }
        BuildReport {
            inputs: self.inputs,
            driver_sha256: self.driver_sha256,
            toolchain: self.toolchain,
            tree: self.tree,
            checks: self.checks,
            phases,
            cpu,
            peak_memory_bytes,
            started,
            finished: jiff::Timestamp::now(),
            ..BuildReport::with_artifacts(build, artifacts)
        }
    }
}

/// Adds to toolchain mismatches that the kernel was built with clang, which none of the compilers is.
pub(super) fn name_clang(artifacts: &mut [ArtifactReport], version: &str) {
    let failures = artifacts
        .iter_mut()
        .filter_map(|artifact| artifact.failure.as_mut());
    for failure in failures.filter(|failure| failure.class == FailureClass::ToolchainMismatch) {
        let message = format!(
            "the kernel was built by clang {version}, modules are compiled by gcc: {}",
            failure.message
        );
        failure.message = crate::failure::printable(&message);
    }
}
