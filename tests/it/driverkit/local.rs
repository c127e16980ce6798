//! Tests what `local` refuses. The tests in `real_local` build with real parts.

use predicates::prelude::*;
use predicates::str::contains;

use support::grid::Grid;

const GOOD: [&str; 9] = [
    "local",
    "--target",
    "debian",
    "--kernelrelease",
    "9.9.9-1-amd64",
    "--output-module",
    "here.ko",
    "--src-dir",
    "driver",
];

fn local(grid: &Grid, words: &[&str]) -> assert_cmd::Command {
    let mut all = GOOD.to_vec();
    all.extend(words);
    let mut command = grid.program(&all);
    command.env("HOME", grid.path("home"));
    command
}

#[test]
fn bad_input_is_refused() {
    let grid = Grid::new();
    for (words, message) in [
        (
            vec!["--dkms=maybe"],
            "`--dkms`: `maybe` is neither true nor false",
        ),
        (
            vec!["--download-headers=2"],
            "`--download-headers`: `2` is neither true nor false",
        ),
        (
            vec!["--env", "A"],
            "`--env`: value 1 is not a variable: expected NAME=VALUE",
        ),
        (
            vec!["--env", "A=b", "--env", "1A=b"],
            "`--env`: value 2 is not a variable",
        ),
        (
            vec!["--kernelurls", "a"],
            "`--kernelurls`: `a` is not a valid URL",
        ),
        (vec!["--gccversion", "12"], "--gccversion"),
        (vec!["--proxy", "http://a"], "--proxy"),
        (
            vec!["--src-dir", "nowhere"],
            "`--src-dir`: nowhere does not exist",
        ),
    ] {
        local(&grid, &words)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    grid.write("config.yaml", "dkms: true\nenv: {A-B: c}\n");
    local(&grid, &["-c", "config.yaml"])
        .assert()
        .code(2)
        .stderr(contains("value 1 is not a variable").and(contains("config.yaml:2:6")));
}

/// Falco's loader always passes both flags.
#[test]
fn dkms_together_with_src_dir_is_accepted() {
    let grid = Grid::new();
    local(&grid, &["--dkms", "--dryrun"])
        .assert()
        .success()
        .stderr(contains(
            "`src-dir` is not used: DKMS takes the sources from /usr/src",
        ));
}

#[test]
fn missing_headers_are_refused_with_the_package_to_install() {
    let grid = Grid::new();
    local(&grid, &[]).assert().code(2).stderr(
        contains("the headers of kernel 9.9.9-1-amd64 are not installed")
            .and(contains("apt install linux-headers-9.9.9-1-amd64"))
            .and(contains("--download-headers")),
    );
}

#[test]
fn keys_for_images_are_ignored() {
    let grid = Grid::new();
    grid.write("config.yaml", "gccversion: nonsense\nbuilderimage: '%'\n");
    local(&grid, &["-c", "config.yaml", "--dryrun"])
        .assert()
        .success()
        .stderr(contains(
            "would build module master/x86_64/debian_9.9.9-1-amd64_1",
        ));
}
