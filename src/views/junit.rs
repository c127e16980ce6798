//! Test results in the `JUnit` format for CI servers: a suite for each target and driver version, a case for each
//! artifact.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::subject::{Subject, View};
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::report::{BuildRecord, clean};

/// Writes the XML of `JUnit`.
pub(super) struct Junit;

impl View for Junit {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        let manifest = subject.manifest;
        let mut suites: BTreeMap<(&str, &str), TestSuite> = BTreeMap::new();
        for build in &manifest.builds {
            let key = (build.target.as_str(), build.driver_version.as_str());
            let suite = suites
                .entry(key)
                .or_insert_with(|| TestSuite::new(format!("{} {}", key.0, key.1)));
            for artifact in &build.artifacts {
                suite.add_test_case(case(build, artifact));
            }
        }
        let mut report = Report::new("driverkit-matrix");
        report.add_test_suites(suites.into_values());
        report.serialize(output).map_err(io::Error::other)
    }
}

fn case(build: &BuildRecord, artifact: &ArtifactReport) -> TestCase {
    let failure = artifact.failure.as_ref();
    let message = failure.map(|failure| clean(&failure.message).into_owned());
    let mut status = match artifact.status {
        Status::Built | Status::Cached => TestCaseStatus::success(),
        Status::Failed | Status::Unresolvable => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        Status::Error | Status::Cancelled => TestCaseStatus::non_success(NonSuccessKind::Error),
        Status::NotRun | Status::Known | Status::Excluded => TestCaseStatus::skipped(),
    };
    if let Some(known) = &artifact.known {
        status.set_message(format!("known failure: {}", clean(&known.reason)));
    } else if let Some(message) = message {
        status.set_message(message);
    }
    if let Some(failure) = failure {
        status.set_type(failure.class.as_str());
        if let Some(error) = &failure.first_error {
            status.set_description(clean(&error.to_string()).into_owned());
        }
    }
    let mut case = TestCase::new(
        format!("{} ({})", build.build_id, artifact.artifact),
        status,
    );
    case.set_classname(build.target.as_str());
    case.set_time(Duration::try_from_secs_f64(build.duration_seconds).unwrap_or_default());
    case
}
