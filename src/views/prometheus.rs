//! Metrics in Prometheus' text format, for the textfile collector of a node exporter or a push gateway.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::metrics::{head, labels};
use super::stats::Stats;
use super::subject::{Subject, View};
use crate::failure::{FailureClass, Status};

/// Writes metrics.
pub(super) struct Prometheus;

impl View for Prometheus {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        let manifest = subject.manifest;
        let mut counts: BTreeMap<[&str; 4], BTreeMap<Status, usize>> = BTreeMap::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let key = [
                    build.target.as_str(),
                    build.driver_version.as_str(),
                    build.architecture.as_str(),
                    artifact.artifact.as_str(),
                ];
                *counts
                    .entry(key)
                    .or_default()
                    .entry(artifact.status)
                    .or_default() += 1;
            }
        }
        let name = "driverkit_matrix_artifacts";
        head(output, name, "Artifacts of the last run by status.")?;
        for ([target, driver, architecture, artifact], statuses) in &counts {
            for (status, count) in statuses {
                let labels = labels(&[
                    ("target", target),
                    ("driver_version", driver),
                    ("architecture", architecture),
                    ("artifact", artifact),
                    ("status", status.as_str()),
                ]);
                writeln!(output, "{name}{labels} {count}")?;
            }
        }
        let name = "driverkit_matrix_failures";
        head(
            output,
            name,
            "Artifacts of the last run that failed, by class.",
        )?;
        let classes = manifest.totals.by_class.iter();
        // An interruption says nothing about the artifact.
        for (class, count) in classes.filter(|(class, _)| **class != FailureClass::Cancelled) {
            writeln!(
                output,
                "{name}{} {count}",
                labels(&[("class", class.as_str())])
            )?;
        }
        let name = "driverkit_matrix_kernels";
        head(output, name, "Kernels by the source that names them.")?;
        for (source, count) in &manifest.sources {
            writeln!(output, "{name}{} {count}", labels(&[("source", source)]))?;
        }
        let since = manifest.builds.iter().flat_map(|build| &build.artifacts);
        let oldest = since.filter_map(|artifact| artifact.failing_since).min();
        let single = [
            (
                "driverkit_matrix_excluded",
                "Entries that rules left out of the plan.",
                Some(as_number(manifest.excluded.len())),
            ),
            (
                "driverkit_matrix_findings",
                "Outdated rules of the matrices.",
                Some(as_number(manifest.findings.len())),
            ),
            (
                "driverkit_matrix_run_started_seconds",
                "Start time of the last run.",
                Some(manifest.run.started.as_duration().as_secs_f64()),
            ),
            (
                "driverkit_matrix_run_duration_seconds",
                "Duration of the last run.",
                manifest.run.duration_seconds,
            ),
            (
                "driverkit_matrix_run_exit_code",
                "Exit code of the last run.",
                manifest.exit.as_ref().map(|exit| f64::from(exit.code)),
            ),
            (
                "driverkit_matrix_oldest_failure_started_seconds",
                "Time since when the oldest failing artifact has been failing.",
                oldest.map(|at| at.as_duration().as_secs_f64()),
            ),
        ];
        for (name, help, value) in single {
            if let Some(value) = value {
                head(output, name, help)?;
                writeln!(output, "{name} {value}")?;
            }
        }
        Stats::of(manifest).write_prometheus(output)
    }
}

fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
