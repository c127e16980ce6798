//! What follows from the definition of the command line: completions and manual pages.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::process::Command as Process;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};

fn program(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("driverkit-matrix").unwrap();
    command.args(words);
    command
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for (shell, words) in [
        ("bash", "complete -F _driverkit__matrix"),
        ("zsh", "#compdef driverkit-matrix"),
        ("fish", "complete -c driverkit-matrix"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        program(&["completion", shell]).assert().success().stdout(
            contains(words)
                .and(contains("kernelrelease"))
                .and(contains("docker-host")),
        );
    }
    // What bash is to run it can read.
    let script = program(&["completion", "bash"]).output().unwrap().stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    driverkit_matrix::fs::write(&path, script).unwrap();
    let read = Process::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(read.success());
}

#[test]
fn completion_without_a_shell_prints_help_and_refuses_others() {
    for words in [&["completion"][..], &["completion", "help"]] {
        program(words)
            .assert()
            .success()
            .stdout(contains("Usage: driverkit-matrix completion"));
    }
    program(&["completion", "tcsh"])
        .assert()
        .code(2)
        .stderr(contains(
            "[possible values: bash, elvish, fish, help, powershell, zsh]",
        ));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(&["generate", "man", folder.to_str().unwrap()])
        .assert()
        .success();
    for (page, words) in [
        ("driverkit-matrix.1", "driverkit\\-matrix"),
        ("driverkit-matrix-run.1", "\\-\\-docker\\-host"),
        ("driverkit-matrix-docker.1", "\\-\\-kernelrelease"),
        ("driverkit-matrix-cache-gc.1", "\\-\\-trees"),
    ] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(words), "{page}: {text}");
        assert!(
            starts_with(".ie").eval(&text) || text.contains("\n.TH "),
            "{page}"
        );
    }
    assert!(!folder.join("driverkit-matrix-generate.1").exists());
    program(&[
        "generate",
        "completions",
        folder.join("completions").to_str().unwrap(),
    ])
    .assert()
    .success();
    assert_eq!(
        std::fs::read_dir(folder.join("completions"))
            .unwrap()
            .count(),
        5
    );
    program(&["generate", "man"]).assert().code(2);
}

#[test]
fn an_unknown_command_is_an_error_and_none_prints_help() {
    program(&["dokcer"])
        .assert()
        .code(2)
        .stderr(contains("a similar subcommand exists: 'docker'"));
    program(&[])
        .assert()
        .code(2)
        .stderr(contains("Usage: driverkit-matrix"));
}
