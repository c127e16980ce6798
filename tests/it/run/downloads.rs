//! Tests of servers that send broken bytes once or always: these bytes are never accepted.

use std::time::{Duration, Instant};

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use serde_json::json;

use support::grid::{Grid, rule, tarball};
use support::server::Server;

const PACKAGE: &str = "linux-headers-6.1.0-1-amd64";

/// Lets the grid read its kernel from a list, with the packages on `server`.
fn from_server(grid: &Grid, server: &Server) {
    crate::run::packages::by_list(grid);
    let list = fs::read_to_string(&grid.path("list.json")).unwrap();
    let folder = grid.path("").display().to_string();
    let folder = folder.trim_end_matches('/');
    assert!(list.contains(folder), "{list}");
    grid.write("list.json", list.replace(folder, &server.address));
}

fn good_digest(grid: &Grid) -> String {
    let [arch, ..] = grid.headers("1");
    Sha256::of(fs::read(&arch).unwrap()).to_string()
}

fn half_digest(grid: &Grid) -> String {
    let [arch, ..] = grid.headers("1");
    let bytes = fs::read(&arch).unwrap();
    Sha256::of(&bytes[..bytes.len() / 2]).to_string()
}

fn lock(grid: &Grid) -> String {
    fs::read_to_string(&grid.path("matrix.lock")).unwrap()
}

#[test]
fn package_that_is_broken_once_is_downloaded_again_in_the_same_run() {
    let grid = Grid::new();
    let server = Server::of_halves(&grid.path(""), PACKAGE, 1);
    from_server(&grid, &server);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("returned an unusable file"), "{text}");
    let lock = lock(&grid);
    assert!(lock.contains(&good_digest(&grid)), "{lock}");
    assert!(!lock.contains(&half_digest(&grid)), "{lock}");
}

#[test]
fn package_that_is_broken_twice_is_a_download_failure_and_not_cached() {
    let grid = Grid::new();
    let server = Server::of_halves(&grid.path(""), PACKAGE, 2);
    from_server(&grid, &server);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1, "{text}");
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "download", "{message}");
    assert!(message.contains(&half_digest(&grid)), "{message}");
    assert!(!lock(&grid).contains(&half_digest(&grid)));

    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(lock(&grid).contains(&good_digest(&grid)));
}

#[test]
fn after_a_mirror_with_broken_packages_the_origin_is_used_and_both_are_named() {
    let grid = Grid::new();
    let origin = Server::of(&grid.path(""));
    let mirror = Server::of_halves(&grid.path(""), PACKAGE, usize::MAX);
    from_server(&grid, &origin);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"{}\"]\n",
        origin.address, mirror.address
    );
    grid.write_matrix(&format!("{matrix}{mirrors}"));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("returned an unusable file"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    for named in [
        &origin.address,
        &mirror.address,
        &good_digest(&grid),
        &half_digest(&grid),
    ] {
        assert!(line.contains(named.as_str()), "{named}: {line}");
    }
}

#[test]
fn downloads_of_a_removed_mirror_are_not_used() {
    let grid = Grid::new();
    let origin = Server::of(&grid.path(""));
    let mirror = Server::of(&grid.path(""));
    grid.point_to(&origin);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"{}\"]\n",
        origin.address, mirror.address
    );
    grid.write_matrix(&format!("{matrix}{mirrors}"));
    let (code, text) = grid.run(&[]);
    assert_eq!((code, origin.requests()), (0, 0), "{text}");
    grid.write_matrix(&matrix);
    let (code, text) = grid.run(&[]);
    assert_eq!((code, origin.requests()), (0, 3), "{text}");
}

#[test]
fn old_lock_with_the_digest_of_broken_bytes_is_repaired() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    let (good, half) = (good_digest(&grid), half_digest(&grid));
    let old = lock(&grid).replace("{\"lock\":3", "{\"lock\":1");
    let old = old.replace(",\"noted\":true", "").replace(&good, &half);
    assert!(old.contains(&half), "{old}");
    grid.write("matrix.lock", old);
    std::fs::remove_dir_all(grid.path("cache")).unwrap();
    std::fs::remove_dir_all(grid.path("out")).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("replaces the unpublished digest"), "{text}");
    let lock = lock(&grid);
    assert!(lock.contains(&good) && !lock.contains(&half), "{lock}");
}

#[test]
fn pipe_in_place_of_a_package_is_refused_without_waiting_for_its_writer() {
    let grid = Grid::new();
    let [arch, ..] = grid.headers("1");
    fs::remove_file(&arch).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&arch).status();
    assert!(made.unwrap().success());
    let mut child = grid.start(&[]);
    let deadline = Instant::now() + Duration::from_mins(1);
    // If the run waits for a writer, opening the pipe here would end that wait, so the test does not open it.
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the run waits for a writer of the pipe");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "download", "{message}");
    assert!(message.contains("pipe"), "{message}");
}

