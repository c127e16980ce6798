//! Secrets in the user's URLs are never written: not to the output directory, the cache, a log or the terminal.

use std::path::Path;

use driverkit_matrix::report::read_log;

use crate::run::MODULE;
use serde_json::json;
use support::grid::{Grid, rule};
use support::server::Server;

const SECRET: &str = "s3cret";

/// Returns every file below `folder` that contains the secret, also in compressed logs. The matrix and its lock, which
/// the user wrote, are not searched.
fn files_with_the_secret(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.path().to_string_lossy().into_owned();
        let bytes = std::fs::read(entry.path()).unwrap();
        let text = read_log(entry.path()).unwrap_or_default();
        let has = |text: &[u8]| {
            text.windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes())
        };
        if name.contains(SECRET) || has(&bytes) || has(text.as_bytes()) {
            found.push(name);
        }
    }
    found
}

/// Writes a matrix whose packages are on `server`, with credentials and signatures in their URLs.
fn with_secrets(grid: &Grid, server: &Server) {
    let host = server.address.strip_prefix("http://").unwrap();
    for path in grid.headers("1") {
        let name = path
            .strip_prefix(grid.path(""))
            .unwrap()
            .display()
            .to_string();
        let url = format!("http://user:{SECRET}@{host}/{name}?X-Amz-Signature={SECRET}#{SECRET}");
        grid.edit_matrix(&path.display().to_string(), &url);
    }
}

#[test]
fn no_run_writes_a_secret() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    with_secrets(&grid, &server);
    let mirror = format!("debian=http://user:{SECRET}@127.0.0.1:9/debian?token={SECRET}");
    let extra = [
        "--mirror",
        &mirror,
        "--log",
        "trace",
        "--log-file",
        "out/trace.log",
        "--registry-name",
        "registry.example",
        "--registry-user",
        "user",
        "--registry-password",
        SECRET,
    ];
    std::fs::create_dir(grid.path("out")).unwrap();
    let run = |grid: &Grid, code: i32| {
        let (found, text) = grid.run(&extra);
        assert_eq!(found, code, "{text}");
        assert!(!text.contains(SECRET), "{text}");
        for folder in ["out", "cache"] {
            let found = files_with_the_secret(&grid.path(folder));
            assert!(found.is_empty(), "{found:#?}");
        }
    };
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    )]);
    run(&grid, 1);
    let url = &*grid.record().inputs[0].url;
    assert!(url.ends_with("_amd64.deb?..."), "{url}");

    grid.fake(&[]);
    grid.write_driver("driver", "other");
    run(&grid, 0);
    assert!(grid.path(MODULE).exists());

    let gone = Grid::new();
    let empty = Server::refusing("404 Not Found");
    with_secrets(&gone, &empty);
    std::fs::create_dir(gone.path("out")).unwrap();
    run(&gone, 1);
}

#[test]
fn urls_with_different_queries_are_different_files() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    with_secrets(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    let before = server.requests();
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(server.requests(), before, "the download is cached");
    grid.edit_matrix("X-Amz-Signature", "X-Amz-Other");
    assert_eq!(grid.run(&[]).0, 0);
    assert!(server.requests() > before, "another query is another URL");
}

#[test]
fn no_secret_of_an_invalid_flag_is_printed() {
    let grid = Grid::new();
    for flag in ["--docker-host", "--mirror"] {
        let value = format!("ftp://user:{SECRET}@host/a?token={SECRET}");
        let (code, text) = grid.run(&[flag, &value]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("invalid value"), "{text}");
        assert!(!text.contains(SECRET), "{flag}: {text}");
    }
}
