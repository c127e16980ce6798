//! Tests of the command `docker`.

use driverkit_matrix::fs;
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::json;

use support::driverkit::{config, docker, grid, serve_driver};
use support::grid::rule;
use support::server::Server;

#[test]
fn a_module_is_built_at_its_configured_path_and_cached() {
    let grid = grid();
    docker(&grid, &[])
        .assert()
        .success()
        .stdout(is_empty())
        .stderr(
            contains("compiling the module")
                .and(contains("module one/x86_64/debian_6.1.1-1-amd64_1: built")),
        );
    let module = fs::read(&grid.path("here/scap.ko")).unwrap();
    assert_eq!(module, fs::read(&grid.path("module.ko")).unwrap());
    assert_eq!(grid.jobs(), ["check", "module"]);
    // No other file is in the directory.
    assert_eq!(std::fs::read_dir(grid.path("here")).unwrap().count(), 1);

    docker(&grid, &[])
        .assert()
        .success()
        .stderr(contains("already built"));
    // The cached module is also used when the file was removed or the output path is another one.
    fs::remove_file(&grid.path("here/scap.ko")).unwrap();
    docker(&grid, &["--output-module", "there/other.ko"])
        .assert()
        .success();
    assert_eq!(fs::read(&grid.path("there/other.ko")).unwrap(), module);
    assert!(!grid.path("here/scap.ko").exists());
    assert!(!grid.path("journal").exists(), "no job was run");
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let grid = grid();
    docker(&grid, &["--output-module", "flag.ko"])
        .env("DRIVERKIT_OUTPUT_MODULE", "variable.ko")
        .assert()
        .success();
    docker(&grid, &[])
        .env("DRIVERKIT_OUTPUT_MODULE", "variable.ko")
        .assert()
        .success();
    assert!(grid.path("flag.ko").exists() && grid.path("variable.ko").exists());
    assert!(!grid.path("here").exists());
}

#[test]
fn the_configuration_in_the_home_directory_is_read_if_no_file_is_named() {
    let grid = grid();
    grid.write("home/.driverkit.yaml", config(&grid));
    let mut command = grid.program(&["docker"]);
    command
        .env("DRIVERKIT_MATRIX_EXECUTOR", "fake")
        .env("HOME", grid.path("home"));
    command.assert().success();
    assert!(grid.path("here/scap.ko").exists());
}

#[test]
fn a_probe_is_written_to_its_own_path() {
    let grid = grid();
    docker(&grid, &["--output-probe", "here/probe.o"])
        .assert()
        .success();
    assert_eq!(
        fs::read(&grid.path("here/probe.o")).unwrap(),
        fs::read(&grid.path("probe.o")).unwrap()
    );
    assert!(grid.path("here/scap.ko").exists());
}

#[test]
fn a_failed_compile_keeps_the_existing_module() {
    let grid = grid();
    let failing =
        json!({ "code": 2, "log": "/tmp/build/driver/main.c:7:3: error: no such thing\n" });
    grid.fake(&[rule("module *", &failing)]);
    grid.write("here/scap.ko", "old");
    docker(&grid, &[])
        .assert()
        .code(1)
        .stderr(contains("no such thing").and(contains("full log: zstdcat ")));
    assert_eq!(fs::read(&grid.path("here/scap.ko")).unwrap(), b"old");
    grid.jobs();
    // The failure is cached now, until `--retry` is given.
    docker(&grid, &["--loglevel", "warn"])
        .assert()
        .code(1)
        .stderr(contains("(cached; use --retry to retry)"));
    assert!(!grid.path("journal").exists());
    docker(&grid, &["--retry", "failed"]).assert().code(1);
    assert_eq!(grid.jobs(), ["module"]);
}

#[test]
fn a_wrong_module_is_refused() {
    let grid = grid();
    grid.write("module.ko", support::grid::module("6.1.0-2-amd64"));
    docker(&grid, &[])
        .assert()
        .code(1)
        .stderr(contains("6.1.0-2-amd64"));
    assert!(!grid.path("here/scap.ko").exists());
}

#[test]
fn the_log_level_changes_how_much_is_printed() {
    let grid = grid();
    docker(&grid, &["-l", "warn"])
        .assert()
        .success()
        .stderr(is_empty());
    docker(&grid, &["--loglevel=debug"])
        .assert()
        .success()
        .stderr(contains("configure check CHECK: yes"));
}

