//! The index of the rows: for each, the fields for finding it and for comparing it with the row of another night.

use jiff::Timestamp;
use serde::Deserialize;

use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::event::{ArtifactReport, InputReport};
use crate::failure::{Failure, Status};
use crate::kernel::Architecture;

/// A row of the index. It is written as an array without field names, so that reading all rows is quick. Names of
/// kernels, drivers and builds contain no characters that JSON escapes.
#[derive(Deserialize)]
pub struct IndexRow<'a> {
    /// The build; `None` for an exclusion.
    pub build_id: Option<&'a str>,
    /// The distribution.
    pub target: &'a str,
    /// The kernel's release.
    pub kernel_release: &'a str,
    /// The kernel's version.
    pub kernel_version: &'a str,
    /// The architecture.
    pub architecture: Architecture,
    /// The driver version; `None` if all versions are excluded.
    pub driver_version: Option<&'a str>,
    /// A digest of all packages of the kernel: see [`digest_of_inputs`].
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
    /// Why the artifact failed.
    pub failure: Option<Failure>,
    /// Since when the artifact has been failing.
    pub failing_since: Option<Timestamp>,
}

/// Returns the fields of an artifact in a row of the index.
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

/// Returns a digest of the packages of a kernel, independent of their order; `None` if the digest of a package is
/// unknown, or the kernel has no packages.
pub fn digest_of_inputs(inputs: &[InputReport]) -> Option<Sha256> {
    let digests: Option<Vec<Sha256>> = inputs.iter().map(|input| input.sha256).collect();
    let mut digests = digests.filter(|digests| !digests.is_empty())?;
    digests.sort_unstable();
    let bytes: Vec<u8> = digests.iter().flat_map(|one| *one.as_bytes()).collect();
    Some(Sha256::of(bytes))
}
