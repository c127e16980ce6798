//! Tests of `known --suggest`: a suggested rule, pasted into a matrix, matches the failures that it was suggested for.

use std::sync::Arc;

use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::driver::Artifact;
use driverkit_matrix::event::BuildReport;
use driverkit_matrix::failure::{CompilerError, Failure, FailureClass, Phase, Status};
use driverkit_matrix::history::{KnownFailures, Night, suggest};
use driverkit_matrix::kernel::{Architecture, Kernel};
use driverkit_matrix::matrix;
use driverkit_matrix::plan::Build;
use driverkit_matrix::report::{BuildRecord, Manifest};
use proptest::prelude::*;
use support::events::{build, facts, missing, report, there};

fn failed(build: &Build, failure: &Failure) -> BuildReport {
    BuildReport {
        artifacts: vec![missing(build, Artifact::Module, failure)].into(),
        ..report(build, 0)
    }
}

fn built(build: &Build) -> BuildReport {
    BuildReport {
        artifacts: vec![there(build, Artifact::Module, Status::Built)].into(),
        ..report(build, 0)
    }
}

/// Returns the suggested rules, and the status of each build with these rules in its matrix.
fn with_suggested_rules(night: &[(Build, BuildReport)]) -> (String, Vec<Status>) {
    let mut manifest = Manifest::new(&facts("run", night.len(), night.len()));
    manifest.builds = night
        .iter()
        .map(|(_, report)| BuildRecord::from(report))
        .collect();
    manifest.sort();
    let rules = suggest(&Night::of(&manifest));
    let file = SourceFile {
        path: "m.toml".into(),
        text: format!(
            "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\nkernels = [{{ release = \"6.1.0-1-amd64\" }}]\n{}",
            rules.replace("reason = \"\"", "reason = \"expected\"")
        ),
    };
    let matrix =
        matrix::read(Arc::new(file)).unwrap_or_else(|errors| panic!("{rules}\n{errors:?}"));
    let kernels: Vec<&Kernel> = night.iter().map(|(build, _)| &*build.kernel).collect();
    let known = KnownFailures::new(
        matrix.known_failures,
        &kernels,
        jiff::civil::date(2026, 1, 1),
    );
    let statuses = night.iter().map(|(_, report)| {
        let mut report = report.clone();
        known.apply(&mut report);
        report.artifacts[0].status
    });
    (rules, statuses.collect())
}

/// The rules for a failure of one kernel.
fn rules_for(failure: &Failure) -> String {
    let build = build("6.1.7-1-amd64", Architecture::Amd64, "8.1.0+driver");
    let report = failed(&build, failure);
    let (rules, statuses) = with_suggested_rules(&[(build, report)]);
    assert_eq!(statuses, [Status::Known], "{rules}");
    rules
}

#[test]
fn rule_for_a_download_matches_the_servers() {
    let refused = "could not be reached: connection refused";
    let rules = rules_for(&Failure::new(
        FailureClass::Download,
        Phase::Fetch,
        format!(
            "none of 2 URLs has it: http://127.0.0.1:9/a.deb and http://b.org/a.deb each {refused}"
        ),
    ));
    assert!(
        rules.contains(r"message = '127\.0\.0\.1:9|b\.org'"),
        "{rules}"
    );
}

#[test]
fn rule_for_a_message_with_a_number_sign_matches_it() {
    let mut failure = Failure::new(
        FailureClass::Compile,
        Phase::Module,
        "make ended with exit code 2",
    );
    failure.first_error = Some(CompilerError {
        file: "main.c".to_owned(),
        line: 7,
        message: "#error \"kernel 6.1.7-1-amd64 is *too* old: 12\"".to_owned(),
    });
    rules_for(&failure);
}

#[test]
fn rule_for_failures_of_one_architecture_names_it() {
    let failure = Failure::new(FailureClass::Compile, Phase::Module, "no");
    let kernels = [Architecture::Amd64, Architecture::Arm64]
        .map(|one| build("6.1.7-1-generic", one, "8.1.0+driver"));
    let reports = [built(&kernels[0]), failed(&kernels[1], &failure)];
    let night: Vec<_> = kernels.into_iter().zip(reports).collect();
    let (rules, statuses) = with_suggested_rules(&night);
    assert!(rules.contains("architecture = [\"arm64\"]\n"), "{rules}");
    assert_eq!(statuses, [Status::Built, Status::Known]);
    // Later both fail: the rule is still about one.
    let both = night
        .iter()
        .map(|(build, _)| (build.clone(), failed(build, &failure)));
    let (rules, statuses) = with_suggested_rules(&both.collect::<Vec<_>>());
    assert!(
        rules.contains("architecture = [\"amd64\", \"arm64\"]\n"),
        "{rules}"
    );
    assert_eq!(statuses, [Status::Known, Status::Known]);
}

/// Text with everything that signatures treat specially, and that TOML and regular expressions escape.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        proptest::sample::select(vec![
            "#error ",
            "*",
            "none of 2 URLs has it: ",
            "http://a.org/x_1.deb",
            "https://b.org:8/y",
            " and ",
            " each ",
            " answered 503",
            " was not requested: the server is down (last error: it ",
            ")",
            "; ",
            "6.1.1-1-amd64",
            "6.1.2",
            "8.1.0+driver",
            "debian",
            "amd64",
            "aarch64",
            "one/x86_64/",
            "0123456789abcdef",
            "12",
            "٣",
            "\\",
            "[",
            "'",
            "\"",
            "'''",
            "\t",
            "\n",
            "\u{1b}",
            "\u{202e}",
            "\u{e000}",
            "\u{e001}",
            "é",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn failure() -> impl Strategy<Value = Failure> {
    let class = proptest::sample::select(vec![
        FailureClass::Compile,
        FailureClass::Download,
        FailureClass::HeadersNotFound,
        FailureClass::Infrastructure,
    ]);
    (class, text(), proptest::option::of((text(), text()))).prop_map(|(class, message, error)| {
        let mut failure = Failure::new(class, Phase::Module, message);
        failure.first_error = error.map(|(file, message)| CompilerError {
            file,
            line: 7,
            message,
        });
        failure
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn suggested_rules_match_the_failures_that_they_were_suggested_for(
        results in proptest::collection::vec((any::<bool>(), proptest::option::of(0_usize..3)), 1..8),
        failures in proptest::collection::vec(failure(), 3),
    ) {
        let night: Vec<(Build, BuildReport)> = results
            .iter()
            .enumerate()
            .map(|(number, &(is_arm, failing))| {
                let architecture = if is_arm { Architecture::Arm64 } else { Architecture::Amd64 };
                let build = build(&format!("6.1.{number}-1-amd64"), architecture, "8.1.0+driver");
                let report = failing.map_or_else(|| built(&build), |one| failed(&build, &failures[one]));
                (build, report)
            })
            .collect();
        let (rules, statuses) = with_suggested_rules(&night);
        for (status, (_, failing)) in statuses.iter().zip(&results) {
            let expected = if failing.is_some() { Status::Known } else { Status::Built };
            prop_assert_eq!(*status, expected, "{}", rules);
        }
    }
}