#[test]
fn if_a_mirror_has_the_package_of_another_kernel_the_origin_is_used() {
    let grid = Grid::new();
    let other = Grid::new();
    other.write_headers("1", "6.1.0-2-amd64");
    let origin = Server::of(&grid.path(""));
    let mirror = Server::of(&other.path(""));
    from_server(&grid, &origin);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"{}\"]\n",
        origin.address, mirror.address
    );
    grid.write_matrix(&format!("{matrix}{mirrors}"));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(lock(&grid).contains(&good_digest(&grid)), "{text}");
}

#[test]
fn retry_downloads_packages_of_another_kernel_again() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    let [arch, ..] = grid.headers("1");
    let right = fs::read(&arch).unwrap();
    grid.write_headers("1", "6.1.0-2-amd64");
    let (code, text) = grid.run(&[]);
    assert_eq!(
        (code, grid.outcome().1.as_str()),
        (1, "wrong-headers"),
        "{text}"
    );
    let asked = server.requests();
    grid.write_headers("1", support::grid::RELEASE);
    assert_eq!(fs::read(&arch).unwrap(), right);
    let (code, text) = grid.run(&[]);
    assert_eq!((code, server.requests()), (1, asked), "{text}");
    let (code, text) = grid.run(&["--retry", "wrong-headers"]);
    assert_eq!(code, 0, "{text}");
    assert!(lock(&grid).contains(&good_digest(&grid)), "{text}");
    assert_eq!(grid.run(&[]).0, 0);
}

#[test]
fn broken_driver_sources_are_downloaded_again() {
    let grid = Grid::new();
    let files = [
        ("libs/Makefile", "scap-y += main.o\nobj-m += scap.o\n"),
        ("libs/driver_config.h", "#define DRIVER_NAME \"scap\"\n"),
        ("libs/main.c", "main"),
    ];
    let tar = tarball(&files);
    grid.write("driver.tar.zst", zstd::encode_all(&tar[..], 1).unwrap());
    let server = Server::of_halves(&grid.path(""), "driver.tar", 2);
    grid.edit_matrix(
        "path = \"driver\"",
        &format!("url = \"{}/driver.tar.zst\"", server.address),
    );
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.outcome().1, "download", "{text}");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
}

/// Replaces the noted digest of the good package by the digest of the broken one.
fn spoil_note(grid: &Grid) {
    let spoilt = lock(grid).replace(&good_digest(grid), &half_digest(grid));
    assert!(spoilt.contains(&half_digest(grid)), "{spoilt}");
    grid.write("matrix.lock", spoilt);
}

/// Returns the line of the lock that contains `text`.
fn line_of(grid: &Grid, text: &str) -> String {
    let lock = lock(grid);
    let line = lock.lines().find(|line| line.contains(text));
    line.unwrap_or_else(|| panic!("{lock}")).to_owned()
}

#[test]
fn lock_replaces_a_noted_digest_that_a_later_download_contradicts() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    spoil_note(&grid);
    let said = grid.program(&["lock", "matrix.toml"]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("replaces the unpublished digest"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(&half_digest(&grid)) && line.contains(&good_digest(&grid)));
    let lock = lock(&grid);
    assert!(lock.contains(&good_digest(&grid)) && !lock.contains(&half_digest(&grid)));
}

#[test]
fn lock_keeps_a_noted_digest_that_the_server_confirms() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    // Another machine noted the digest of the package that replaced the one in this cache.
    let old = good_digest(&grid);
    let [arch, ..] = grid.headers("1");
    fs::write(&arch, b"!<arch>\nnewer").unwrap();
    let newer = good_digest(&grid);
    grid.write("matrix.lock", lock(&grid).replace(&old, &newer));
    let said = grid.program(&["lock", "matrix.toml"]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.status.success() && !text.contains("replaces the unpublished digest"),
        "{text}"
    );
    assert!(lock(&grid).contains(&newer));
}

#[test]
fn retry_of_any_class_checks_the_packages_of_failed_builds_again() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    let failing = rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    );
    grid.fake(&[failing]);
    let (code, text) = grid.run(&[]);
    assert_eq!((code, grid.outcome().1.as_str()), (1, "compile"), "{text}");
    let asked = server.requests();
    let (code, text) = grid.run(&["--retry", "configure"]);
    assert_eq!((code, server.requests()), (1, asked), "{text}");
    for class in ["compile", "failed"] {
        let asked = server.requests();
        let (code, text) = grid.run(&["--retry", class]);
        assert_eq!(code, 1, "{text}");
        assert!(server.requests() >= asked + 3, "{class}: {text}");
    }
}

