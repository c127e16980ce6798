//! Lists and locks at full scale, each command in its own process: `lock` of the two kernel lists, and a tree of
//! driverkit files, exported and read back.
//!
//! `cargo bench --bench kernels [-- lock|driverkit]`

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use driverkit_matrix::fs;
use serde_json::Value;
use support::measure::{Measured, measure};
use support::measured::{report, wall};
use support::tell::{Chosen, median, tell};

const RUNS: usize = 5;

fn main() {
    let chosen = Chosen::from_command_line();
    if chosen.wants("lock") {
        lock();
    }
    if chosen.wants("driverkit") {
        driverkit();
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
    command.current_dir(folder);
    command
}

/// A directory with the two lists, and a matrix that selects them.
struct Lists {
    folder: tempfile::TempDir,
    /// The content of the lists, by file name.
    texts: [(&'static str, String); 2],
}

impl Lists {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let found = support::lists::find_or_make(folder.path()).paths;
        let read = |path: &Path| std::fs::read_to_string(path).expect("a list");
        let texts = [
            ("amd64.json", read(&found[0])),
            ("arm64.json", read(&found[1])),
        ];
        let lists = Self { folder, texts };
        let paths = ["amd64.json", "arm64.json"].map(Into::into);
        lists.put(
            "m.toml",
            &support::lists::matrix(&support::lists::Lists { paths }),
        );
        lists
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(&self.folder.path().join(name), text).expect("a writable folder");
    }

    fn put_lists(&self, change: impl Fn(&str) -> String) {
        for (name, text) in &self.texts {
            self.put(name, &change(text));
        }
    }

    fn run(&self, arguments: &[&str]) -> Measured {
        measure(program(self.folder.path()).args(arguments))
    }
}

/// Returns the list with a tenth of its kernels renamed, and the packages of another tenth moved.
fn changed(text: &str) -> String {
    let mut list: Value = serde_json::from_str(text).expect("JSON");
    for kernels in list.as_object_mut().expect("an object").values_mut() {
        let kernels = kernels.as_array_mut().expect("an array");
        for (number, kernel) in kernels.iter_mut().enumerate() {
            match number % 10 {
                0 => {
                    let release = kernel["kernelrelease"].as_str().expect("a text");
                    kernel["kernelrelease"] = format!("{release}.9").into();
                    kernel["headers"] = Value::Null;
                }
                1 => {
                    let headers = kernel["headers"].to_string();
                    let moved = headers.replace("http://", "http://other.");
                    kernel["headers"] = serde_json::from_str(&moved).expect("JSON");
                }
                _ => {}
            }
        }
    }
    list.to_string()
}

/// `lock` of both lists: the first time, with nothing new, and with a fifth of the kernels gone, new or moved.
fn lock() {
    let lists = Lists::new();
    let command = ["lock", "m.toml"];
    let matrix = std::fs::read_to_string(lists.folder.path().join("m.toml")).expect("a matrix");
    // A loss of a fifth is allowed by the limit: `--accept-shrink` would be an error without a loss in doubt.
    lists.put(
        "m.toml",
        &format!("{matrix}[lock]\nmax_shrink_percent = 100\n"),
    );
    let path = lists.folder.path().join("m.lock");
    let (mut first, mut same, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        if path.exists() {
            fs::remove_file(&path).expect("a removable lock");
        }
        lists.put_lists(str::to_owned);
        first.push(lists.run(&command));
        same.push(lists.run(&command));
        lists.put_lists(changed);
        other.push(lists.run(&command));
    }
    report("lock, two lists, the first time", &first, "1 s");
    report("lock, two lists, nothing new", &same, "0.5 s");
    report("lock, two lists, a fifth changed", &other, "0.5 s");
}

/// A tree of driverkit files, written from a plan and read into a lock; for comparison, writing the same files one
/// after the other.
fn driverkit() {
    let lists = Lists::new();
    lists.put_lists(str::to_owned);
    let text = support::lists::matrix(&support::lists::Lists {
        paths: ["amd64.json", "arm64.json"].map(Into::into),
    });
    let (start, rest) = text.split_once('\n').expect("lines");
    assert!(start.starts_with("drivers"), "{start}");
    lists.put(
        "m.toml",
        &format!("drivers = [\"8.1.0+driver\", \"9.1.0+driver\"]\n{rest}"),
    );
    lists.run(&["lock", "m.toml"]);
    let (mut written, mut read, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    let root = lists.folder.path();
    // Nothing is removed in between: after a removal, ext4 creates files slowly for a minute.
    for run in 0..RUNS {
        let (tree, copy) = (format!("tree{run}"), format!("copy{run}"));
        let export = ["plan", "m.toml", "--locked", "--format", "driverkit"];
        written.push(lists.run(&[&export[..], &["--out", &tree]].concat()));
        let config = format!("{tree}/driverkit/config");
        read.push(lists.run(&["import", &config, "--out", "back.toml", "--force"]));
        loops.push(copy_one_by_one(&root.join(&tree), &root.join(&copy)));
    }
    let naive = median(loops);
    let ratio = |runs: &[Measured]| wall(runs).as_secs_f64() / naive.as_secs_f64();
    report("export of 12,868 driverkit files", &written, "2 s");
    report("import of 12,868 driverkit files", &read, "1 s");
    let result = format!(
        "{:.3} s; export {:.2}, import {:.2} of it",
        naive.as_secs_f64(),
        ratio(&written),
        ratio(&read)
    );
    tell("writing these files in a plain loop", &result, "none");
}

/// Writes the files of a tree again in one thread; returns the time for writing, without reading.
#[expect(
    clippy::disallowed_methods,
    reason = "the comparison is with the plainest way to write files"
)]
fn copy_one_by_one(from: &Path, to: &Path) -> Duration {
    let files: Vec<_> = walkdir::WalkDir::new(from)
        .into_iter()
        .map(|entry| entry.expect("a readable tree"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(from).expect("below").to_owned();
            (to.join(path), std::fs::read(entry.path()).expect("a file"))
        })
        .collect();
    assert_eq!(
        files.len(),
        12_868,
        "every kernel has a file for each driver version"
    );
    let start = Instant::now();
    for (path, content) in files {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
    start.elapsed()
}
