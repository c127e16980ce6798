//! Counts that several views share: coverage by target and driver version, and failures by signature.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::driver::DriverVersion;
use crate::event::ArtifactReport;
use crate::failure::{FailureClass, Phase, Status};
use crate::kernel::TargetId;
use crate::report::{BuildRecord, Manifest, signature};

/// The number of artifacts of one target and driver version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Artifacts that are available.
    pub there: usize,
    /// Artifacts that are wanted.
    pub wanted: usize,
    /// Artifacts that fail as expected.
    pub known: usize,
}

/// The coverage of wanted artifacts, by target and driver version.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// The driver versions, including those that rules leave out for every kernel.
    pub drivers: BTreeSet<DriverVersion>,
    /// The cells.
    pub targets: BTreeMap<TargetId, BTreeMap<DriverVersion, Cell>>,
}

impl Coverage {
    /// Computes the coverage of a night.
    pub fn of(manifest: &Manifest) -> Self {
        let mut coverage = Self::default();
        let excluded = manifest.excluded.iter();
        let drivers = excluded.filter_map(|row| row.driver_version.as_ref());
        coverage.drivers.extend(drivers.cloned());
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
    /// The class of the failures.
    pub class: FailureClass,
    /// The phase in which they happened.
    pub phase: Phase,
    /// Their common signature.
    pub signature: String,
    /// The builds with their artifacts, in the order of the manifest.
    pub members: Vec<(&'a BuildRecord, &'a ArtifactReport)>,
    /// True if they are known failures. Known and unexpected failures are never in one group.
    pub is_known: bool,
}

impl SignatureGroup<'_> {
    /// Returns since when the newest of them has been failing.
    pub fn newest(&self) -> Option<Timestamp> {
        let since = self
            .members
            .iter()
            .map(|(_, artifact)| artifact.failing_since);
        since.max().flatten()
    }

    /// Returns since when the oldest of them has been failing.
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
    /// The groups by signature: unexpected failures first, then those with the newest failure, then the largest.
    pub groups: Vec<SignatureGroup<'a>>,
}

impl<'a> Failures<'a> {
    /// Groups the failures of a night; an interrupted build is not a failure.
    pub fn of(manifest: &'a Manifest) -> Self {
        let mut groups: BTreeMap<(FailureClass, Phase, String, bool), SignatureGroup<'a>> =
            BTreeMap::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let Some(failure) = artifact.failing() else {
                    continue;
                };
                let signature = signature(failure, build.into());
                let is_known = artifact.status == Status::Known;
                let key = (failure.class, failure.phase, signature.clone(), is_known);
                let group = groups.entry(key).or_insert_with(|| SignatureGroup {
                    class: failure.class,
                    phase: failure.phase,
                    signature,
                    members: Vec::new(),
                    is_known,
                });
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

    /// Returns the number of failing artifacts that are known failures.
    pub fn known(&self) -> usize {
        let groups = self.groups.iter().filter(|group| group.is_known);
        groups.map(|group| group.members.len()).sum()
    }

    /// Returns the number of failing artifacts.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}
