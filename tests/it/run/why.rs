//! Tests of `why` and `known`.

use std::fmt::Write as _;

use driverkit_matrix::fs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::BUILD;
use support::grid::{Grid, rule, rule_for, wait_until};

fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let output = grid.program(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

const EXCLUDED: &str = "one/x86_64/debian_6.1.4-1-amd64_1";

/// A grid of four kernels, of which the matrix leaves one out.
fn excluding() -> Grid {
    let grid = Grid::of_four();
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!(
        "{matrix}\n[[exclude]]\nkernel = \"6.1.4-1*\"\nreason = \"no longer used\"\n"
    ));
    grid
}

/// Writes the lock of the grid's matrix, with these lines of kernels.
fn write_lock(grid: &Grid, kernels: &[(&str, Option<&str>)]) {
    let digest = "e12eee5d67bcbf2beae783f5af1d8a610f50010275376694875a1ffa31dc1e7a";
    let head = json!({ "lock": 2, "sources": { "*": digest }, "limits": { "*": digest } });
    let mut lock = format!("{head}\n");
    for (release, gone) in kernels {
        let mut kernel = json!({
            "target": "debian", "release": release, "version": "1", "architecture": "amd64", "entry": "*",
            "packages": [{ "url": "http://one.example.org/a.deb" }], "source": "mirror", "first_seen": "2026-11-01",
        });
        if let Some(day) = gone {
            kernel["gone"] = json!(day);
        }
        let _ = writeln!(lock, "{kernel}");
    }
    grid.write("matrix.lock", lock);
}

#[test]
fn the_name_of_an_excluded_build_finds_its_rule() {
    let grid = excluding();
    assert_eq!(grid.run(&[]).0, 0);
    for what in [
        EXCLUDED,
        "x86_64/debian_6.1.4-1-amd64_1",
        "debian_6.1.4-1",
        "one/x86_64/debian_6.1.4",
    ] {
        let (code, text, notice) = say(&grid, &["why", what]);
        assert_eq!(code, 0, "{what}: {notice}");
        assert!(text.contains("left out by the rule `exclude`"), "{text}");
        assert!(!text.contains("6.1.3"), "{text}");
    }
    let (code, text, _) = say(&grid, &["why", "one/aarch64/debian_6.1.4-1-amd64_1"]);
    assert_eq!((code, text.as_str()), (1, ""));
}

#[test]
fn an_excluded_artifact_is_described_with_its_build() {
    let grid = Grid::of_four();
    let matrix = grid.matrix(&["1", "2"]);
    let matrix = matrix.replace("[\"module\"]", "[\"module\", \"probe\"]");
    grid.write_matrix(&format!(
        "{matrix}\n[[exclude]]\nkernel = \"6.1.1-1*\"\nartifact = \"probe\"\nreason = \"too old\"\n"
    ));
    assert_eq!(grid.run(&[]).0, 0);
    let (code, text, _) = say(&grid, &["why", BUILD]);
    assert_eq!(code, 0);
    assert!(text.contains("The module was built by run"), "{text}");
    assert!(text.contains("too old"), "{text}");
}

#[test]
fn a_kernel_that_the_last_run_does_not_cover_is_found_in_earlier_runs() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let night = grid.manifest().run.id;
    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    for what in [
        "6.1.3-1-amd64",
        "one/x86_64/debian_6.1.3-1-amd64_1",
        "6.1.3",
    ] {
        let (code, text, notice) = say(&grid, &["why", what]);
        assert_eq!(code, 0, "{notice}");
        assert!(text.contains(&format!("in run {night}")), "{text}");
        assert!(text.contains("The module was built by run"), "{text}");
    }
    let (code, _, notice) = say(&grid, &["why", "9.9.9-1-amd64"]);
    assert_eq!(code, 1);
    assert!(notice.contains("no source has ever named"), "{notice}");
}

