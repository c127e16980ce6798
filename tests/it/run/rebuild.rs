//! Tests of `rebuild` and `logs`: building one build of a run again, and the logs of its jobs.

use std::process::{Output, Stdio};

use driverkit_matrix::failure::{FailureClass, Status};
use driverkit_matrix::fs;
use driverkit_matrix::report::read_log;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::run::{BUILD, MODULE};
use support::grid::{Grid, module, rule, wait_until};

/// Runs a command in a grid; returns the exit code, standard output and standard error.
fn say(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = grid.program(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn rebuild(grid: &Grid, words: &[&str]) -> (i32, String, String) {
    let mut all = vec![
        "rebuild",
        BUILD,
        "matrix.toml",
        "--executor",
        "fake",
        "--json",
    ];
    all.extend(words);
    say(grid, &all)
}

fn artifact(output: &str) -> Value {
    let value: Value = serde_json::from_str(output).unwrap();
    assert_eq!(value["build_id"], BUILD);
    value["artifacts"][0].clone()
}

/// Returns every file of the output directory and of the cached outcomes with its content, except files that `rebuild`
/// may write.
fn state(grid: &Grid) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["out", "cache/outcomes"] {
        for entry in walkdir::WalkDir::new(grid.path(folder)).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path().to_owned();
            let is_own = path.to_string_lossy().contains(".driverkit-matrix/rebuilt");
            let is_lock = path.to_string_lossy().contains("lock");
            let is_index = path.ends_with("outcomes/index-1");
            let is_record = path.to_string_lossy().contains("outcomes/used/");
            let is_other = is_own || is_lock || is_index || is_record;
            if entry.file_type().is_file() && !is_other {
                files.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn rebuild_of_a_cached_build_compiles_and_finds_the_same_bytes() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let before = state(&grid);
    drop(grid.jobs());
    let (code, output, text) = rebuild(&grid, &[]);
    assert_eq!(code, 0, "{output}{text}");
    assert_eq!(grid.jobs(), ["module"]);
    let artifact = artifact(&output);
    assert_eq!(artifact["status"], "built");
    assert_eq!(artifact["before"], artifact["now"]);
    assert_eq!(artifact["first_difference"], Value::Null);
    assert_eq!(state(&grid), before);
    assert_eq!(grid.manifest().builds.len(), 4);
}

#[test]
fn rebuild_reports_the_first_difference_and_changes_nothing() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let before = state(&grid);
    let good = module("6.1.0-1-amd64");
    let changed: Vec<u8> = {
        let at = good.windows(3).position(|bytes| bytes == b"ABC").unwrap();
        let mut bytes = good.clone();
        bytes[at..at + 3].copy_from_slice(b"XYZ");
        bytes
    };
    grid.write("module.ko", &changed);
    let (code, output, text) = rebuild(&grid, &[]);
    assert_eq!(code, 1, "{output}{text}");
    let found = artifact(&output);
    assert_eq!(found["first_difference"], ".modinfo");
    assert_ne!(found["before"], found["now"]);
    assert_eq!(state(&grid), before);
    let made = fs::read(&grid.path(found["path"].as_str().unwrap())).unwrap();
    assert_eq!(made, changed);
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), good);

    let (code, output, _) = rebuild(&grid, &["--keep"]);
    assert_eq!(code, 1, "{output}");
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), changed);
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), changed);
}

#[test]
fn rebuild_tries_a_known_failure_again_and_keep_replaces_its_row() {
    let grid = Grid::of_four();
    let failing = rule(
        "module *6.1.1-1*",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    );
    grid.fake(&[failing]);
    assert_eq!(grid.run(&[]).0, 1);
    grid.fake(&[]);
    let (code, output, text) = rebuild(&grid, &[]);
    assert_eq!(code, 0, "{output}{text}");
    assert_eq!(artifact(&output)["before"], Value::Null);
    assert_eq!(grid.run(&[]).0, 1, "the failure is still known");

    let (code, output, text) = rebuild(&grid, &["--keep"]);
    assert_eq!(code, 0, "{output}{text}");
    let manifest = grid.manifest();
    assert_eq!(manifest.builds.len(), 4);
    assert!(
        manifest
            .builds
            .iter()
            .all(|build| build.status.is_success())
    );
    assert_eq!(manifest.totals.builds_finished, 4);
    assert_eq!(manifest.totals.by_status.get(&Status::Failed), None);
    assert!(manifest.run.notes.iter().any(|note| note.contains(BUILD)));
    let csv = std::fs::read_to_string(grid.path("out/manifest.csv")).unwrap();
    assert!(!csv.contains("failed"), "{csv}");
    assert_eq!(grid.run(&[]).0, 0);
}

