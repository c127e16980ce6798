//! Tests of the command line: completions, manual pages, colours, closed pipes and misspelt names.

use std::process::Command as Process;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use support::grid::Grid;

fn program(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("driverkit-matrix").unwrap();
    command.args(words);
    command
}

#[test]
fn the_completion_script_of_every_shell_contains_the_commands() {
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
    // bash itself accepts the script.
    let script = program(&["completion", "bash"]).output().unwrap().stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    driverkit_matrix::fs::write(&path, script).unwrap();
    let read = Process::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(read.success());
}

#[test]
fn completion_without_a_shell_prints_help_and_unknown_shells_are_refused() {
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
fn the_color_flag_overrides_the_environment() {
    let grid = Grid::new();
    let has_colour = |words: &[&str], forced: &str| {
        let output = grid
            .program(words)
            .env("CLICOLOR_FORCE", forced)
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(text.len() > 40, "{text}");
        text.contains('\u{1b}')
    };
    for words in [
        ["run", "matrix.toml"],
        ["run", "matrox.toml"],
        ["run", "--jobs=many"],
        ["plan", "--help"],
    ] {
        for (choice, is_coloured) in [("always", true), ("never", false)] {
            let flag = format!("--color={choice}");
            for words in [
                vec![&*flag, words[0], words[1]],
                vec![words[0], words[1], "--color", choice],
            ] {
                // The environment requests the opposite.
                let forced = if is_coloured { "0" } else { "1" };
                assert_eq!(has_colour(&words, forced), is_coloured, "{words:?}");
            }
        }
    }
}

#[test]
fn an_unknown_command_is_refused_and_no_command_prints_help() {
    program(&["dokcer"])
        .assert()
        .code(2)
        .stderr(contains("a similar subcommand exists: 'docker'"));
    program(&[])
        .assert()
        .code(2)
        .stderr(contains("Usage: driverkit-matrix"));
}

#[test]
fn the_log_records_retries_without_credentials() {
    use httptest::responders::{cycle, status_code};
    use httptest::{Expectation, Server, matchers::request};

    let server = Server::run();
    let list = r#"{"Debian": [{"target": "debian", "kernelrelease": "6.1.4-1-amd64", "kernelversion": "1", "headers": ["http://h/a.deb"]}]}"#;
    server.expect(
        Expectation::matching(request::path("/list.json"))
            .times(2)
            .respond_with(cycle![status_code(503), status_code(200).body(list)]),
    );
    let directory = tempfile::tempdir().unwrap();
    let url = server.url_str("/list.json?signature=secret");
    let url = url.replacen("://", "://user:secret@", 1);
    let matrix = format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\"]\n\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"kernel-crawler\", url = {{ amd64 = \"{url}\" }} }}\n"
    );
    driverkit_matrix::fs::write(&directory.path().join("m.toml"), matrix).unwrap();
    let log = directory.path().join("records.log");
    let program = |words: &[&str]| {
        let mut command = program(words);
        command
            .current_dir(directory.path())
            .env("DRIVERKIT_MATRIX_CACHE", directory.path().join("cache"));
        command
    };
    program(&[
        "lock",
        "m.toml",
        "--log",
        "fetch=debug",
        "--log-file",
        "records.log",
    ])
    .assert()
    .success();
    let records = std::fs::read_to_string(log).unwrap();
    assert!(
        records.contains("/list.json") && records.contains("retrying"),
        "{records}"
    );
    assert!(!records.contains("secret"), "{records}");
    program(&["plan", "m.toml", "--log", "fetch=loud"])
        .assert()
        .code(2)
        .stderr(contains("invalid filter of --log"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let kernels: Vec<String> = (0..400)
        .map(|number| format!("{{ release = \"6.1.{number}-1-amd64\", headers = [\"a.deb\"] }}"))
        .collect();
    let matrix = format!(
        "drivers = [\"one\"]\n[driver.\"one\"]\nsource = {{ path = \".\" }}\n[[target]]\nname = \"debian\"\nkernels = [{}]\n",
        kernels.join(", ")
    );
    driverkit_matrix::fs::write(&folder.path().join("m.toml"), matrix).unwrap();
    let entries: Vec<String> = (0..500)
        .map(|number| format!("{{\"target\":\"centos\",\"kernelrelease\":\"4.18.0-{number}.el8.x86_64\",\"headers\":[\"http://example.org/{number}.rpm\"]}}"))
        .collect();
    let list = format!("{{\"CentOS\":[{}]}}", entries.join(","));
    driverkit_matrix::fs::write(&folder.path().join("list.json"), list).unwrap();
    let listed = "drivers = [\"one\"]\n[driver.\"one\"]\nsource = { path = \".\" }\n[[target]]\nname = \"centos\"\n\
                  kernels = { from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }\n";
    driverkit_matrix::fs::write(&folder.path().join("listed.toml"), listed).unwrap();
    driverkit_matrix::fs::write(&folder.path().join("fake.json"), "{\"rules\":[]}").unwrap();
    for (words, expected) in [
        ("plan m.toml", 0),
        ("plan m.toml --format csv", 0),
        ("plan m.toml --format json", 0),
        ("plan m.toml --all", 0),
        ("plan m.toml --format driverkit --out configs", 0),
        ("lock listed.toml", 0),
        ("lock listed.toml --all", 0),
        ("lock listed.toml --format json", 0),
        ("kernels centos --matrix listed.toml", 0),
        ("kernels centos --matrix listed.toml --format json", 0),
        ("kernels centos --matrix listed.toml --format csv", 0),
        (
            "kernels centos --matrix listed.toml --headers 4.18.0-1.el8.x86_64 --offline",
            1,
        ),
        ("explain one/x86_64/debian_6.1.1-1-amd64_1 m.toml", 0),
        (
            "run m.toml --only one/x86_64/debian_6.1.1-1-amd64_1 --executor fake",
            1,
        ),
        ("cache stats", 0),
        ("cache gc", 0),
        ("cache verify", 0),
        ("images", 0),
        ("images list --format index", 0),
        ("generate markdown", 0),
        ("completion bash", 0),
        ("--help", 0),
        ("run --help", 0),
        ("plan missing.toml", 2),
    ] {
        // The pipe has no reader.
        for is_error_closed in [false, true] {
            let mut command = Process::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            command.args(words.split(' ')).current_dir(folder.path());
            command.env("DRIVERKIT_MATRIX_CACHE", folder.path().join("cache"));
            command.env("DRIVERKIT_MATRIX_FAKE", folder.path().join("fake.json"));
            let description = concat!(env!("CARGO_MANIFEST_DIR"), "/images");
            command.env("DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS", description);
            if is_error_closed {
                command.stderr(writer.try_clone().unwrap());
            }
            let output = command.stdout(writer).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(expected), "{words}: {text}");
            assert!(!text.contains("roken pipe"), "{words}: {text}");
        }
    }
}

#[test]
fn misspelt_names_are_refused_with_a_suggestion() {
    let directory = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&directory.path().join("debian.toml"), "drivers = []\n").unwrap();
    for (words, expected) in [
        (&["run", "debain.toml"][..], "did you mean `debian.toml`?"),
        (
            &["plan", "--mirror", "debain=http://h/"],
            "no mirror is called `debain`: did you mean `debian`?",
        ),
        (
            &["plan", "--mirror", "zzz=http://h/"],
            "no mirror is called `zzz`: expected one of ",
        ),
        (
            &["run", "--retry", "foo"],
            "unknown failure class `foo`: expected one of ",
        ),
        (&["run", "--retry", "foo"], "compile"),
    ] {
        program(words)
            .current_dir(directory.path())
            .env("DRIVERKIT_MATRIX_CACHE", directory.path().join("cache"))
            .assert()
            .code(2)
            .stderr(contains(expected));
    }
}