#[test]
fn a_dry_run_checks_and_does_nothing() {
    let grid = grid();
    docker(&grid, &["--dryrun"])
        .assert()
        .success()
        .stderr(contains(
            "would build module one/x86_64/debian_6.1.1-1-amd64_1",
        ));
    assert!(!grid.path("cache").exists() && !grid.path("here").exists());
    docker(&grid, &["--dryrun=false"]).assert().success();
    assert!(grid.path("here/scap.ko").exists());
}

#[test]
fn bad_input_is_refused_and_nothing_is_built() {
    let grid = grid();
    for (words, message) in [
        (
            vec!["-c", "none.yaml"],
            "the configuration file: failed to read none.yaml",
        ),
        (
            vec!["-c", "here"],
            "the configuration file: failed to read here",
        ),
        (
            vec!["--timeout", "10"],
            "10 seconds are too few: expected at least 30",
        ),
        (vec!["--timeout", "2m"], "`2m` is not a number of seconds"),
        (
            vec!["--loglevel", "loud"],
            "unknown level `loud`: expected info, warn, debug or trace",
        ),
        (
            vec!["--proxy", "ftp://a"],
            "`ftp://a` is not the URL of a proxy",
        ),
        (vec!["--dryrun=maybe"], "maybe"),
        (
            vec!["--retry", "timeout"],
            "failures of class `timeout` are never cached",
        ),
        (vec!["--output-module", "here"], "here is a directory"),
        (
            vec!["--output-module", "folder.ko"],
            "folder.ko is a directory",
        ),
        (vec!["--target", "debain"], "did you mean `debian`?"),
        (vec!["--nosuchflag"], "--nosuchflag"),
    ] {
        driverkit_matrix::fs::create_folder(&grid.path("here")).unwrap();
        driverkit_matrix::fs::create_folder(&grid.path("folder.ko")).unwrap();
        docker(&grid, &words)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    for (text, message) in [
        ("target: [debian\n", "not valid YAML"),
        ("targt: debian\n", "did you mean `target`?"),
        ("\0", "not valid YAML"),
        ("kernelconfigdata: '%'\n", "not base64"),
    ] {
        grid.write("config.yaml", text);
        docker(&grid, &[])
            .assert()
            .code(2)
            .stderr(contains(message));
    }
    assert!(!grid.path("cache").exists());
}

#[test]
fn offline_the_missing_packages_are_an_infrastructure_error() {
    let grid = grid();
    let text = config(&grid);
    let (without, _) = text.split_once("kernelurls:").unwrap();
    grid.write("config.yaml", without);
    docker(&grid, &["--offline"]).assert().code(3).stderr(
        contains("failed to get the packages of 6.1.1-1-amd64 from the mirror of debian")
            .and(contains("name them with `kernelurls`")),
    );
    assert!(!grid.path("here").exists());
}

#[test]
fn driver_sources_come_from_a_mirror_of_github() {
    let grid = grid();
    serve_driver(&grid, "1.0.0+driver");
    let server = Server::of(&grid.path("sources"));
    let call = || {
        docker(&grid, &[])
            .env("DRIVERKIT_MATRIX_MIRROR_GITHUB", &server.address)
            .assert()
            .success();
    };
    call();
    let asked = server.requests();
    call();
    assert_eq!(server.requests(), asked, "the sources are requested once");
}

#[test]
fn each_run_checks_a_branch_for_newer_sources() {
    let grid = grid();
    serve_driver(&grid, "master");
    let server = Server::with_tags(&grid.path("sources"));
    let call = |words: &[&str]| {
        docker(&grid, words)
            .env("DRIVERKIT_MATRIX_MIRROR_GITHUB", &server.address)
            .assert()
            .success()
    };
    call(&[]);
    assert_eq!(server.requests(), 1);
    call(&[]).stderr(contains("already built"));
    assert_eq!(server.requests(), 2);
    grid.jobs();
    grid.write_driver("driver", "int newer;\n");
    serve_driver(&grid, "master");
    call(&[]).stderr(contains("already built").not());
    assert_eq!(grid.jobs(), ["module"]);
    assert_eq!(server.requests(), 3);

    // Without a network, the cached sources are used.
    docker(&grid, &["--offline"])
        .assert()
        .success()
        .stderr(contains("already built").and(contains(
            "driver master: --offline uses the sources of an earlier run",
        )));
    // With another mirror, which does not exist, the cached sources are not used.
    docker(&grid, &["--offline"])
        .env("DRIVERKIT_MATRIX_MIRROR_GITHUB", grid.path("nowhere"))
        .assert()
        .code(1)
        .stderr(contains("nowhere/falcosecurity/libs/archive/master.tar.gz"));
}
