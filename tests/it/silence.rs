//! A command that waits for a server says so before long.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use support::grid::Grid;

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
fn waits_are_said_by_every_command_that_asks_a_bucket_or_mirror() {
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
    let commands = [
        (
            &["publish", "out", "s3://bucket"][..],
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
            "reading the manifests of s3://bucket",
        ),
        (
            &[
                "store",
                "status",
                "--store",
                "s3://bucket",
                "--store-trusted",
            ],
            "reading what s3://bucket has",
        ),
        (
            &["store", "gc", "--store", "s3://bucket", "--store-trusted"],
            "cleaning up s3://bucket",
        ),
        (
            &["plan", "remote.toml", "--check"],
            "0 of 1 file asked for; asking 127.0.0.1",
        ),
    ];
    std::thread::scope(|scope| {
        for (words, expected) in commands {
            let (grid, server) = (&grid, &server);
            scope.spawn(move || {
                let mut program = Command::new(support::program())
                    .args(words)
                    .current_dir(grid.path(""))
                    .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
                    .env("AWS_ENDPOINT_URL", server)
                    .env("AWS_REGION", "eu-west-1")
                    .env("AWS_ACCESS_KEY_ID", "key")
                    .env("AWS_SECRET_ACCESS_KEY", "secret")
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut line = String::new();
                let mut messages = BufReader::new(program.stderr.take().unwrap());
                messages.read_line(&mut line).unwrap();
                program.kill().unwrap();
                program.wait().unwrap();
                assert!(line.contains(expected), "{words:?}: {line}");
            });
        }
    });
}