#[test]
fn failed_rebuild_reports_the_error_and_keeps_the_good_module() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let before = state(&grid);
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    )]);
    let (code, output, text) = rebuild(&grid, &[]);
    assert_eq!(code, 1, "{output}{text}");
    assert_eq!(artifact(&output)["failure"]["class"], "compile");
    assert_eq!(state(&grid), before);
    assert_eq!(grid.run(&[]).0, 0);
}

#[test]
fn keep_without_a_manifest_is_refused() {
    let grid = Grid::new();
    let (code, _, text) = rebuild(&grid, &["--keep"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("use `run` first"), "{text}");
    assert!(!grid.path("journal").exists());
}

#[test]
fn the_first_line_of_a_log_is_a_rebuild_command() {
    let grid = Grid::new();
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    )]);
    let extra = ["--out", "there", "--locked", "--toolchain", "auto"];
    assert_eq!(grid.run(&extra).0, 1);
    let log = grid
        .path("there/.logs")
        .join(MODULE.strip_prefix("out/").unwrap().to_owned() + ".log.zst");
    let text = read_log(&log).unwrap();
    let words = shlex::split(text.lines().next().unwrap()).unwrap();
    assert_eq!(words[0], "driverkit-matrix");
    drop(grid.jobs());
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let manifest = fs::read(&grid.path("there/manifest.json")).unwrap();
    let (code, output, _) = say(&grid, &words);
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("main.c:1"), "{output}");
    assert_eq!(grid.jobs(), ["module"]);
    assert_eq!(
        fs::read(&grid.path("there/manifest.json")).unwrap(),
        manifest
    );
    assert!(!grid.path("out").exists());
}

#[test]
fn logs_show_the_first_error_at_the_top() {
    let grid = Grid::of_four();
    let log = "  CC main.o\nmain.c:7:3: error: unknown type name 'foo'\nmake: *** Error 2\n";
    grid.fake(&[rule("module *6.1.1-1*", &json!({ "code": 2, "log": log }))]);
    assert_eq!(grid.run(&[]).0, 1);
    let (code, output, _) = say(&grid, &["logs", BUILD]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], format!("{BUILD}, module: failed"));
    assert!(lines[1].contains("main.c:7"), "{output}");
    assert!(lines[2].starts_with("log: out/.logs/"), "{output}");
    assert!(output.ends_with(log), "{output}");

    let (code, path, _) = say(&grid, &["logs", "6.1.1-1", "--path"]);
    assert_eq!(code, 0);
    assert!(
        read_log(&grid.path(path.trim_end()))
            .unwrap()
            .ends_with(log)
    );
}

#[test]
fn logs_of_an_unknown_build_names_the_nearest() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let (code, _, text) = say(&grid, &["logs", &BUILD.replace("debian", "debain")]);
    assert_eq!(code, 2);
    assert!(text.contains(&format!("did you mean `{BUILD}`?")), "{text}");
    let (code, _, text) = say(&grid, &["logs", "debian"]);
    assert_eq!(code, 2);
    assert!(text.contains("4 builds match `debian`"), "{text}");
    let (code, _, text) = say(&grid, &["logs", BUILD, "--out", "elsewhere"]);
    assert_eq!(code, 2);
    assert!(
        text.contains("elsewhere/manifest.json does not exist"),
        "{text}"
    );
}

