//! Tests of `manifest merge`, and of commands that read the directories of shards.

use driverkit_matrix::report::{Manifest, read_manifest};
use proptest::prelude::*;

use support::grid::{Grid, rule};
use support::nights::{LAST, Year};

use driverkit_matrix::report::merge_manifests;
use serde_json::json;

fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let output = grid.program(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A grid with a kernel that does not compile, built as a whole into `out` and in three shards into `shards`.
fn sharded() -> Grid {
    let grid = Grid::of_four();
    grid.fake(&[rule(
        "module *6.1.2-1*",
        &json!({ "code": 2, "log": "main.c:7:3: error: unknown type name 'foo'\n" }),
    )]);
    assert_eq!(grid.run(&[]).0, 1);
    for shard in ["1", "2", "3"] {
        let out = format!("shards/{shard}");
        grid.run(&["--shard", &format!("{shard}/3"), "--out", &out]);
    }
    grid
}

fn rows(manifest: &Manifest) -> Vec<String> {
    let builds = manifest.builds.iter();
    builds
        .map(|build| {
            format!(
                "{} {}",
                build.build_id,
                build.artifacts[0].status.is_success()
            )
        })
        .collect()
}

#[test]
fn merged_shards_equal_the_whole_run() {
    let grid = sharded();
    let (code, _, stderr) = say(
        &grid,
        &[
            "manifest", "merge", "shards/3", "shards/1", "shards/2", "--out", "night",
        ],
    );
    assert_eq!(code, 0, "{stderr}");
    let (whole, merged) = (
        read_manifest(&grid.path("out")).unwrap(),
        read_manifest(&grid.path("night")).unwrap(),
    );
    assert_eq!(rows(&merged), rows(&whole));
    assert!(!merged.run.is_partial);
    assert_eq!(merged.run.shard, None);
    assert_eq!(merged.totals.artifacts_planned, 4);
    assert_eq!(merged.totals.artifacts_missing(), 1);
    assert_eq!(merged.sources, whole.sources);

    // The directory of the shards gives the same result as the merged manifest.
    for night in ["night", "shards"] {
        let (code, text, stderr) = say(
            &grid,
            &["diff", "out", night, "--fail-on", "regressed,lost,unknown"],
        );
        assert_eq!(code, 0, "{text}{stderr}");
        let (code, text, _) = say(&grid, &["report", night, "--format", "markdown"]);
        assert_eq!(code, 0);
        assert!(text.contains("unknown type name 'foo'"), "{text}");
        let (code, text, _) = say(&grid, &["stats", night, "--format", "csv"]);
        assert_eq!(code, 0);
        assert!(text.contains("debian,one,amd64,3,1,"), "{text}");
    }
}

#[test]
fn missing_shard_is_named_and_makes_the_night_partial() {
    let grid = sharded();
    std::fs::remove_dir_all(grid.path("shards/2")).unwrap();
    let (code, _, stderr) = say(
        &grid,
        &[
            "manifest", "merge", "shards/1", "shards/3", "--out", "night",
        ],
    );
    assert_eq!(code, 0);
    assert!(stderr.contains("missing shards: 2/3"), "{stderr}");
    let merged = read_manifest(&grid.path("night")).unwrap();
    assert!(merged.run.is_partial);
    let (code, text, _) = say(&grid, &["diff", "out", "night", "--fail-on", "lost"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn contradictory_manifests_are_refused_and_named() {
    let grid = sharded();
    grid.fake(&[]);
    assert_eq!(grid.run(&["--out", "other", "--retry", "failed"]).0, 0);
    let (code, _, text) = say(
        &grid,
        &["manifest", "merge", "out", "other", "--out", "night"],
    );
    assert_eq!(code, 2);
    assert!(
        text.contains("one/x86_64/debian_6.1.2-1-amd64_1 is "),
        "{text}"
    );
    assert!(!grid.path("night").exists());

    let matrix = grid.matrix(&["1", "2"]);
    grid.write_matrix(&matrix);
    grid.run(&["--out", "small"]);
    let (code, _, text) = say(
        &grid,
        &["manifest", "merge", "out", "small", "--out", "night"],
    );
    assert_eq!(code, 2);
    assert!(text.contains("they are of different plans"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn order_of_shards_does_not_change_the_merged_manifest(owners in proptest::collection::vec(0_usize..3, 24), order in Just(vec![0, 1, 2]).prop_shuffle()) {
        let whole = Year { kernels: 12, drivers: 2, nights: 1 }.night(LAST);
        let shard = |one: usize| {
            let mut part = whole.clone();
            part.run.id = format!("shard{one}");
            part.run.shard = Some(format!("{}/3", one + 1));
            part.run.is_partial = true;
            let mut owners = owners.iter();
            part.builds.retain(|_| owners.next() == Some(&one));
            part.totals.builds_planned = part.builds.len();
            part.totals.artifacts_planned = part.builds.len();
            part
        };
        let merged = |order: &[usize]| {
            let parts = order.iter().map(|&one| shard(one)).collect();
            serde_json::to_value(merge_manifests(parts).unwrap()).unwrap()
        };
        let found = merged(&order);
        prop_assert_eq!(&found, &merged(&[0, 1, 2]));
        let whole = serde_json::to_value(&whole).unwrap();
        for key in ["builds", "totals"] {
            prop_assert_eq!(&found[key], &whole[key]);
        }
    }
}
