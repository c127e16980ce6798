//! Tests of the rows of a manifest, and of the manifests of earlier runs.

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::Manifest;
use serde_json::{Value, json};
use support::grid::Grid;

use super::{broken, lines, rows, say};
use crate::run::BUILD;

#[test]
fn excluded_kernels_have_rows_with_rule_and_place() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\nreason = \"no longer used\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let manifest = rows(&grid);
    assert_eq!(manifest.builds.len(), 3);
    assert_eq!(manifest.excluded.len(), 1);
    let row = &manifest.excluded[0];
    assert_eq!(row.kernel_release.as_str(), "6.1.4-1-amd64");
    assert_eq!(
        (row.rule.as_str(), row.reason.as_str()),
        ("exclude", "no longer used")
    );
    let text = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line == "[[exclude]]").unwrap();
    let place = format!("matrix.toml:{line}");
    assert_eq!(row.place.as_deref(), Some(place.as_str()));

    let (code, text, _) = say(&grid, &["why", "6.1.4-1-amd64"]);
    assert_eq!(code, 0);
    let expected = format!("left out by the rule `exclude` in {place}: no longer used.");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn no_manifest_json_removes_the_manifest_json_of_an_earlier_run() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.path("out/manifest.json").exists());
    assert_eq!(grid.run(&["--no-manifest-json"]).0, 1);
    assert!(!grid.path("out/manifest.json").exists());
    // Commands that read a manifest read the other form.
    assert_eq!(rows(&grid).builds.len(), 4);
    let (code, text, _) = say(&grid, &["why", "6.1.4-1-amd64"]);
    assert_eq!(code, 0, "{text}");
    let build = rows(&grid).builds[0].build_id.to_string();
    let words = [
        "rebuild",
        &build,
        "matrix.toml",
        "--executor",
        "fake",
        "--keep",
    ];
    let (code, _, text) = say(&grid, &words);
    assert_eq!(code, 0, "{text}");
    assert!(!grid.path("out/manifest.json").exists());
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.path("out/manifest.json").exists());
}

#[test]
fn both_forms_of_a_manifest_are_equal() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let text = |manifest: &mut Manifest| {
        manifest.sources.clear();
        manifest.toolchains.clear();
        let mut bytes = Vec::new();
        manifest.write_json(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let mut of_rows = rows(&grid);
    let mut of_json = grid.manifest();
    assert_eq!(text(&mut of_rows), text(&mut of_json));
    assert_eq!(grid.manifest().schema, 1);
    let (code, found, _) = say(&grid, &["diff", "out/manifest.json", "out"]);
    assert_eq!(code, 0);
    assert!(
        found.contains("  still-failing        2\n  unchanged            1\n"),
        "{found}"
    );
}

#[test]
fn every_row_has_the_columns_of_the_first_line() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let lines = lines(&grid);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let columns = keys(&lines[0]);
    let artifact = keys(&lines[0]["artifacts"][0]);
    assert_eq!(lines.len(), 5);
    for line in &lines[1..] {
        assert_eq!(keys(line), columns);
        for one in line["artifacts"].as_array().unwrap() {
            assert_eq!(keys(one), artifact);
        }
        assert!(line["kernel_version"].is_string());
    }
}

#[test]
fn failing_since_and_the_last_successful_build_are_kept_over_runs() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    let first = rows(&grid);
    let since = first.builds[1].artifacts[0].failing_since.unwrap();
    assert_eq!(first.builds[1].artifacts[0].failing_nights, Some(1));
    assert_eq!(first.builds[0].artifacts[0].failing_since, None);
    assert!(first.builds[0].queued_seconds.is_some());

    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    assert!(rows(&grid).run.is_partial);
    assert_eq!(grid.run(&[]).0, 1);
    let second = rows(&grid);
    assert!(!second.run.is_partial);
    let artifact = &second.builds[1].artifacts[0];
    assert_eq!(artifact.failing_since, Some(since));
    assert_eq!(
        artifact.failing_nights,
        Some(1),
        "the same date is the same night"
    );
    assert!(artifact.failure_is_cached);
    let built = &second.builds[0].artifacts[0];
    assert_eq!(built.status, Status::Cached);
    assert_eq!(built.made_by.as_deref(), Some(first.run.id.as_str()));

    let (code, text, _) = say(&grid, &["why", BUILD]);
    assert_eq!(code, 0);
    let expected = format!("The module was built by run {}, ", first.run.id);
    assert!(text.contains(&expected), "{text}");
    let (_, text, _) = say(&grid, &["why", "6.1.2-1-amd64"]);
    assert!(text.contains("unknown type name 'foo'"), "{text}");
    assert!(text.contains("It has been failing since 20"), "{text}");
}

#[test]
fn damaged_rows_are_errors_that_name_the_file() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let path = grid.path("out/builds.jsonl.zst");
    let whole = std::fs::read(&path).unwrap();
    // If the file is cut between two frames, zstd accepts it.
    let magic = [0x5e, 0x2a, 0x4d, 0x18];
    let index = whole.windows(4).rposition(|four| four == magic).unwrap();
    let pack = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (bytes, expected) in [
        (whole[..whole.len() - 20].to_vec(), "builds.jsonl.zst"),
        (whole[..index].to_vec(), "builds.jsonl.zst is cut off"),
        (
            pack("{\"schema\": 99, \"run_id\": \"x\"}\n"),
            "manifest schema 99",
        ),
        (
            pack("{\"schema\": 2, \"run_id\": \"x\"}\n"),
            "belongs to run x",
        ),
        (pack("[]\n"), "does not start with the schema"),
        (Vec::new(), "builds.jsonl.zst"),
    ] {
        driverkit_matrix::fs::write(&path, &bytes).unwrap();
        for words in [
            &["diff", "out", "out"][..],
            &["why", BUILD],
            &["report"],
            &["known"],
        ] {
            let (code, _, text) = say(&grid, words);
            assert_eq!(code, 2, "{words:?}: {text}");
            assert!(text.contains(expected), "{words:?}: {text}");
        }
    }
}

#[test]
fn only_full_runs_replace_kept_nights() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let first = rows(&grid).run.id;
    for _ in 0..10 {
        assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    }
    let kept = driverkit_matrix::report::earlier_manifests(&grid.path("out")).unwrap();
    assert_eq!(kept.len(), 9, "the first night and eight others");
    assert!(kept.last().unwrap().to_string_lossy().ends_with(&first));
    // If only one night is kept, the night with the older date is removed.
    let old = grid.path("out/.driverkit-matrix/manifests/20200101T010000Z-old");
    std::fs::create_dir(&old).unwrap();
    let run = fs::read_to_string(&kept.last().unwrap().join("run.json")).unwrap();
    let mut run: Value = serde_json::from_str(&run).unwrap();
    run["run"]["started"] = json!("2020-01-01T01:00:00Z");
    fs::write(&old.join("run.json"), run.to_string()).unwrap();
    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    assert!(old.exists());
    assert_eq!(grid.run(&["--only", BUILD, "--keep-nights", "1"]).0, 0);
    assert!(!old.exists());
}
