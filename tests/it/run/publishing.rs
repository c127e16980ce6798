//! Tests of `run --publish`, and of the commands that read a destination.

use std::path::Path;

use driverkit_matrix::fs;
use driverkit_matrix::publish::Index;
use driverkit_matrix::report::read_manifest;

use support::fake_s3::FakeS3;
use support::grid::{Grid, RELEASE};

/// Runs the program in the grid's directory; returns the exit code and the output.
fn said(grid: &Grid, words: &[&str]) -> (i32, String) {
    let output = grid.program(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

fn index(path: &Path) -> Index {
    Index::parse(&fs::read(&path.join("index.json")).unwrap()).unwrap()
}

/// Creates a directory to publish to, and returns its URL.
fn destination(grid: &Grid, name: &str) -> String {
    fs::create_folder(&grid.path(name)).unwrap();
    format!("file://{}", grid.path(name).display())
}

fn modules(grid: &Grid) -> usize {
    grid.jobs().iter().filter(|job| *job == "module").count()
}

#[test]
fn run_publishes_and_compares_with_the_published_baseline() {
    let grid = Grid::of_four();
    let to = destination(&grid, "to");
    let (code, text) = grid.run(&["--publish", &to, "--baseline", &to]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing to compare with"), "{text}");
    assert!(text.contains("4 published, 0 unchanged"), "{text}");
    for (key, entry) in &index(&grid.path("to")).artifacts {
        let file = fs::read(&grid.path("to").join(key)).unwrap();
        assert_eq!(file, fs::read(&grid.path("out").join(key)).unwrap());
        assert_eq!(entry.size_bytes, file.len() as u64);
    }

    grid.write_headers("5", RELEASE);
    grid.write_matrix(&grid.matrix(&["1", "2", "3", "4", "5"]));
    let (code, text) = grid.run(&["--publish", &to, "--baseline", &to, "--out", "out-2"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 published, 4 unchanged"), "{text}");
    let changes: Vec<&str> = text.split_whitespace().collect();
    let counted = |words: &[&str]| changes.windows(2).any(|pair| pair == words);
    assert!(
        counted(&["new", "1"]) && counted(&["unchanged", "4"]),
        "{text}"
    );

    // A failed upload changes the exit code, and the other artifacts are published.
    grid.write_headers("6", RELEASE);
    grid.write_matrix(&grid.matrix(&["5", "6"]));
    grid.write("to/one/x86_64/scap_debian_6.1.6-1-amd64_1.ko", "somebody's");
    let (code, text) = grid.run(&["--publish", &to, "--out", "out-3"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("publish: failed"), "{text}");
    // A destination that does not exist is refused before anything is built.
    grid.jobs();
    grid.write_driver("driver", "another");
    let (code, text) = grid.run(&["--publish", "nowhere", "--out", "out-4"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("create the directory"), "{text}");
    assert_eq!(modules(&grid), 0);
}

#[test]
fn diff_and_stats_of_a_destination_include_all_shards() {
    let grid = Grid::of_four();
    let to = destination(&grid, "to");
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("night/{}", &shard[..1]);
        let words = ["--shard", shard, "--publish", &to, "--out", &out];
        let (code, text) = grid.run(&words);
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(index(&grid.path("to")).artifacts.len(), 4);
    let shown = |words: &[&str]| {
        let (code, text) = said(&grid, words);
        assert_eq!(code, 0, "{text}");
        text
    };
    let stats = || {
        let text = shown(&["stats", &to, "--format", "json"]);
        let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
        let built = stats["rows"][0]["built"].as_u64().unwrap();
        (built, stats["nights"].as_array().unwrap().len())
    };
    assert_eq!(stats(), (4, 1));
    // A whole run with the same cache builds nothing new.
    assert_eq!(grid.run(&[]).0, 0);
    let text = shown(&["diff", &to, "out"]);
    assert!(text.contains("unchanged            4"), "{text}");

    // In the next night no shard has anything to build, so it writes no manifest.
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("night-2/{}", &shard[..1]);
        let words = ["--shard", shard, "--publish", &to, "--out", &out];
        assert_eq!(grid.run(&words).0, 0);
    }
    assert_eq!(stats(), (4, 1));

    // Publishing the merged manifest gives the same index.
    let other = destination(&grid, "other");
    let parts = ["night/1", "night/2", "night/3"];
    let merge = [&["manifest", "merge"][..], &parts, &["--out", "night"]].concat();
    shown(&merge);
    let text = shown(&["publish", "night", &other]);
    assert!(text.contains("4 published"), "{text}");
    let text = shown(&["stats", &other]);
    assert!(text.contains(" 4 "), "{text}");
    let third = destination(&grid, "third");
    let text = shown(&["publish", "night-2", &third]);
    assert!(text.contains("4 published"), "{text}");
    let keys =
        |name: &str| -> Vec<String> { index(&grid.path(name)).artifacts.into_keys().collect() };
    assert_eq!(keys("to"), keys("other"));
    assert_eq!(keys("to"), keys("third"));
}

#[test]
fn run_skips_artifacts_published_at_a_destination_without_index() {
    let server = FakeS3::start();
    let grid = Grid::of_four();
    let key = |number: u32| format!("one/x86_64/scap_debian_6.1.{number}-1-amd64_1.ko");
    server.change(|objects| {
        for number in [1, 3] {
            objects
                .entry(format!("p/{}", key(number)))
                .or_default()
                .body = b"dbg-go's".to_vec();
        }
    });
    let run = |words: &[&str]| {
        let mut all = vec![
            "run",
            "matrix.toml",
            "--executor",
            "fake",
            "--skip-published",
        ];
        all.extend(words);
        let output = grid
            .program(&all)
            .envs(server.variables())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text) = run(&["--publish", "s3://builds/p"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(modules(&grid), 2);
    assert!(text.contains("2 of 4 builds already published"), "{text}");
    let why = "2 x published: s3://builds/p already has files with these names";
    assert!(text.contains(why), "{text}");
    assert!(text.contains("2 published"), "{text}");
    let manifest = read_manifest(&grid.path("out")).unwrap();
    assert_eq!(manifest.builds.len(), 2);
    assert!(manifest.run.is_partial);
    let skipped: Vec<String> = manifest
        .excluded
        .iter()
        .map(|row| format!("{} {}", row.rule, row.kernel_release))
        .collect();
    let expected = [1, 3].map(|number| format!("published 6.1.{number}-1-amd64"));
    assert_eq!(skipped, expected);
    // One listing for the plan and two for the publication; no request for a single artifact.
    let requests = server.requests();
    let starting = |start: &str| requests.iter().filter(|one| one.starts_with(start)).count();
    assert_eq!(starting("HEAD "), 1, "{requests:?}");
    assert_eq!(starting("GET "), 3, "{requests:?}");
    assert_eq!(starting("PUT p/one/"), 2, "{requests:?}");
    assert_eq!(server.objects()[&format!("p/{}", key(1))].body, b"dbg-go's");

    // Now all artifacts are published.
    let (code, text) = run(&["--publish", "s3://builds/p", "--out", "out-2"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 of 4 builds already published"), "{text}");
    let (code, text) = run(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("add --publish TO"), "{text}");
}