#[test]
fn a_part_of_a_name_is_enough_and_must_be_unique() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let rebuild = |name| {
        say(
            &grid,
            &["rebuild", name, "matrix.toml", "--executor", "fake"],
        )
    };
    let (code, output, text) = rebuild("6.1.1-1");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("building {BUILD}")), "{text}");
    assert!(
        output.contains("module: identical to the one in out"),
        "{output}"
    );
    let (code, _, text) = rebuild("debian");
    assert_eq!(code, 2);
    assert!(text.contains("4 builds match `debian`"), "{text}");
    for command in ["logs", "rebuild"] {
        let (code, _, text) = say(&grid, &[command, ""]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("the name of the build is empty"), "{text}");
    }
}

#[test]
fn log_of_an_artifact_that_the_build_lacks_is_an_error() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    for more in [&[][..], &["--path"], &["--json"]] {
        let mut words = vec!["logs", BUILD, "--artifact", "probe"];
        words.extend(more);
        let (code, output, text) = say(&grid, &words);
        assert_eq!((code, &*output), (2, ""), "{text}");
        assert!(
            text.contains("has no probe") && text.contains("module"),
            "{text}"
        );
    }
}

#[test]
fn the_command_in_a_log_has_what_variables_said() {
    let grid = Grid::new();
    grid.fake(&[rule(
        "double *",
        &json!({ "code": 2, "log": "main.c:1: error: no\n" }),
    )]);
    let mirror = "http://user:secret@127.0.0.1:9/debian";
    let run = grid
        .program(&["run", "matrix.toml", "--double", "1"])
        .env("DRIVERKIT_MATRIX_EXECUTOR", "fake")
        .env("DRIVERKIT_MATRIX_MIRROR_DEBIAN", mirror)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{text}");
    assert_eq!(
        grid.record().artifacts[0].failure.as_ref().unwrap().class,
        FailureClass::NotReproducible
    );
    let (_, path, _) = say(&grid, &["logs", BUILD, "--path"]);
    let log = read_log(&grid.path(path.trim_end())).unwrap();
    let command = log.lines().next().unwrap().trim_start_matches("# ");
    let words = shlex::split(command).unwrap();
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    assert_eq!(words[..2], ["rebuild", BUILD]);
    let cache = grid.path("cache").display().to_string();
    for flag in [
        ["--executor", "fake"],
        ["--cache", &cache],
        ["--double", "1"],
        ["--mirror", "debian=http://127.0.0.1:9/debian"],
    ] {
        let position = words.iter().position(|word| *word == flag[0]);
        let position = position.unwrap_or_else(|| panic!("{command}"));
        assert_eq!(words[position + 1], flag[1], "{command}");
    }
    // Elsewhere, without the variables.
    let again = grid
        .program(&words)
        .env_remove("DRIVERKIT_MATRIX_CACHE")
        .env_remove("DRIVERKIT_MATRIX_MIRROR_DEBIAN")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stdout);
    assert_eq!(again.status.code(), Some(1), "{text}");
    assert!(text.contains("not-reproducible"), "{text}");
}

#[test]
fn logs_follow_shows_the_output_of_a_running_job() {
    let grid = Grid::new();
    grid.fake(&[rule(
        "module *",
        &json!({ "hangs": true, "log": "  CC main.o\n" }),
    )]);
    let mut run = grid.start(&[]);
    wait_until("the module's job", || {
        let text = std::fs::read_to_string(grid.path("journal")).unwrap_or_default();
        text.contains("module ")
    });
    grid.write("shown", "");
    let shown = std::fs::File::options()
        .append(true)
        .open(grid.path("shown"))
        .unwrap();
    let follow = std::process::Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
        .args(["logs", "--follow", BUILD])
        .current_dir(grid.path(""))
        .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
        .stdout(shown)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the log's line", || {
        let text = std::fs::read_to_string(grid.path("shown")).unwrap();
        text.contains("  CC main.o\n")
    });
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    run.wait().unwrap();
    let ended = follow.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    // The end of the run follows that of its last build at once.
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.contains(&format!("{BUILD}, module: ")), "{text}");
    assert!(!text.contains("without this build"), "{text}");
}
