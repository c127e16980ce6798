//! Tests of concurrent machines with one store: each module is compiled by one machine, and no machine waits forever.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use serde_json::json;
use support::fake_s3::FakeS3;
use support::grid::{Grid, RELEASE, rule};
use support::object_store::ObjectStore;

const KERNELS: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];

fn grid() -> Grid {
    let grid = Grid::new();
    for number in KERNELS {
        grid.write_headers(number, RELEASE);
    }
    grid.write_matrix(&grid.matrix(&KERNELS));
    grid
}

/// Starts a run on a machine of this name, which has an empty disk at its first run.
fn start(grid: &Grid, machine: &str, variables: &[(String, String)], words: &[&str]) -> Child {
    Command::new(support::program())
        .current_dir(grid.path(""))
        .args(["run", "matrix.toml", "--executor", "fake", "--jobs", "2"])
        .args(["--cache", &format!("cache-{machine}")])
        .args(["--out", &format!("out-{machine}")])
        .args(["--store", "s3://builds/store"])
        .args(words)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("DRIVERKIT_MATRIX_FAKE", grid.path("fake.json"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the output of a machine whose run must succeed.
fn text_of(running: Child) -> String {
    let output = running.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("planted-"), "{text}");
    text
}

/// Returns the number of builds that a machine built itself, and of those that it got from others; asserts that each
/// has its module.
fn counts(grid: &Grid, machine: &str) -> (usize, usize) {
    let out = grid.path(&format!("out-{machine}"));
    let manifest = read_manifest(&out).unwrap();
    for build in &manifest.builds {
        let path = build.artifacts[0].path.as_ref().unwrap();
        assert!(out.join(path).is_file(), "{}", build.build_id);
    }
    let count = |status| {
        let builds = manifest.builds.iter();
        builds.filter(|build| build.status == status).count()
    };
    (count(Status::Built), count(Status::Cached))
}

fn modules(grid: &Grid) -> usize {
    grid.jobs().iter().filter(|job| *job == "module").count()
}

fn leases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("store/leases"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn slow(grid: &Grid) -> serde_json::Value {
    json!({ "delay-milliseconds": 700, "copies": { "module.ko": grid.path("module.ko") } })
}

const KEY: [&str; 2] = ["--store-key", "key"];

#[test]
fn concurrent_machines_compile_each_module_once() {
    let server = ObjectStore::s3();
    let grid = grid();
    grid.write("key", "planted-store-key-of-length");
    grid.fake(&[rule("module *", &slow(&grid))]);
    let variables = server.variables();
    let running = ["a", "b", "c"].map(|machine| start(&grid, machine, &variables, &KEY));
    let texts = running.map(text_of);
    assert_eq!(modules(&grid), KERNELS.len(), "{texts:?}");
    let (mut built, mut cached) = (0, 0);
    for machine in ["a", "b", "c"] {
        let of_machine = counts(&grid, machine);
        built += of_machine.0;
        cached += of_machine.1;
    }
    assert_eq!((built, cached), (KERNELS.len(), 2 * KERNELS.len()));

    // The remaining leases do not affect a later machine, which sends no request for them; the bucket contains no
    // credential.
    assert_eq!(leases(&server.folder()).len(), KERNELS.len());
    text_of(start(&grid, "d", &variables, &KEY));
    assert_eq!(counts(&grid, "d"), (0, KERNELS.len()));
    for entry in walkdir::WalkDir::new(server.folder()).into_iter().flatten() {
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = bytes.windows(8).any(|part| part == b"planted-");
            assert!(!has, "{}", entry.path().display());
        }
    }
}

#[test]
fn claims_of_a_killed_machine_are_taken_over() {
    let server = ObjectStore::s3();
    let grid = grid();
    grid.fake(&[rule("module *", &json!({ "hangs": true }))]);
    let variables = server.variables();
    let words = ["--store-trusted", "--store-lease", "4s"];
    let mut killed = start(&grid, "a", &variables, &words);
    support::grid::wait_until("two claims", || leases(&server.folder()).len() == 2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    drop(grid.jobs());
    grid.fake(&[]);
    text_of(start(&grid, "b", &variables, &words));
    assert_eq!(modules(&grid), KERNELS.len());
    assert_eq!(counts(&grid, "b"), (KERNELS.len(), 0));
}

#[test]
fn builds_that_failed_transiently_are_claimed_by_the_next_machine() {
    let server = ObjectStore::s3();
    let grid = grid();
    let broken = json!({ "infrastructure-error": "no such machine" });
    grid.fake(&[rule("module *_6.1.3-*", &broken)]);
    let variables = server.variables();
    let words = ["--store-trusted", "--store-lease", "1h"];
    let output = start(&grid, "a", &variables, &words).wait_with_output();
    assert_ne!(output.unwrap().status.code(), Some(0));
    assert_eq!(leases(&server.folder()).len(), KERNELS.len() - 1);
    drop(grid.jobs());
    grid.fake(&[]);
    text_of(start(&grid, "b", &variables, &words));
    assert_eq!(modules(&grid), 1);
}

#[test]
fn without_conditional_writes_each_machine_compiles() {
    let server = FakeS3::start();
    server.fail(|method, key, _| {
        let refusal = "<Error><Code>NotImplemented</Code><Message>no</Message></Error>";
        let is_claim = method == "PUT" && key.starts_with("store/leases/");
        is_claim.then_some((501, "application/xml", refusal))
    });
    let grid = grid();
    grid.fake(&[rule("module *", &slow(&grid))]);
    let variables = server.variables();
    let words = ["--store-trusted"];
    let running = ["a", "b"].map(|machine| start(&grid, machine, &variables, &words));
    for running in running {
        text_of(running);
    }
    let module = |machine: &str| {
        let path = format!("out-{machine}/one/x86_64/scap_debian_6.1.8-1-amd64_1.ko");
        fs::read(&grid.path(&path)).unwrap()
    };
    assert_eq!(module("a"), module("b"));
    let claims = server.requests().into_iter();
    let claims = claims.filter(|request| request.starts_with("PUT store/leases/"));
    // One refusal is enough to continue without claims; jobs that started at the same time may cause further ones.
    assert!(claims.count() <= 2 * 6);
}

#[test]
fn without_builds_or_with_leases_disabled_nothing_is_claimed() {
    let server = FakeS3::start();
    let grid = grid();
    let variables = server.variables();
    let claims = || {
        let requests = server.requests().into_iter();
        let claims = requests.filter(|request| request.contains("store/leases"));
        claims.count()
    };
    let off = ["--store-trusted", "--store-lease", "0"];
    text_of(start(&grid, "a", &variables, &off));
    assert_eq!((claims(), modules(&grid)), (0, KERNELS.len()));
    text_of(start(&grid, "b", &variables, &["--store-trusted"]));
    assert_eq!((claims(), modules(&grid)), (0, 0));
    // A new driver: one claim for each module, replaced by its outcome.
    grid.write_driver("driver", "the next version");
    text_of(start(&grid, "c", &variables, &["--store-trusted"]));
    assert_eq!(
        (claims(), modules(&grid)),
        (2 * KERNELS.len(), KERNELS.len())
    );
}

#[test]
fn a_forged_outcome_in_place_of_a_lease_is_refused() {
    let server = FakeS3::start();
    let grid = grid();
    grid.write("key", "planted-store-key-of-length");
    grid.write("other", "planted-another-key-of-length");
    let variables = server.variables();
    text_of(start(&grid, "a", &variables, &["--store-key", "other"]));
    assert_eq!(modules(&grid), KERNELS.len());
    // Only the objects in place of leases stay.
    server.change(|objects| objects.retain(|key, _| !key.starts_with("store/packs/")));
    let text = text_of(start(&grid, "b", &variables, &KEY));
    assert_eq!(modules(&grid), KERNELS.len());
    let refused = "is rejected: it was signed with the key";
    assert!(text.contains("leases/") && text.contains(refused), "{text}");
}
