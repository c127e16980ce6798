//! Statistics of a night: artifacts by target, driver version and architecture, and how long new kernels waited.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::metrics::{head, labels};
use super::proofs::ProofCounts;
use crate::driver::DriverVersion;
use crate::event::ProofResult;
use crate::kernel::{Architecture, TargetId};
use crate::report::Manifest;

/// The numbers of one target, driver version and architecture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stat {
    /// The target.
    pub target: TargetId,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// Artifacts that are available.
    pub built: usize,
    /// Artifacts that cannot be built, including known failures.
    pub failing: usize,
    /// Artifacts that a run did not get to, or that were in progress when it was interrupted.
    pub unknown: usize,
    /// Entries that rules left out.
    pub excluded: usize,
    /// The median number of days from the first sight of a kernel to its artifact, if both days are known.
    pub median_lag_days: Option<f64>,
    /// The maximum of these days.
    pub worst_lag_days: Option<i64>,
    /// Modules that their kernels loaded.
    pub loaded: usize,
    /// Modules that their kernels refused; also counted as failing.
    pub refused: usize,
    /// Modules that were not proven for another reason.
    pub not_proven: usize,
}

/// Statistics of a night.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The rows by target, driver version and architecture.
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
    /// Computes the statistics of a night.
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
                } else if artifact.failing().is_some() {
                    numbers.failing += 1;
                } else {
                    numbers.unknown += 1;
                }
            }
        }
        count_excluded(manifest, &mut numbers);
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
                median_lag_days: median(&numbers.lags),
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

    /// Writes the statistics as metrics.
    pub fn write_prometheus(&self, output: &mut dyn Write) -> io::Result<()> {
        let name = "driverkit_matrix_grid";
        head(
            output,
            name,
            "Artifacts of the last run by state: built, failing, not reached by a run, or left out by rules.",
        )?;
        for stat in &self.rows {
            for (state, count) in [
                ("built", stat.built),
                ("failing", stat.failing),
                ("unknown", stat.unknown),
                ("excluded", stat.excluded),
            ] {
                let labels = labels(&[
                    ("target", stat.target.as_str()),
                    ("driver_version", stat.driver_version.as_str()),
                    ("architecture", stat.architecture.as_str()),
                    ("state", state),
                ]);
                writeln!(output, "{name}{labels} {count}")?;
            }
        }
        for (name, help, value) in [
            (
                "driverkit_matrix_lag_days_median",
                "Median days from the first sight of a kernel to its artifact.",
                (|stat: &Stat| stat.median_lag_days) as fn(&Stat) -> Option<f64>,
            ),
            (
                "driverkit_matrix_lag_days_worst",
                "Maximum days from the first sight of a kernel to its artifact.",
                |stat| stat.worst_lag_days.map(days),
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
            "Modules of the last run by the result of loading them.",
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

/// Returns the median of sorted numbers: of an even number of them, the mean of the two in the middle.
fn median(sorted: &[i64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(days(lower), days(upper)))
}

/// Converts a number of days.
fn days(of: i64) -> f64 {
    f64::from(i32::try_from(of).unwrap_or(i32::MAX))
}

/// Counts what rules left out. A kernel as a whole counts once for each driver version of its target, or of the run
/// if no build of the target was planned.
fn count_excluded(manifest: &Manifest, numbers: &mut BTreeMap<Key, Numbers>) {
    let all: BTreeSet<DriverVersion> = numbers.keys().map(|key| key.1.clone()).collect();
    let mut of_target: BTreeMap<(&TargetId, Architecture), BTreeSet<DriverVersion>> =
        BTreeMap::new();
    for row in &manifest.excluded {
        let drivers = of_target
            .entry((&row.target, row.architecture))
            .or_insert_with(|| {
                let keys = numbers.keys();
                let own = keys.filter(|key| key.0 == row.target && key.2 == row.architecture);
                let own: BTreeSet<DriverVersion> = own.map(|key| key.1.clone()).collect();
                if own.is_empty() { all.clone() } else { own }
            });
        let one = row.driver_version.as_ref();
        for driver in one.map_or_else(|| drivers.iter().collect::<Vec<_>>(), |one| vec![one]) {
            let key = (row.target.clone(), driver.clone(), row.architecture);
            numbers.entry(key).or_default().excluded += 1;
        }
    }
}

impl Stat {
    /// Returns the number of artifacts that were to be loaded into their kernels.
    fn proven(&self) -> usize {
        self.loaded + self.refused + self.not_proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_is_the_mean_of_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3]), Some(3.0));
        assert_eq!(median(&[1, 4]), Some(2.5));
        assert_eq!(median(&[1, 4, 90]), Some(4.0));
        assert_eq!(median(&[1, 4, 6, 90]), Some(5.0));
    }
}
