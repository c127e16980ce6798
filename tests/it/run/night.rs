//! Tests of what users read after a night: rows of excluded kernels, known failures, views, statistics.

mod known;
mod rows;
mod schemas;
mod views;

use std::process::Output;

use driverkit_matrix::report::{Manifest, read_manifest};
use serde_json::{Value, json};
use support::grid::{Grid, rule};

const FOO: &str = "main.c:7:3: error: unknown type name 'foo'\n";

const KNOWN: &str = "[[known_failure]]\nkernel = \"6.1.[23]-1*\"\nclass = \"compile\"\nmessage = \"unknown type\"\n\
    reason = \"the driver lacks foo\"\nowner = \"mo\"\nlink = \"https://example.org/1\"\nexpires = 2999-01-31\n";

fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let output = grid.program(words).output().unwrap();
    told(output)
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A grid of four kernels, of which two modules do not compile; `more` is added to its matrix.
fn broken(more: &str) -> Grid {
    let grid = Grid::of_four();
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!("{matrix}\n{more}"));
    grid.fake(&[rule(
        "module *6.1.[23]-1*",
        &json!({ "code": 2, "log": FOO }),
    )]);
    grid
}

fn rows(grid: &Grid) -> Manifest {
    read_manifest(&grid.path("out")).unwrap()
}

fn lines(grid: &Grid) -> Vec<Value> {
    let bytes = std::fs::read(grid.path("out/builds.jsonl.zst")).unwrap();
    let text = zstd::decode_all(bytes.as_slice()).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
