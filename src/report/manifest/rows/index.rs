//! The index of the rows: of each what it is found by, and what it is compared by with the row of another night.

use jiff::Timestamp;
use serde::Deserialize;

use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::event::{ArtifactReport, InputReport};
use crate::failure::{Failure, Status};
use crate::kernel::Architecture;

/// A row of the index. It is written as an array, whose names are only here, so that reading all of them is quick.
/// Names of kernels, drivers and builds hold no characters that JSON escapes.
#[derive(Deserialize)]
pub struct IndexRow<'a> {
    /// The build; `None` of something that a rule left out.
    pub build_id: Option<&'a str>,
    /// The distribution.
    pub target: &'a str,
    /// The kernel's release.
    pub kernel_release: &'a str,
    /// The kernel's version.
    pub kernel_version: &'a str,
    /// The architecture.
    pub architecture: Architecture,
    /// The driver version; `None` if something is left out of all of them.
    pub driver_version: Option<&'a str>,
    /// A digest over all packages of the kernel: see [`digest_of_inputs`].
    pub inputs: Option<Sha256>,
    /// The artifacts of a build.
    pub artifacts: Vec<IndexArtifact>,
}

/// An artifact in a row of the index.
#[derive(Deserialize)]
pub struct IndexArtifact {
    /// Module or probe.
    pub artifact: Artifact,
    /// The result.
    pub status: Status,
    /// Why it is not there.
    pub failure: Option<Failure>,
    /// Since when it has been failing.
    pub failing_since: Option<Timestamp>,
}

/// Returns an artifact as it is written.
pub(super) fn artifact(
    report: &ArtifactReport,
) -> (Artifact, Status, Option<&Failure>, Option<Timestamp>) {
    (
        report.artifact,
        report.status,
        report.failure.as_ref(),
        report.failing_since,
    )
}

/// Returns a digest over the packages of a kernel, whatever their order; `None` if one of them is unknown, or the
/// kernel has no packages.
pub fn digest_of_inputs(inputs: &[InputReport]) -> Option<Sha256> {
    let digests: Option<Vec<Sha256>> = inputs.iter().map(|input| input.sha256).collect();
    let mut digests = digests.filter(|digests| !digests.is_empty())?;
    digests.sort_unstable();
    let bytes: Vec<u8> = digests.iter().flat_map(|one| *one.as_bytes()).collect();
    Some(Sha256::of(bytes))
}
