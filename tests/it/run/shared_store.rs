//! Tests of a store in a directory that machines share.

use std::path::{Path, PathBuf};

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;

use serde_json::json;

use crate::run::{MODULE, NOTHING};
use support::grid::{Grid, rule};
use support::server::Server;

const KEY: &str = "planted-key-of-this-test";

/// Creates a shared store in the grid's directory and returns its URL.
fn store(grid: &Grid) -> String {
    fs::create_folder(&grid.path("store")).unwrap();
    format!("file://{}", grid.path("store").display())
}

/// Runs on a machine of this name, which has its own cache and output directory.
fn run(grid: &Grid, machine: &str, words: &[&str]) -> (i32, String) {
    let (cache, out) = (format!("cache-{machine}"), format!("out-{machine}"));
    let store = store(grid);
    let mut all = vec!["--cache", &cache, "--out", &out, "--store", &store];
    all.extend(words);
    grid.run(&all)
}

/// A grid whose packages are on a server.
fn grid_at_a_server() -> (Grid, Server) {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    (grid, server)
}

fn module(machine: &str) -> String {
    MODULE.replacen("out", &format!("out-{machine}"), 1)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name();
    let files = files.into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

#[test]
fn run_notes_that_leases_are_disabled() {
    let (grid, _server) = grid_at_a_server();
    let store = store(&grid);
    // No lease can be written below a file.
    grid.write("store/leases", "");
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    let note = format!("{store}: leases are disabled: machines may compile the same steps: ");
    assert!(text.contains(&note), "{text}");
}

#[test]
fn second_machine_finds_what_the_first_built() {
    let (grid, server) = grid_at_a_server();
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("kept for other machines"), "{text}");
    grid.jobs();
    let asked = server.requests();

    // Artifacts are not downloaded unless this machine needs them.
    let (code, text) = run(&grid, "b", &["--store-trusted", "--place", "new"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no job is started"), "{text}");
    assert!(!grid.path(&module("b")).exists());
    assert_eq!(
        files(&grid.path("cache-b/blobs")),
        [""; 0].map(PathBuf::from)
    );

    let (code, text) = run(&grid, "b", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    let built = fs::read(&grid.path(&module("a"))).unwrap();
    assert_eq!(fs::read(&grid.path(&module("b"))).unwrap(), built);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(server.requests(), asked);
}

#[test]
fn existing_results_of_a_machine_are_shared_as_well() {
    let grid = Grid::new();
    for _ in 0..2 {
        assert_eq!(grid.run(&["--cache", "cache-a", "--out", "out-a"]).0, 0);
        // So that the second run has an index.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(grid.path("cache-a/outcomes/index-1").is_file());
    assert_eq!(run(&grid, "a", &["--store-trusted"]).0, 0);
    grid.jobs();
    assert_eq!(run(&grid, "b", &["--store-trusted"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    // Nothing is uploaded twice.
    let before = files(&grid.path("store"));
    assert_eq!(run(&grid, "a", &["--store-trusted"]).0, 0);
    assert_eq!(run(&grid, "b", &["--store-trusted"]).0, 0);
    assert_eq!(files(&grid.path("store")), before);
}

#[test]
fn a_store_without_keys_that_is_not_trusted_is_refused() {
    let grid = Grid::new();
    let (code, text) = run(&grid, "a", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("no keys configured, and the store is not declared trusted"),
        "{text}"
    );
    assert!(text.contains("--store-key"), "{text}");
    let (code, text) = grid.run(&["--store", "file:///nowhere/at/all", "--store-trusted"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("create the directory"), "{text}");
    let (code, text) = grid.run(&["--store", "s3://key:planted-secret@bucket"]);
    assert_eq!(code, 2, "{text}");
    assert!(!text.contains("planted"), "{text}");
    assert_eq!(grid.jobs(), NOTHING);
}

#[test]
fn packs_with_another_key_are_refused_and_built_again() {
    let grid = Grid::new();
    grid.write("key", KEY);
    grid.write("other", "another-key-of-this-test");
    assert_eq!(run(&grid, "a", &["--store-key", "other"]).0, 0);
    let pack = files(&grid.path("store/packs")).remove(0);
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    grid.jobs();
    let (code, text) = run(&grid, "b", &["--store-key", "key"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(&format!(
            "pack {name} is rejected: it was signed with the key"
        )),
        "{text}"
    );
    assert_ne!(grid.jobs(), NOTHING);
    let (code, text) = run(&grid, "c", &["--store-key", "key"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    for file in files(&grid.path("")) {
        let is_key = ["key", "other"].contains(&file.file_name().unwrap().to_str().unwrap());
        let bytes = fs::read(&file).unwrap();
        let has = memchr(&bytes, KEY.as_bytes());
        assert!(is_key || !has, "{}", file.display());
    }
    assert!(!text.contains(KEY), "{text}");

    // Packs whose bytes changed under the same name.
    for pack in files(&grid.path("store/packs")) {
        let mut bytes = fs::read(&pack).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
    let (code, text) = run(&grid, "d", &["--store-key", "key"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("its content is damaged"), "{text}");
    assert_ne!(grid.jobs(), NOTHING);
}

fn memchr(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

#[test]
fn changed_content_is_refused_and_built_again() {
    let grid = Grid::new();
    assert_eq!(run(&grid, "a", &["--store-trusted"]).0, 0);
    let built = fs::read(&grid.path(&module("a"))).unwrap();
    let contents = files(&grid.path("store/contents"));
    let of_module = |path: &&PathBuf| fs::read(path).unwrap() == built;
    let content = contents.iter().find(of_module).unwrap();
    fs::write(content, "forged").unwrap();
    grid.jobs();
    let (code, text) = run(&grid, "b", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    let digest = content.file_name().unwrap().to_str().unwrap();
    assert!(
        text.contains(digest) && text.contains("is rejected"),
        "{text}"
    );
    assert_ne!(grid.jobs(), NOTHING);
    assert_eq!(fs::read(&grid.path(&module("b"))).unwrap(), built);
}

#[test]
fn headers_deleted_from_every_mirror_are_read_from_the_store() {
    let (grid, _server) = grid_at_a_server();
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    for path in grid.headers("1") {
        fs::remove_file(&path).unwrap();
    }
    grid.write_driver("driver", "a new version");
    grid.jobs();
    // Without the store the build fails.
    assert_eq!(grid.run(&["--cache", "cache-c", "--out", "out-c"]).0, 1);
    let (code, text) = run(&grid, "b", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    assert!(grid.jobs().contains(&"module".to_owned()));
    assert!(grid.path(&module("b")).exists());
}

#[test]
fn only_unpublished_artifacts_are_downloaded_to_be_published() {
    let grid = Grid::of_four();
    // The modules of the kernels must differ, so that a downloaded one is not the content of another kernel's module.
    let mut other = support::grid::module(support::grid::RELEASE);
    other.push(0);
    grid.write("other.ko", other);
    let copies = json!({ "copies": { "module.ko": grid.path("other.ko") } });
    grid.fake(&["1", "2"].map(|number| rule(&format!("module *_6.1.{number}-*"), &copies)));
    fs::create_folder(&grid.path("to")).unwrap();
    let to = grid.path("to").display().to_string();
    let publish = ["--store-trusted", "--place", "new", "--publish", &to];
    // One machine publishes two of four, another machine is killed before it publishes the others.
    let (code, text) = run(
        &grid,
        "a",
        &[
            &publish[..],
            &["--kernel", "6.1.1-*", "--kernel", "6.1.2-*"],
        ]
        .concat(),
    );
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 published"), "{text}");
    assert_eq!(run(&grid, "b", &["--store-trusted"]).0, 0);
    grid.jobs();
    let (code, text) = run(&grid, "c", &publish);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    assert!(text.contains("2 published"), "{text}");
    let modules = |folder: &str| {
        let files = files(&grid.path(folder)).into_iter();
        let is_module = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "ko");
        files.filter(is_module).count()
    };
    assert_eq!((modules("to"), modules("out-c")), (4, 2), "{text}");
    let (code, text) = run(&grid, "d", &publish);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("0 published"), "{text}");
    assert_eq!(modules("out-d"), 0);
}

/// Runs a `store` command; returns the exit code and the output.
fn command(grid: &Grid, words: &[&str]) -> (i32, String) {
    let store = store(grid);
    let mut all = vec!["--cache", "cache-x", "store"];
    all.extend(words);
    all.extend(["--store", &store, "--store-trusted"]);
    let output = grid.program(&all).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn packs_are_merged_and_unused_contents_removed_after_the_grace_time() {
    let grid = Grid::of_four();
    for (machine, kernel) in [("a", "6.1.1-*"), ("b", "6.1.2-*"), ("c", "6.1.3-*")] {
        let words = ["--store-trusted", "--kernel", kernel];
        let (code, text) = run(&grid, machine, &words);
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(files(&grid.path("store/packs")).len(), 3);
    let digest = driverkit_matrix::digest::Sha256::of("of a run that was killed");
    let stray = format!("store/contents/{}/{digest}", &digest.to_string()[..2]);
    grid.write(&stray, "of a run that was killed");
    grid.write("store/contents/README", "not a content");
    let contents = files(&grid.path("store/contents"));

    let (code, text) = command(&grid, &["gc"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("merged 3 packs; removed 0 contents"),
        "{text}"
    );
    assert_eq!(files(&grid.path("store/contents")), contents);
    // One of the leases left by the builds is two days old.
    let leases = files(&grid.path("store/leases"));
    assert_eq!(leases.len(), 3);
    let before = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    let old = std::fs::File::options().write(true).open(&leases[1]);
    old.unwrap().set_modified(before).unwrap();
    let (code, text) = command(&grid, &["gc", "--grace-days", "0"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("removed 1 content,"), "{text}");
    let left = files(&grid.path("store/leases"));
    assert_eq!(left, [leases[0].clone(), leases[2].clone()]);
    assert!(!grid.path(&stray).exists());
    assert_eq!(
        files(&grid.path("store/contents")).len(),
        contents.len() - 1
    );
    assert_eq!(files(&grid.path("store/packs")).len(), 1);

    let (code, text) = command(&grid, &["status"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 pack,"), "{text}");
    grid.jobs();
    let (code, text) = run(&grid, "d", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    // One of the four kernels is new.
    assert_eq!(grid.jobs().iter().filter(|job| *job == "module").count(), 1);
}

#[test]
fn headers_are_stored_before_anything_is_built() {
    let (grid, server) = grid_at_a_server();
    let (code, text) = command(&grid, &["fetch", "matrix.toml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 files needed, 0 already stored"), "{text}");
    let asked = server.requests();
    let (code, text) = command(&grid, &["--cache", "cache-y", "fetch", "matrix.toml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 files needed, 3 already stored"), "{text}");
    assert_eq!(server.requests(), asked);
    for path in grid.headers("1") {
        fs::remove_file(&path).unwrap();
    }
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn failed_uploads_to_the_store_are_reported_and_repeated_by_the_next_run() {
    let grid = Grid::new();
    store(&grid);
    // A file in place of the directory of contents.
    grid.write("store/contents", "");
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("failed to upload"), "{text}");
    assert!(grid.path(&module("a")).exists());
    fs::remove_file(&grid.path("store/contents")).unwrap();
    let (code, text) = run(&grid, "a", &["--store-trusted"]);
    assert_eq!(code, 0, "{text}");
    grid.jobs();
    assert_eq!(run(&grid, "b", &["--store-trusted"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
}

#[test]
fn read_only_machine_writes_nothing_to_the_store() {
    let grid = Grid::new();
    let (code, text) = run(&grid, "a", &["--store-trusted", "--store-read-only"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(files(&grid.path("store")), [""; 0].map(PathBuf::from));
}

#[test]
fn the_matrix_configures_the_store_and_what_it_keeps() {
    let grid = Grid::new();
    let url = store(&grid);
    let table = format!("[store]\nurl = \"{url}\"\ntrusted = true\nkeep = [\"artifacts\"]\n");
    grid.write_matrix(&format!("{}\n{table}", grid.matrix(&["1"])));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    // Only the module is in the store, neither logs nor headers.
    assert_eq!(files(&grid.path("store/contents")).len(), 1);
    grid.jobs();
    let (code, text) = grid.run(&["--cache", "cache-b", "--out", "out-b"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(grid.statuses(), [Status::Built]);

    // Now the log of the module and the headers are stored as well. Contents that are already stored are not uploaded
    // again.
    fs::create_folder(&grid.path("store-2")).unwrap();
    grid.edit_matrix("/store\"", "/store-2\"");
    let all = "keep = [\"artifacts\", \"logs\", \"headers\", \"prepared\"]\nlease = \"90s\"";
    grid.edit_matrix("keep = [\"artifacts\"]", all);
    grid.write_driver("driver", "the next version");
    let (code, text) = grid.run(&["--cache", "cache-c", "--out", "out-c"]);
    assert_eq!(code, 0, "{text}");
    let contents = files(&grid.path("store-2/contents"));
    for path in grid.headers("1") {
        let digest = driverkit_matrix::digest::Sha256::of(fs::read(&path).unwrap()).to_string();
        assert!(contents.iter().any(|content| content.ends_with(&digest)));
    }
    let is_log = |path: &&PathBuf| {
        fs::read(path)
            .unwrap()
            .starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
    };
    assert!(contents.iter().any(|content| is_log(&content)));

    grid.edit_matrix(all, "keep = [\"all\"]\nlease = \"9h\"\nbucket = 1");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 2, "{text}");
    for expected in [
        "unknown content `all`",
        "invalid time `9h`: expected 1s to 6h",
        "bucket",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}
