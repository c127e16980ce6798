//! Tests of runs in which everything is cached.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use serde_json::json;

use crate::run::{MODULE, NOTHING};
use support::grid::{Grid, RELEASE, module, rule};
use support::server::Server;

#[test]
fn a_built_module_is_cached_and_runs_no_job_again() {
    let grid = Grid::new();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module(RELEASE));
    assert_eq!(grid.jobs(), ["check", "module"]);
    let first = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();

    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    let second = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    assert_eq!(first.replace(",built,", ",cached,"), second);
    assert_eq!(grid.manifest().executor.name, "none");
}

#[test]
fn driver_versions_share_only_equal_checks_of_a_kernel() {
    let grid = Grid::new();
    for (folder, content) in [("other", "int other;\n"), ("third", "int third;\n")] {
        grid.write_driver(folder, content);
    }
    grid.write("other/configure/SECOND/build.sh", "exit 0\n");
    grid.write("other/configure/SECOND/test.c", "int second;\n");
    let sources = ["two", "three"]
        .into_iter()
        .zip(["other", "third"])
        .map(|(version, folder)| {
            format!(
                "[driver.{version:?}]\nsource = {{ path = {folder:?} }}\nmodule_name = \"scap\"\n"
            )
        });
    let matrix = grid
        .matrix(&["1", "2"])
        .replace("[\"one\"]", "[\"one\", \"two\", \"three\"]")
        .replace("[defaults]", &(sources.collect::<String>() + "[defaults]"));
    grid.write_headers("2", RELEASE);
    grid.write_matrix(&matrix);
    grid.fake(&[]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let built = grid.manifest();
    grid.jobs();

    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    let cached = grid.manifest();
    assert_eq!(cached.builds.len(), 6);
    for (built, cached) in built.builds.iter().zip(&cached.builds) {
        let names: Vec<&str> = cached.checks.keys().map(String::as_str).collect();
        let expected = match cached.driver_version.as_str() {
            "two" => vec!["CHECK", "SECOND"],
            _ => vec!["CHECK"],
        };
        assert_eq!(names, expected, "{}", cached.build_id);
        assert_eq!(cached.inputs, built.inputs, "{}", cached.build_id);
        assert_eq!(cached.artifacts[0].key, built.artifacts[0].key);
    }
}

#[test]
fn a_cached_run_opens_no_connection_and_a_moved_package_rebuilds_nothing() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    let folder = grid.path("").display().to_string();
    let by_http = |address: &str| {
        grid.matrix(&["1"])
            .replace(folder.trim_end_matches('/'), address)
    };
    grid.write_matrix(&by_http(&server.address));
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["check", "module"]);
    assert_eq!(server.requests(), 3);
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(server.requests(), 3);

    let moved = Server::of(&grid.path(""));
    grid.write_matrix(&by_http(&moved.address));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!((server.requests(), moved.requests()), (3, 3));
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(grid.record().status, Status::Cached);
}

#[test]
fn the_loader_name_is_an_alias_unless_a_kernel_has_that_name() {
    let grid = Grid::new();
    let matrix = grid.matrix(&["1"]);
    for path in grid.headers("1") {
        let other = path
            .display()
            .to_string()
            .replace("6.1.1-1", "6.1.1-1~bpo12+1");
        fs::write(other.as_ref(), fs::read(&path).unwrap()).unwrap();
    }
    let backport = matrix.replace("6.1.1-1", "6.1.1-1~bpo12+1");
    grid.write_matrix(&backport);
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module(RELEASE));
    assert_eq!(grid.record().artifacts[0].aliases.len(), 1);

    // Now both files exist, each only under its own name.
    let own = matrix.lines().last().unwrap();
    let (head, kernels) = backport.split_once("kernels = [").unwrap();
    let own_kernel = own
        .split_once("kernels = [")
        .unwrap()
        .1
        .trim_end_matches(']');
    grid.write_matrix(&format!("{head}kernels = [{own_kernel}, {kernels}"));
    assert_eq!(grid.run(&["--out", "both"]).0, 0);
    let manifest = read_manifest(&grid.path("both/manifest.json")).unwrap();
    assert!(
        manifest
            .builds
            .iter()
            .all(|build| build.artifacts[0].aliases.is_empty())
    );
    assert_eq!(manifest.builds.len(), 2);
}

/// Versions before outcomes had a checksum also kept failures of full disks and killed compilers. Such failures are done
/// again, whatever they say; those of this version are kept.
#[test]
fn kept_failure_of_an_early_version_is_done_again() {
    let grid = Grid::new();
    let log = "/build/main.c:1:2: error: 'lost_name' undeclared\n";
    grid.fake(&[rule("module *", &json!({ "code": 1, "log": log }))]);
    assert_eq!(grid.run(&[]).0, 1);
    grid.fake(&[]);
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.statuses().iter().all(|one| *one != Status::Built));
    let mut healed = 0;
    let folders = std::fs::read_dir(grid.path("cache/outcomes/v1")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    for file in files.map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("lost_name") {
            fs::write(&file, text.lines().next().unwrap()).unwrap();
            healed += 1;
        }
    }
    assert_eq!(healed, 1);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.statuses(), [Status::Built]);
}

/// Makes everything in a directory look as if it was written 100 days ago.
fn age(folder: &Path) {
    let time = SystemTime::now() - Duration::from_hours(100 * 24);
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let file = std::fs::File::open(entry.path()).unwrap();
            file.set_modified(time).unwrap();
        }
    }
}

#[test]
fn clean_up_keeps_old_outcomes_that_runs_still_find() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.run(&[]).0, 0);
    age(&grid.path("cache/outcomes/v1"));
    age(&grid.path("cache/blobs"));
    grid.jobs();
    let clean = |days: &str| {
        let words = ["cache", "gc", "--unused-days", days, "--format", "json"];
        let output = grid.program(&words).assert().success().get_output().clone();
        let cleaned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        cleaned["outcomes"].as_u64().unwrap()
    };
    assert_eq!(clean("90"), 0);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("4 cached"), "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    // Nothing has used them since then.
    let used = std::fs::read_dir(grid.path("cache/outcomes/used")).unwrap();
    let used: Vec<PathBuf> = used.map(|entry| entry.unwrap().path()).collect();
    assert!(!used.is_empty());
    for (number, path) in used.iter().enumerate() {
        fs::rename(path, &path.with_file_name(format!("2020-02-2{number}"))).unwrap();
    }
    assert!(clean("90") > 0);
    let left = std::fs::read_dir(grid.path("cache/outcomes/used")).unwrap();
    assert_eq!(left.count(), 0);
    assert_eq!(grid.run(&[]).0, 0);
    assert_ne!(grid.jobs(), NOTHING);
}
