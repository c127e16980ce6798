//! Measures how long each command takes to print its first output, with the shipped matrices without locks, no network
//! and an empty cache: a user at a terminal expects an answer at once.
//!
//! `cargo bench --bench first_line`

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driverkit_matrix::fs;
use support::tell::{median, tell};

const RUNS: usize = 5;

/// One command of each kind; commands without a required argument print an error, which must be as fast.
const COMMANDS: [&str; 27] = [
    "plan",
    "plan --names",
    "lock",
    "run --offline",
    "status",
    "stats",
    "why 6.1.0-50-amd64",
    "explain 0.23.2/x",
    "known --suggest",
    "compilers matrices/debian.toml",
    "report",
    "diff old new",
    "kernels debian",
    "images list",
    "images build",
    "cache stats",
    "cache verify",
    "generate markdown",
    "generate schema matrix",
    "verify",
    "publish",
    "store gc",
    "rebuild x",
    "logs x",
    "docker",
    "completion bash",
    "--help",
];

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Output files of a command that is stopped are discarded with the directory.
    let matrices = folder.path().join("matrices");
    fs::create_folder(&matrices).expect("a writable folder");
    for file in std::fs::read_dir(support::root().join("matrices")).expect("the matrices") {
        let path = file.expect("an entry").path();
        if let (Some(name), true) = (path.file_name(), path.extension() == Some("toml".as_ref())) {
            fs::link_or_copy(&path, &matrices.join(name)).expect("a writable folder");
        }
    }
    let mut slowest = (Duration::ZERO, "");
    for text in COMMANDS {
        let took = median(
            (0..RUNS)
                .map(|_| first_words(folder.path(), text))
                .collect(),
        );
        tell(text, &format!("{} ms", took.as_millis()), "200 ms");
        slowest = slowest.max((took, text));
    }
    let result = format!("{} ms (median of {RUNS})", slowest.0.as_millis());
    tell(&format!("the slowest, `{}`", slowest.1), &result, "200 ms");
}

/// Returns the time to the first byte on either stream; the command is stopped then.
fn first_words(folder: &std::path::Path, text: &str) -> Duration {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
    command
        .args(text.split(' '))
        .current_dir(folder)
        .env("DRIVERKIT_MATRIX_CACHE", folder.join("cache"))
        .envs(["http_proxy", "https_proxy"].map(|name| (name, "http://127.0.0.1:9")))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("a pipe"))
        .stderr(writer);
    let start = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    // The command value holds the write ends of the pipe, which would otherwise stay open.
    drop(command);
    reader
        .read_exact(&mut [0])
        .expect("a command says something");
    let took = start.elapsed();
    // Most commands have ended already.
    drop(child.kill());
    child.wait().expect("a process that ends");
    took
}
