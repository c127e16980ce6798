//! Statistics of a night: what there is by target, driver version and architecture, and how long new kernels waited.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::metrics::{head, labels};
use super::proofs::ProofCounts;
use crate::driver::DriverVersion;
use crate::event::ProofResult;
use crate::kernel::{Architecture, TargetId};
use crate::report::Manifest;

/// Numbers of one target, driver version and architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// The target.
    pub target: TargetId,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// Artifacts that there are.
    pub built: usize,
    /// Artifacts that cannot be built, known failures included.
    pub failing: usize,
    /// Artifacts that a run did not get to.
    pub unknown: usize,
    /// What rules left out.
    pub excluded: usize,
    /// The median of the days from the first sight of a kernel to its artifact; of those of which both days are known.
    pub median_lag_days: Option<i64>,
    /// The longest.
    pub worst_lag_days: Option<i64>,
    /// Modules that their kernels loaded.
    pub loaded: usize,
    /// Modules that their kernels refused; they are counted as failing too.
    pub refused: usize,
    /// Modules that were to be loaded, and were not for another reason.
    pub not_proven: usize,
}

/// Statistics of a night.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// By target, driver version and architecture.
    pub rows: Vec<Stat>,
}

type Key = (TargetId, DriverVersion, Architecture);

#[derive(Default)]
struct Numbers {
    built: usize,
    failing: usize,
    unknown: usize,
    excluded: usize,
    lags: Vec<i64>,
    proofs: ProofCounts,
}

impl Stats {
    /// The statistics of a night.
    pub fn of(manifest: &Manifest) -> Self {
        let mut numbers: BTreeMap<Key, Numbers> = BTreeMap::new();
        for build in &manifest.builds {
            let key = (
                build.target.clone(),
                build.driver_version.clone(),
                build.architecture,
            );
            let numbers = numbers.entry(key).or_default();
            for artifact in &build.artifacts {
                if let Some(proof) = &artifact.proof {
                    numbers.proofs.add(proof.result);
                }
                if artifact.status.is_success() {
                    numbers.built += 1;
                    if let (Some(seen), Some(at)) = (build.first_seen, artifact.made_at) {
                        let built = at.to_zoned(TimeZone::UTC).date();
                        let lag = built.duration_since(seen).as_hours() / 24;
                        numbers.lags.push(lag.max(0));
                    }
                } else if artifact.failure.is_some() {
                    numbers.failing += 1;
                } else {
                    numbers.unknown += 1;
                }
            }
        }
        for row in &manifest.excluded {
            for (_, numbers) in numbers
                .iter_mut()
                .filter(|((target, driver, architecture), _)| {
                    *target == row.target
                        && *architecture == row.architecture
                        && row.driver_version.as_ref().is_none_or(|one| one == driver)
                })
            {
                numbers.excluded += 1;
            }
        }
        let rows = numbers.into_iter().map(|(key, mut numbers)| {
            numbers.lags.sort_unstable();
            let (target, driver_version, architecture) = key;
            Stat {
                target,
                driver_version,
                architecture,
                built: numbers.built,
                failing: numbers.failing,
                unknown: numbers.unknown,
                excluded: numbers.excluded,
                median_lag_days: numbers.lags.get(numbers.lags.len() / 2).copied(),
                worst_lag_days: numbers.lags.last().copied(),
                loaded: numbers.proofs.loaded,
                refused: numbers.proofs.refused,
                not_proven: numbers.proofs.not_proven,
            }
        });
        Self {
            rows: rows.collect(),
        }
    }

    /// Writes them as metrics.
    pub fn write_prometheus(&self, output: &mut dyn Write) -> io::Result<()> {
        for (name, help, value) in [
            (
                "driverkit_matrix_lag_days_median",
                "Days from the first sight of a kernel to its artifact, the median.",
                (|stat: &Stat| stat.median_lag_days) as fn(&Stat) -> Option<i64>,
            ),
            (
                "driverkit_matrix_lag_days_worst",
                "Days from the first sight of a kernel to its artifact, the longest.",
                |stat| stat.worst_lag_days,
            ),
        ] {
            head(output, name, help)?;
            for stat in &self.rows {
                let Some(value) = value(stat) else { continue };
                let labels = labels(&[
                    ("target", stat.target.as_str()),
                    ("driver_version", stat.driver_version.as_str()),
                    ("architecture", stat.architecture.as_str()),
                ]);
                writeln!(output, "{name}{labels} {value}")?;
            }
        }
        if self.rows.iter().all(|stat| stat.proven() == 0) {
            return Ok(());
        }
        let name = "driverkit_matrix_proofs";
        head(
            output,
            name,
            "Modules of the last run by what their kernels did with them.",
        )?;
        for stat in &self.rows {
            for (result, count) in [
                (ProofResult::Loaded, stat.loaded),
                (ProofResult::Refused, stat.refused),
                (ProofResult::NotProven, stat.not_proven),
            ] {
                let labels = labels(&[
                    ("target", stat.target.as_str()),
                    ("driver_version", stat.driver_version.as_str()),
                    ("architecture", stat.architecture.as_str()),
                    ("result", result.as_str()),
                ]);
                writeln!(output, "{name}{labels} {count}")?;
            }
        }
        Ok(())
    }
}

impl Stat {
    /// How many modules were to be loaded into their kernels.
    fn proven(&self) -> usize {
        self.loaded + self.refused + self.not_proven
    }
}