#[test]
fn digests_of_packages_of_another_kernel_are_not_noted() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    grid.write_headers("1", "6.1.0-2-amd64");
    let (code, text) = grid.run(&[]);
    assert_eq!(
        (code, grid.outcome().1.as_str()),
        (1, "wrong-headers"),
        "{text}"
    );
    assert!(!lock(&grid).contains(",\"sha256\":"), "{}", lock(&grid));
    assert_eq!(grid.run(&[]).0, 1);
    assert!(!lock(&grid).contains(",\"sha256\":"), "{}", lock(&grid));
}

#[test]
fn digest_confirmed_by_two_servers_is_no_longer_a_note() {
    let grid = Grid::new();
    let origin = Server::of(&grid.path(""));
    let mirror = Server::of(&grid.path(""));
    from_server(&grid, &origin);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"{}\"]\n",
        origin.address, mirror.address
    );
    grid.write_matrix(&format!("{matrix}{mirrors}"));
    assert_eq!(grid.run(&[]).0, 0);
    assert!(line_of(&grid, &good_digest(&grid)).contains("\"noted\":true"));
    grid.write_matrix(&matrix);
    let failing = rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    );
    grid.fake(&[failing]);
    fs::write(&grid.path("driver/main.c"), "other").unwrap();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.run(&["--retry", "compile"]).0, 1);
    let line = line_of(&grid, &good_digest(&grid));
    assert!(!line.contains("\"noted\":true"), "{line}");
    // `lock` keeps the confirmed digest.
    assert!(
        grid.program(&["lock", "matrix.toml"])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(line_of(&grid, &good_digest(&grid)), line);
}

#[test]
fn package_that_is_broken_on_two_servers_is_a_cached_failure() {
    let grid = Grid::new();
    let origin = Server::of_halves(&grid.path(""), PACKAGE, usize::MAX);
    let mirror = Server::of_halves(&grid.path(""), PACKAGE, usize::MAX);
    from_server(&grid, &origin);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let mirrors = format!(
        "[mirrors]\n\"{}\" = [\"{}\"]\n",
        origin.address, mirror.address
    );
    grid.write_matrix(&format!("{matrix}{mirrors}"));
    let (code, text) = grid.run(&[]);
    assert_eq!((code, grid.outcome().1.as_str()), (1, "unpack"), "{text}");
    assert!(!lock(&grid).contains(&half_digest(&grid)));
    let asked = origin.requests() + mirror.requests();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(origin.requests() + mirror.requests(), asked);
    assert_eq!(grid.run(&["--retry", "unpack"]).0, 1);
    assert!(origin.requests() + mirror.requests() > asked);
}

#[test]
fn bundle_uses_the_servers_package_if_the_noted_digest_is_wrong() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    spoil_note(&grid);
    std::fs::remove_dir_all(grid.path("cache")).unwrap();
    std::fs::remove_dir_all(grid.path("out")).unwrap();
    let said = grid.program(&["bundle", "export", "b.tar", "matrix.toml"]);
    let said = { said }.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    assert!(
        text.contains(&half_digest(&grid)) && text.contains(&good_digest(&grid)),
        "{text}"
    );
    std::fs::remove_dir_all(grid.path("cache")).unwrap();
    let said = grid
        .program(&["bundle", "import", "b.tar"])
        .output()
        .unwrap();
    assert!(said.status.success());
    let asked = server.requests();
    let (code, text) = grid.run(&["--offline"]);
    assert_eq!((code, server.requests()), (0, asked), "{text}");
    assert!(!text.contains("missing for"), "{text}");
    let lock = lock(&grid);
    assert!(lock.contains(&good_digest(&grid)) && !lock.contains(&half_digest(&grid)));
}

#[test]
fn cache_verify_removes_download_records_of_damaged_files() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    from_server(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    let verify = |words: &[&str]| {
        let said = grid
            .program(&[&["cache", "verify"], words].concat())
            .output()
            .unwrap();
        let lines = String::from_utf8_lossy(&said.stdout).into_owned();
        (said.status.code(), lines)
    };
    assert_eq!(verify(&[]).0, Some(0));
    let good = good_digest(&grid);
    let blob = grid.path(&format!("cache/blobs/{}/{good}", &good[..2]));
    fs::write(&blob, b"damaged").unwrap();
    let (code, lines) = verify(&[]);
    let is_record = |line: &&str| line.contains("/urls/") && line.contains(&good);
    assert_eq!(
        (code, lines.lines().filter(is_record).count()),
        (Some(1), 1),
        "{lines}"
    );
    assert_eq!(verify(&["--remove"]).0, Some(0));
    assert_eq!(verify(&[]).0, Some(0));
    let asked = server.requests();
    std::fs::remove_dir_all(grid.path("out")).unwrap();
    assert_eq!(grid.run(&[]).0, 0);
    assert!(server.requests() >= asked);
}
