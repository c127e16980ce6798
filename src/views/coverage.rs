//! What several views count: coverage by target and driver version, and failures by signature.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::driver::DriverVersion;
use crate::event::ArtifactReport;
use crate::failure::{FailureClass, Phase, Status};
use crate::kernel::TargetId;
use crate::report::{BuildRecord, Manifest, signature};

/// Artifacts of one target and driver version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Those that there are.
    pub there: usize,
    /// Those that are wanted.
    pub wanted: usize,
    /// Those that fail as expected.
    pub known: usize,
}

/// Which part of the wanted artifacts there is, by target and driver version.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// The driver versions.
    pub drivers: BTreeSet<DriverVersion>,
    /// The cells.
    pub targets: BTreeMap<TargetId, BTreeMap<DriverVersion, Cell>>,
}

impl Coverage {
    /// The coverage of a night.
    pub fn of(manifest: &Manifest) -> Self {
        let mut coverage = Self::default();
        for build in &manifest.builds {
            coverage.drivers.insert(build.driver_version.clone());
            let cells = coverage.targets.entry(build.target.clone());
            let cells = cells.or_default();
            let cell = cells.entry(build.driver_version.clone()).or_default();
            for artifact in &build.artifacts {
                cell.wanted += 1;
                cell.there += usize::from(artifact.status.is_success());
                cell.known += usize::from(artifact.status == Status::Known);
            }
        }
        coverage
    }
}

/// Failures with one signature.
#[derive(Clone, Debug)]
pub struct SignatureGroup<'a> {
    /// Their class.
    pub class: FailureClass,
    /// Where they happened.
    pub phase: Phase,
    /// What they have in common.
    pub signature: String,
    /// The builds, the longest failing last, with their artifacts.
    pub members: Vec<(&'a BuildRecord, &'a ArtifactReport)>,
    /// Whether all of them are expected.
    pub is_known: bool,
}

impl SignatureGroup<'_> {
    /// Since when the newest of them fails.
    pub fn newest(&self) -> Option<Timestamp> {
        let since = self
            .members
            .iter()
            .map(|(_, artifact)| artifact.failing_since);
        since.max().flatten()
    }

    /// Since when the oldest of them fails.
    pub fn oldest(&self) -> Option<Timestamp> {
        let since = self.members.iter();
        since
            .filter_map(|(_, artifact)| artifact.failing_since)
            .min()
    }
}

/// The failures of a night.
#[derive(Clone, Debug, Default)]
pub struct Failures<'a> {
    /// By signature: unexpected ones first, then those with the newest failure, then the largest.
    pub groups: Vec<SignatureGroup<'a>>,
}

impl<'a> Failures<'a> {
    /// The failures of a night; an interrupted build is not a failure.
    pub fn of(manifest: &'a Manifest) -> Self {
        let mut groups: BTreeMap<(FailureClass, Phase, String), SignatureGroup<'a>> =
            BTreeMap::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let Some(failure) = &artifact.failure else {
                    continue;
                };
                if failure.class == FailureClass::Cancelled {
                    continue;
                }
                let signature = signature(failure, build.into());
                let key = (failure.class, failure.phase, signature.clone());
                let group = groups.entry(key).or_insert_with(|| SignatureGroup {
                    class: failure.class,
                    phase: failure.phase,
                    signature,
                    members: Vec::new(),
                    is_known: true,
                });
                group.is_known &= artifact.status == Status::Known;
                group.members.push((build, artifact));
            }
        }
        let mut groups: Vec<SignatureGroup<'a>> = groups.into_values().collect();
        groups.sort_by_key(|group| {
            (
                group.is_known,
                Reverse(group.newest()),
                Reverse(group.members.len()),
            )
        });
        Self { groups }
    }

    /// How many of the failing artifacts are expected to.
    pub fn known(&self) -> usize {
        let members = self.groups.iter().flat_map(|group| &group.members);
        members
            .filter(|(_, artifact)| artifact.status == Status::Known)
            .count()
    }

    /// How many artifacts fail.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}
