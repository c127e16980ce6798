//! Output directories of simulated runs, with artifacts to publish.

use std::path::{Path, PathBuf};

use driverkit_matrix::driver::Artifact;
use driverkit_matrix::event::{ArtifactReport, Event, EventKind, RunFacts};
use driverkit_matrix::failure::Status;
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::plan::Build;
use driverkit_matrix::report::{ManifestReporter, Reporter as _};
use std::time::Duration;

use crate::events::{START, build, event, facts, finished, there};

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use jiff::{Timestamp, ToSpan as _};

/// A module of a run: release, driver version, content.
pub type Module<'a> = (&'a str, &'a str, &'a str);

/// The older of two driver versions.
pub const OLD: &str = "0.20.0+driver";

/// The newer of two driver versions.
pub const NEW: &str = "0.23.2";

/// Modules of two kernels, one of them for both driver versions.
pub const MODULES: [Module<'_>; 3] = [
    ("6.1.0-1-amd64", OLD, "one"),
    ("6.1.0-2+deb~1-amd64", OLD, "two"),
    ("6.1.0-2+deb~1-amd64", NEW, "three"),
];

/// Writes the output directory of run `run_id`, which started `day` days after the first run.
pub fn write_out(out: &Path, run_id: &str, day: i64, modules: &[Module<'_>]) {
    let mut events = Vec::new();
    let mut rows = Vec::new();
    for (release, driver, content) in modules {
        let build = build(release, Architecture::Amd64, driver);
        let report = module(&build, content);
        let path = report.path.clone().unwrap();
        fs::write(&out.join(path), content).unwrap();
        let log = report.log.clone().unwrap();
        fs::write(&out.join(log), format!("log of {content}")).unwrap();
        rows.push(finished(&build, 1, vec![report]));
    }
    let started = START.parse::<Timestamp>().unwrap() + (day * 24).hours();
    let facts = RunFacts {
        started,
        ..facts(run_id, rows.len(), rows.len())
    };
    events.push(event(0, EventKind::RunStarted(Box::new(facts))));
    events.extend(rows);
    events.push(event(
        60_000,
        EventKind::RunFinished {
            duration: Duration::from_mins(1),
            exit_code: 0,
        },
    ));
    write_events(out, &events);
}

/// Writes the manifest of these events.
pub fn write_events(out: &Path, events: &[Event]) {
    let mut reporter = ManifestReporter::create(out).unwrap();
    for event in events {
        reporter.report(event).unwrap();
    }
    reporter.finish().unwrap();
}

fn module(build: &Build, content: &str) -> ArtifactReport {
    ArtifactReport {
        sha256: Some(Sha256::of(content)),
        size_bytes: Some(content.len() as u64),
        ..there(build, Artifact::Module, Status::Built)
    }
}

/// Returns the key of a module.
pub fn key(release: &str, driver: &str) -> String {
    let build = build(release, Architecture::Amd64, driver);
    let path: PathBuf = build.artifact_path(Artifact::Module);
    path.to_string_lossy().into_owned()
}
