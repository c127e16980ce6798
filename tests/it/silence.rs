//! A command that waits for a server reports this after a short time.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use driverkit_matrix::fs::Lock;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::fake_s3::FakeS3;
use support::grid::Grid;

use crate::run::BUILD;

/// Accepts connections and answers nothing.
fn silent_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let connections: Vec<_> = listener.incoming().collect();
        drop(connections);
    });
    format!("http://{address}")
}

#[test]
fn every_command_reports_that_it_waits_for_a_bucket_or_mirror() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let server = silent_server();
    grid.write(
        "remote.toml",
        format!(
            "drivers = [\"one\"]\n[driver.\"one\"]\nsource = {{ path = \"driver\" }}\nmodule_name = \"scap\"\n\
             [[target]]\nname = \"debian\"\nkernels = [{{ release = \"6.1.1-1-amd64\", headers = [\"{server}/a.deb\"] }}]\n"
        ),
    );
    let repository = format!("{}/builders", server.trim_start_matches("http://"));
    let asking = format!("asking {repository} for their tags");
    let commands: [(&[&str], &str); 9] = [
        (
            &["publish", "out", "s3://bucket"],
            "publishing to s3://bucket",
        ),
        (
            &["publish", "--audit", "s3://bucket"],
            "comparing s3://bucket",
        ),
        (
            &["prune", "s3://bucket", "--newest-drivers", "1"],
            "reading the index of s3://bucket",
        ),
        (
            &["stats", "s3://bucket"],
            "reading manifests of s3://bucket",
        ),
        (
            &[
                "store",
                "status",
                "--store",
                "s3://bucket",
                "--store-trusted",
            ],
            "reading the shared store s3://bucket",
        ),
        (
            &["store", "gc", "--store", "s3://bucket", "--store-trusted"],
            "cleaning up s3://bucket",
        ),
        (
            &[
                "run",
                "matrix.toml",
                "--publish",
                "s3://bucket",
                "--skip-published",
            ],
            "listing s3://bucket",
        ),
        (
            &[
                "images",
                "update",
                "--builderrepo",
                &repository,
                "--registry-plain-http",
            ],
            &asking,
        ),
        (
            &["plan", "remote.toml", "--check"],
            "0 of 1 file checked; asking 127.0.0.1",
        ),
    ];
    std::thread::scope(|scope| {
        for (words, expected) in commands {
            let (grid, server) = (&grid, &server);
            scope.spawn(move || {
                let variables = [
                    ("AWS_ENDPOINT_URL", server.as_str()),
                    ("AWS_REGION", "eu-west-1"),
                    ("AWS_ACCESS_KEY_ID", "key"),
                    ("AWS_SECRET_ACCESS_KEY", "secret"),
                ];
                let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let line = first_line(grid, words, &variables);
                assert!(line.contains(expected), "{words:?}: {line}");
            });
        }
    });
}

#[test]
fn waiting_for_a_slow_manifest_is_reported() {
    let grid = Grid::new();
    std::fs::create_dir(grid.path("slow")).unwrap();
    std::fs::create_dir(grid.path("dest")).unwrap();
    // The pipe has no writer.
    let path = grid.path("slow/manifest.json");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
    let commands: &[&[&str]] = &[
        &["diff", "slow", "slow"],
        &["report", "slow"],
        &["stats", "slow"],
        &["known", "slow"],
        &["why", "6.1", "--out", "slow"],
        &["logs", "6.1", "--out", "slow"],
        &["verify", "slow"],
        &["manifest", "merge", "slow", "--out", "merged"],
        &["publish", "slow", "dest"],
    ];
    std::thread::scope(|scope| {
        for words in commands {
            let grid = &grid;
            scope.spawn(move || {
                let line = first_line(grid, words, &[]);
                assert!(
                    line.contains("reading slow") || line.contains("comparing slow"),
                    "{words:?}: {line}"
                );
            });
        }
    });
}

#[test]
fn waiting_for_another_process_that_uses_the_cache_is_reported() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    // Holds the same lock as `cache gc`.
    let _lock = Lock::exclusive(&grid.path("cache/lock")).unwrap();
    let commands: &[&[&str]] = &[
        &["run", "matrix.toml", "--executor", "fake"],
        &["explain", BUILD, "matrix.toml", "--executor", "fake"],
        &["plan", "matrix.toml", "--check"],
        &["kernels", "debian", "--matrix", "matrix.toml"],
        &["bundle", "import", "bundle.tar"],
        &["cache", "verify"],
    ];
    std::thread::scope(|scope| {
        for words in commands {
            let grid = &grid;
            scope.spawn(move || {
                let line = first_line(grid, words, &[]);
                let said = "waiting for other processes that use the cache ";
                assert!(line.starts_with(said), "{words:?}: {line}");
            });
        }
    });
}

#[test]
fn uploads_at_the_end_of_a_run_are_reported() {
    let grid = Grid::new();
    let server = FakeS3::start();
    server.fail(|method, key, _| {
        // The first upload, of the file that marks a store, is answered.
        while method == "PUT" && !key.ends_with("/driverkit-matrix") {
            std::thread::park();
        }
        None
    });
    let words = [
        "run",
        "matrix.toml",
        "--executor",
        "fake",
        "--store",
        "s3://builds/store",
        "--store-trusted",
    ];
    let said = "sending to s3://builds/store";
    let line = line_with(&grid, &words, &server.variables(), |line| {
        line.contains(said)
    });
    assert!(line.starts_with("[1/1] "), "{line}");
}

/// Returns the first line that a command prints to standard error, and ends the command.
fn first_line(grid: &Grid, words: &[&str], variables: &[(String, String)]) -> String {
    line_with(grid, words, variables, |_| true)
}

/// Returns the first line that matches, and ends the command.
fn line_with(
    grid: &Grid,
    words: &[&str],
    variables: &[(String, String)],
    is_wanted: impl Fn(&str) -> bool,
) -> String {
    let mut program = Command::new(support::program())
        .args(words)
        .current_dir(grid.path(""))
        .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
        .env("DRIVERKIT_MATRIX_FAKE", grid.path("fake.json"))
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let messages = BufReader::new(program.stderr.take().unwrap());
    let mut all = String::new();
    let line = messages.lines().map_while(Result::ok).find(|line| {
        all = format!("{all}{line}\n");
        is_wanted(line)
    });
    program.kill().unwrap();
    program.wait().unwrap();
    line.unwrap_or_else(|| panic!("{words:?}: {all}"))
}
