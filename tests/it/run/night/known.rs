//! Tests of `[[known_failure]]` rules.

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use support::grid::Grid;

use super::{KNOWN, broken, rows, say};
use crate::run::BUILD;

#[test]
fn known_failure_has_its_status_and_does_not_count() {
    let grid = broken(KNOWN);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("all of them known failures"), "{text}");
    assert_eq!(
        grid.statuses(),
        [Status::Built, Status::Built, Status::Known, Status::Known]
    );
    let (_, text, _) = say(&grid, &["why", "6.1.2-1-amd64"]);
    assert!(
        text.contains("It is a known failure of mo until 2999-01-31: the driver lacks foo"),
        "{text}"
    );
    let (code, text, _) = say(&grid, &["known"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("known failures: 2\n"), "{text}");
    // The failure is cached, and still known.
    assert_eq!(grid.run(&["--fail-fast"]).0, 0);
    assert_eq!(say(&grid, &["diff", "out"]).0, 0);
}

#[test]
fn outdated_rules_are_findings_with_their_place() {
    let grid = broken(
        "[[known_failure]]\nkernel = \"6.1.2-1*\"\nreason = \"old\"\nexpires = \"2020-01-01\"\n\
         [[known_failure]]\nkernel = \"6.1.1-1*\"\nreason = \"works\"\n\
         [[known_failure]]\nkernel = \"5.*\"\nreason = \"nothing\"\n",
    );
    assert_eq!(grid.run(&[]).0, 1);
    let text = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let first = 1 + text
        .lines()
        .position(|line| line == "[[known_failure]]")
        .unwrap();
    let findings = rows(&grid).findings;
    let places: Vec<&str> = findings.iter().map(|one| one.place.as_str()).collect();
    let expected = [first, first + 4, first + 7].map(|line| format!("matrix.toml:{line}"));
    assert_eq!(places, expected);
    let (code, text, _) = say(&grid, &["known"]);
    assert_eq!(code, 4 + 8 + 16, "{text}");
    assert!(text.contains("expired on 2020-01-01"), "{text}");
    // A run of a part of the plan does not show that a rule is unused, or that nothing fails that it expects to fail.
    grid.run(&["--only", BUILD]);
    assert_eq!(rows(&grid).findings.len(), 1);
}

#[test]
fn invalid_known_failure_rules_are_refused_with_their_place() {
    let grid = Grid::new();
    let matrix = grid.matrix(&["1"]);
    for (rule, expected) in [
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpires = \"soon\"",
            "`expires` is not a day",
        ),
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpires = 2026-02-31",
            "matrix.toml:",
        ),
        (
            "message = \"(\"\nreason = \"a\"",
            "invalid regular expression",
        ),
        (
            "class = \"bad\"\nreason = \"a\"",
            "unknown failure class `bad`",
        ),
        (
            "class = [\"compile\", \"cancelled\"]\nreason = \"a\"",
            "`cancelled` says nothing about an artifact",
        ),
        ("kernel = \"6.*\"", "`reason` is missing"),
        ("reason = \"a\"", "the rule would match every failure"),
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpire = 2026-01-01",
            "unknown key `expire`",
        ),
    ] {
        grid.write_matrix(&format!("{matrix}\n[[known_failure]]\n{rule}\n"));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 2, "{rule}: {text}");
        assert!(
            text.contains(expected) && text.contains("matrix.toml:"),
            "{rule}: {text}"
        );
    }
}

#[test]
fn suggested_rules_make_the_failures_known() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    let (code, rules, _) = say(&grid, &["known", "--suggest"]);
    assert_eq!(code, 0);
    assert_eq!(rules.matches("[[known_failure]]").count(), 1, "{rules}");
    assert!(
        rules.contains("kernel = \">=6.1.2-1-amd64, <=6.1.3-1-amd64\""),
        "{rules}"
    );
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!("{matrix}\n{rules}"));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let (_, rules, _) = say(&grid, &["known", "--suggest"]);
    assert_eq!(rules, "");
}
