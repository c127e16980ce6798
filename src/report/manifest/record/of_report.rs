//! Converts the report of a finished build to its record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{BuildRecord, milliseconds, seconds};
use crate::event::BuildReport;
use crate::failure::{Phase, Status};

impl From<&BuildReport> for BuildRecord {
    fn from(report: &BuildReport) -> Self {
        let mut artifacts = report.artifacts.clone();
        if !artifacts.is_sorted_by_key(|artifact| artifact.artifact) {
            artifacts.sort_by_key(|artifact| artifact.artifact);
        }
        let status = gravest(artifacts.iter().map(|artifact| artifact.status));
        let mut phases: BTreeMap<Phase, Duration> = BTreeMap::new();
        for (phase, duration) in &report.phases {
            *phases.entry(*phase).or_default() += *duration;
        }
        let wall = report.finished.duration_since(report.started);
        Self {
            build_id: report.build_id.clone(),
            target: report.target.clone(),
            kernel_release: report.kernel_release.clone(),
            kernel_version: report.kernel_version.clone(),
            architecture: report.architecture,
            driver_version: report.driver_version.clone(),
            status,
            artifacts,
            module_name: report.module_name.clone(),
            device_name: report.device_name.clone(),
            source: Arc::clone(&report.source),
            first_seen: report.first_seen,
            inputs: report.inputs.clone(),
            driver_sha256: report.driver_sha256,
            toolchain: report.toolchain.clone(),
            tree: report.tree,
            checks: report.checks.clone(),
            attempts: if status == Status::NotRun {
                0
            } else {
                report.retries.len() + 1
            },
            retries: report.retries.clone(),
            started: milliseconds(report.started),
            finished: milliseconds(report.finished),
            duration_seconds: seconds(Duration::try_from(wall).unwrap_or_default()),
            queued_seconds: None,
            phase_seconds: phases
                .into_iter()
                .map(|(phase, duration)| (phase, seconds(duration)))
                .collect(),
            cpu_seconds: report.cpu.map(seconds),
            peak_memory_bytes: report.peak_memory_bytes,
        }
    }
}

/// Returns the most severe of several statuses.
fn gravest(statuses: impl Iterator<Item = Status>) -> Status {
    const GRAVEST_FIRST: [Status; 9] = [
        Status::Failed,
        Status::Error,
        Status::Unresolvable,
        Status::Cancelled,
        Status::NotRun,
        Status::Known,
        Status::Built,
        Status::Cached,
        Status::Excluded,
    ];
    let rank = |status: &Status| GRAVEST_FIRST.iter().position(|known| known == status);
    statuses.min_by_key(rank).unwrap_or(Status::Excluded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_has_the_worst_status_of_its_artifacts() {
        use Status::{Built, Cached, Cancelled, Error, Failed, NotRun};
        assert_eq!(gravest([Built, Failed].into_iter()), Failed);
        assert_eq!(gravest([Error, Failed].into_iter()), Failed);
        assert_eq!(gravest([Cached, Built].into_iter()), Built);
        assert_eq!(gravest([Built, Cancelled, NotRun].into_iter()), Cancelled);
        assert_eq!(gravest([Cached].into_iter()), Cached);
    }

    #[test]
    fn every_status_has_a_rank() {
        for status in Status::ALL {
            assert_eq!(gravest([status].into_iter()), status);
        }
        for status in Status::ALL {
            assert_eq!(gravest([Status::Excluded, status].into_iter()), status);
        }
    }
}
