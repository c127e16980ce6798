//! Tests of `compilers`: every kernel with every compiler.

use serde_json::{Value, json};

use support::grid::{Grid, rule};

const FOO: &str = "main.c:7:3: error: unknown type name 'foo'\n";

/// A grid of four kernels built with gcc 12. Two of them cannot be compiled by gcc 12 or newer.
fn grid() -> Grid {
    let grid = Grid::of_four();
    let broken = ["CC=gcc-12", "CC=gcc-13"].map(|script| {
        let mut one = rule("module *6.1.[23]-1*", &json!({ "code": 2, "log": FOO }));
        one["script"] = json!(script);
        one
    });
    grid.fake(&broken);
    grid
}

fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let mut all = vec!["compilers", "matrix.toml", "--executor", "fake", "-j", "2"];
    all.extend(words);
    let output = grid.program(&all).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn compilers_prints_the_table_and_the_rule_that_makes_the_run_succeed() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 1);
    let (code, text, stderr) = say(&grid, &["--gcc", "11,12,13"]);
    assert_eq!(code, 0, "{stderr}");
    let cells: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("debian "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let (ok, bad) = (
        ["12", "ok", "ok", "ok", "ok"],
        ["12", "compile", "ok", "compile", "compile"],
    );
    let found: Vec<&[&str]> = cells.iter().map(|line| &line[5..]).collect();
    assert_eq!(found, [&ok[..], &bad, &bad, &ok], "{text}");

    let rules = &text[text.find("[[override]]").unwrap()..];
    assert_eq!(
        rules,
        "[[override]]\ntarget = \"debian\"\nkernel = \">=6.1.2-1-amd64, <=6.1.3-1-amd64\"\n\
         architecture = \"amd64\"\ngcc = \"11\"\n"
    );
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!("{matrix}\n{rules}"));
    assert_eq!(grid.run(&[]).0, 0);
}

#[test]
fn compilers_shows_the_failures_of_kernels_that_no_compiler_builds() {
    let grid = grid();
    let (code, text, _) = say(&grid, &["--gcc", "12,13", "--format", "json"]);
    assert_eq!(code, 1);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["rules"], "");
    assert_eq!(found["table"]["versions"], json!(["12", "13"]));
    let second = &found["table"]["rows"][1];
    assert_eq!(second["kernel_release"], "6.1.2-1-amd64");
    assert_eq!(
        second["attempts"],
        json!([{ "failed": "compile" }, { "failed": "compile" }])
    );
}

#[test]
fn compilers_without_an_available_compiler_is_refused() {
    let (code, _, text) = say(&grid(), &["--gcc", "4.8"]);
    assert_eq!(code, 2);
    assert!(text.contains("no compiler found"), "{text}");
}