#[test]
fn why_after_a_killed_run_reads_earlier_runs_or_says_that_it_knows_nothing() {
    let grid = Grid::of_four();
    let kill = || {
        let good = json!({ "copies": { "module.ko": grid.path("module.ko") } });
        grid.fake(&[
            rule_for(1, "module *", &good),
            rule("module *", &json!({ "hangs": true })),
        ]);
        let mut child = grid.start(&["--jobs", "1"]);
        wait_until("a module", || {
            // The files of a manifest are written in parallel.
            let has_files = ["run.json", "manifest.json"]
                .iter()
                .all(|name| grid.path("out").join(name).exists());
            let manifest = driverkit_matrix::report::read_manifest(&grid.path("out"));
            has_files
                && manifest
                    .is_ok_and(|found| found.run.finished.is_none() && found.builds.len() == 1)
        });
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        // Any kernel can be the first, since headers are fetched in parallel.
        let manifest = driverkit_matrix::report::read_manifest(&grid.path("out")).unwrap();
        let built = manifest.builds[0].kernel_release.to_string();
        ["6.1.3-1-amd64", "6.1.4-1-amd64"]
            .into_iter()
            .find(|release| *release != built)
            .unwrap()
    };
    let release = kill();
    let (code, _, notice) = say(&grid, &["why", release]);
    assert_eq!(code, 1);
    assert!(!notice.contains("no source has ever named"), "{notice}");
    assert!(notice.contains("has not ended"), "{notice}");

    grid.fake(&[]);
    assert_eq!(grid.run(&[]).0, 0);
    grid.write_driver("driver", "other");
    let release = kill();
    let (code, text, notice) = say(&grid, &["why", release]);
    assert_eq!(code, 0, "{notice}");
    assert!(text.contains("The module was built by run"), "{text}");
}

#[test]
fn a_kernel_of_a_lock_is_found_by_a_part_of_its_release_or_build() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    write_lock(
        &grid,
        &[
            ("6.1.3-1-amd64", Some("2026-11-20")),
            ("6.1.30-1-amd64", None),
        ],
    );
    for what in [
        "6.1.3-1",
        "one/x86_64/debian_6.1.3-1-amd64_1",
        "6.1.3-1-amd64",
    ] {
        let (code, text, notice) = say(&grid, &["why", what]);
        assert_eq!(code, 0, "{what}: {notice}");
        assert!(text.contains("has not named it since 2026-11-20"), "{text}");
        assert!(!text.contains("6.1.30"), "{text}");
    }
    let (code, text, _) = say(&grid, &["why", "6.1.3"]);
    assert_eq!(code, 0);
    assert!(
        text.contains("6.1.3-1") && text.contains("6.1.30-1"),
        "{text}"
    );
}

#[test]
fn why_says_which_locks_it_could_not_search() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    write_lock(&grid, &[("6.1.3-1-amd64", None)]);
    std::fs::create_dir(grid.path("elsewhere")).unwrap();
    let out = grid.path("out").display().to_string();
    let words = ["why", "6.1.3-1-amd64", "--out", &out];
    let output = |words: &[&str]| {
        let mut program = grid.program(words);
        program
            .current_dir(grid.path("elsewhere"))
            .output()
            .unwrap()
    };
    let found = output(&words);
    assert_eq!(found.status.code(), Some(1));
    let notice = String::from_utf8(found.stderr).unwrap();
    assert!(!notice.contains("no source has ever named"), "{notice}");
    assert!(notice.contains("matrix.toml does not exist"), "{notice}");
    let found = output(&[&words[..], &["--format", "json"]].concat());
    let answer: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(answer["not_searched"], json!(["matrix.lock"]));
    // From the right directory, it is found.
    assert_eq!(say(&grid, &words).0, 0);
}

#[test]
fn why_and_known_read_the_directories_of_shards() {
    let grid = excluding();
    let text = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    grid.write_matrix(&format!(
        "{text}\n[[known_failure]]\nkernel = \"6.1.2-1*\"\nreason = \"the driver lacks foo\"\n"
    ));
    grid.fake(&[rule("module *6.1.2-1*", &json!({ "code": 2 }))]);
    for shard in ["1", "2", "3"] {
        let (code, text) = grid.run(&[
            "--shard",
            &format!("{shard}/3"),
            "--out",
            &format!("s/{shard}"),
        ]);
        assert_eq!(code, 0, "{text}");
    }
    for (what, expected) in [
        (BUILD, "The module was built by run"),
        ("6.1.3-1-amd64", "The module was built by run"),
        ("6.1.4-1-amd64", "left out by the rule `exclude`"),
    ] {
        let (code, text, notice) = say(&grid, &["why", what, "--out", "s"]);
        assert_eq!(code, 0, "{notice}");
        assert_eq!(text.matches(expected).count(), 1, "{text}");
        assert!(!text.contains('+'), "{text}");
    }
    let (code, text, notice) = say(&grid, &["known", "s"]);
    assert_eq!(code, 0, "{notice}");
    assert!(text.starts_with("known failures: 1\n"), "{text}");
    for words in [&["why", "x", "--out", "none"][..], &["known", "none"]] {
        let (code, _, notice) = say(&grid, words);
        assert_eq!(code, 2);
        assert!(!notice.contains("manifest.json"), "{notice}");
        assert!(notice.contains("none/run.json does not exist"), "{notice}");
    }
}
