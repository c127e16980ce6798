//! Tests of second builds: what is compared, what is kept, and what a difference means.

use driverkit_matrix::event::{DoubleReport, DoubleResult};
use driverkit_matrix::failure::{FailureClass, Status};
use driverkit_matrix::fs;
use serde_json::json;

use crate::run::{MODULE, NOTHING};
use support::grid::{Grid, rule};
use support::signing::certificate;

fn double(grid: &Grid) -> DoubleReport {
    let double = grid.record().artifacts.remove(0).double;
    double.expect("a second build")
}

#[test]
fn second_build_with_the_same_bytes_is_done_once() {
    let grid = Grid::new();
    let (code, text) = grid.run(&["--double", "100%"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("artifacts built a second time: 1 the same, 0 different, 0 not done"),
        "{text}"
    );
    assert_eq!(grid.jobs(), ["check", "double", "module"]);
    let expected = DoubleReport {
        result: DoubleResult::Same,
        message: "the same bytes by fake".to_owned(),
    };
    assert_eq!(double(&grid), expected);

    assert_eq!(grid.run(&["--double", "100%", "--offline"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(double(&grid), expected);
    assert_eq!(grid.record().status, Status::Cached);

    // This run requests no second build.
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.record().artifacts[0].double, None);
}

#[test]
fn different_bytes_are_a_failure_that_names_the_section() {
    let grid = Grid::new();
    let mut other = fs::read(&grid.path("module.ko")).unwrap();
    let place = other.windows(9).position(|bytes| bytes == b"vermagic=");
    other[place.unwrap() + 9] ^= 1;
    grid.write("other.ko", other);
    let copies = json!({ "copies": { "module.ko": grid.path("other.ko") } });
    grid.fake(&[rule("double module *", &copies)]);
    assert_eq!(grid.run(&[]).0, 0);
    let first = fs::read(&grid.path(MODULE)).unwrap();
    grid.jobs();

    for jobs in [&["double"][..], &[]] {
        let (code, text) = grid.run(&["--double", "1"]);
        assert_eq!(code, 1, "{text}");
        assert_eq!(grid.jobs(), jobs);
        let artifact = grid.record().artifacts.remove(0);
        assert_eq!(artifact.status, Status::Failed);
        assert_eq!((artifact.path, artifact.sha256), (None, None));
        assert!(!grid.path(MODULE).exists());
        let failure = artifact.failure.unwrap();
        assert_eq!(failure.class, FailureClass::NotReproducible);
        let expected = "a second build gave different bytes, first in section .modinfo: ";
        assert!(failure.message.starts_with(expected), "{}", failure.message);
        assert_eq!(artifact.double.unwrap().result, DoubleResult::Different);
    }
    let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    assert!(csv.trim_end().ends_with(",different"), "{csv}");

    // The first module is still cached.
    assert_eq!(grid.run(&["--offline"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), first);

    grid.fake(&[]);
    let (code, text) = grid.run(&["--double", "1", "--retry", "not-reproducible"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["double"]);
    assert_eq!(double(&grid).result, DoubleResult::Same);
}

#[test]
fn a_failed_second_compile_is_a_difference_and_an_infrastructure_error_is_not() {
    let grid = Grid::new();
    let log = "/tmp/build/driver/main.c:7:1: error: no time like the present\n";
    grid.fake(&[rule("double *", &json!({ "code": 2, "log": log }))]);
    let (code, text) = grid.run(&["--double", "1"]);
    assert_eq!(code, 1, "{text}");
    let failure = grid.record().artifacts.remove(0).failure.unwrap();
    assert_eq!(failure.class, FailureClass::NotReproducible);
    assert!(failure.message.starts_with("the second build failed: "));

    let grid = Grid::new();
    grid.edit_matrix("retries = 1", "retries = 0");
    grid.fake(&[rule(
        "double *",
        &json!({ "infrastructure-error": "no more containers" }),
    )]);
    let (code, text) = grid.run(&["--double", "1"]);
    assert_eq!(code, 0, "{text}");
    let report = double(&grid);
    assert_eq!(report.result, DoubleResult::NotDone);
    assert!(report.message.contains("no more containers"));
    assert!(grid.path(MODULE).exists());
}

#[test]
fn sample_is_the_same_in_each_run() {
    let grid = Grid::of_four();
    let doubled = |sample: &str| {
        let (code, text) = grid.run(&["--double", sample]);
        assert_eq!(code, 0, "{text}");
        let builds = grid.manifest().builds.into_iter();
        let doubled = builds.filter(|build| build.artifacts[0].double.is_some());
        let names: Vec<String> = doubled.map(|build| build.build_id.to_string()).collect();
        names
    };
    let one = doubled("1");
    assert_eq!(one.len(), 1);
    assert_eq!(doubled("1%"), one);
    let half = doubled("50%");
    assert_eq!(half.len(), 2);
    assert!(half.contains(&one[0]), "{half:?}");
    assert_eq!(doubled("9").len(), 4);
    let jobs = grid.jobs();
    assert_eq!(jobs.iter().filter(|job| *job == "double").count(), 4);
}

#[test]
fn signed_module_is_compared_without_its_signature() {
    let grid = Grid::new();
    certificate(&grid.path(""), "signing");
    let signing = "[signing]\nkey = \"signing.key\"\ncertificate = \"signing.pem\"\n\n[defaults]";
    grid.edit_matrix("[defaults]", signing);
    let (code, text) = grid.run(&["--double", "1"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(double(&grid).result, DoubleResult::Same);
    assert!(grid.record().artifacts[0].signature.is_some());
}

#[test]
fn invalid_samples_are_refused() {
    let grid = Grid::new();
    for sample in ["0", "0%", "101%", "some"] {
        let (code, text) = grid.run(&["--double", sample]);
        assert_eq!(code, 2);
        assert!(
            text.contains("expected a number of builds or a share"),
            "{text}"
        );
    }
}
