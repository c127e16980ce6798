//! Tests which arguments `kubernetes`, `kubernetes-in-cluster` and `images` accept and refuse. The tests in `cluster`
//! build in pods of a real cluster.

use predicates::prelude::*;
use predicates::str::{contains, starts_with};

use support::grid::Grid;

fn program(grid: &Grid, command: &str, words: &[&str]) -> assert_cmd::Command {
    let mut all = vec![
        command,
        "--target",
        "debian",
        "--kernelrelease",
        "6.1.0-50-amd64",
        "--output-module",
        "falco.ko",
    ];
    all.extend(words);
    let mut command = grid.program(&all);
    command.env("HOME", grid.path("home"));
    command
}

#[test]
fn both_commands_and_their_short_names_check_their_arguments() {
    let grid = Grid::new();
    for command in ["kubernetes", "k8s", "kubernetes-in-cluster", "k8s-ic"] {
        program(
            &grid,
            command,
            &["-n", "falco", "--run-as-user", "0", "--dryrun"],
        )
        .assert()
        .success()
        .stderr(
            contains("would build module master/x86_64/debian_6.1.0-50-amd64_1")
                .and(contains("ignoring `run-as-user` 0")),
        );
        for (words, message) in [
            (
                ["--namespace", "Falco"],
                "`--namespace`: invalid name `Falco`",
            ),
            (
                ["--run-as-user", "root"],
                "`--run-as-user`: `root` is not a user ID",
            ),
            (
                ["--image-pull-secret", "_"],
                "`--image-pull-secret`: invalid name `_`",
            ),
            (
                ["--kernelurls", "x"],
                "`--kernelurls`: `x` is not a valid URL",
            ),
        ] {
            program(&grid, command, &words)
                .assert()
                .code(2)
                .stderr(contains(message));
        }
    }
}

#[test]
fn flags_of_the_cluster_connection_are_checked() {
    let grid = Grid::new();
    for (words, message) in [
        (
            vec!["--kubeconfig", "/nonexistent"],
            "file /nonexistent does not exist",
        ),
        (
            vec!["-s", "127.0.0.1"],
            "`--server`: `127.0.0.1` is not an http or https URL",
        ),
        (
            vec!["--request-timeout", "soon"],
            "`--request-timeout`: invalid time `soon`",
        ),
        (vec!["--client-key", "fake.json"], "must be given together"),
        (vec!["--disable-compression=x"], "neither true nor false"),
        (
            vec![
                "--certificate-authority",
                "fake.json",
                "--insecure-skip-tls-verify",
            ],
            "omit one of the two",
        ),
    ] {
        program(&grid, "kubernetes", &words)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    // Inside the cluster, flags for the connection are refused.
    program(&grid, "k8s-ic", &["--kubeconfig", "x"])
        .assert()
        .code(2);
}

#[test]
fn the_configuration_file_in_deploy_is_valid() {
    let grid = Grid::new();
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/one-kernel/config.yaml");
    grid.program(&["k8s-ic", "-c", file.to_str().unwrap(), "--dryrun"])
        .env("HOME", grid.path("home"))
        .env("DRIVERKIT_NAMESPACE", "builds")
        .assert()
        .success()
        .stderr(contains(
            "would build module 8.0.0+driver/x86_64/ubuntu-aws_4.15.0-1057-aws_59",
        ));
}

#[test]
fn images_are_listed_in_driverkits_format_if_its_flags_are_used() {
    let grid = Grid::new();
    let images = |words: &[&str]| {
        let mut command = grid.program(&["images"]);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        command
            .env("DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS", folder)
            .env("HOME", grid.path("home"))
            .args(words);
        command
    };
    images(&["--architecture", "amd64"])
        .assert()
        .success()
        .stdout(
            starts_with("| Image | Target | Arch | GCC |\n| --- | --- | --- | --- |\n")
                .and(contains(
                    "| driverkit-matrix/builder:bookworm | any | x86_64 | 12.0.0 |\n",
                ))
                .and(contains("aarch64").not()),
        );
    images(&["--gccversion", "10"])
        .assert()
        .success()
        .stdout(contains("bullseye").and(contains("bookworm").not()));
    images(&[]).assert().success().stdout(starts_with("IMAGE"));
    images(&["--architecture", "riscv64"])
        .assert()
        .code(2)
        .stderr(contains("unknown architecture `riscv64`"));
}
