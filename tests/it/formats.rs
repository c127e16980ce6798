//! Tests of `--format json`: every command with a result supports it and names builds as `build_id`.

use serde_json::{Value, json};

use crate::run::BUILD;
use support::grid::Grid;

/// Returns the standard output of a command, parsed as JSON.
fn answer(grid: &Grid, words: &[&str]) -> Value {
    let output = grid.program(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|fault| panic!("{words:?}: {fault}\n{error}"))
}

#[test]
fn every_result_is_available_as_json() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    for (words, pointer) in [
        (&["plan", "matrix.toml"][..], "/builds/0/build_id"),
        (
            &["explain", BUILD, "matrix.toml", "--executor", "fake"],
            "/build_id",
        ),
        (
            &["rebuild", BUILD, "matrix.toml", "--executor", "fake"],
            "/build_id",
        ),
        (&["logs", BUILD], "/build_id"),
    ] {
        let words = [words, &["--format", "json"]].concat();
        let found = answer(&grid, &words);
        assert_eq!(
            found.pointer(pointer).and_then(Value::as_str),
            Some(BUILD),
            "{words:?}: {found}"
        );
    }
    let log = answer(&grid, &["logs", BUILD, "--format", "json"]);
    assert_eq!(log["artifacts"][0]["status"], "built");
    for (words, pointer, expected) in [
        (&["status"][..], "/state", Value::from("finished")),
        (&["why", BUILD], "/asked", Value::from(BUILD)),
        (
            &["why", "9.9.9-1-amd64"],
            "/answers",
            Value::Array(Vec::new()),
        ),
        (&["known"], "/known_failures", Value::Array(Vec::new())),
        (&["known", "--suggest"], "/rules", Value::from("")),
        (&["verify"], "", Value::Array(Vec::new())),
        (&["diff", "out", "out"], "/schema", Value::from(1)),
        (&["stats"], "/schema", Value::from(1)),
        (&["lock", "matrix.toml"], "/schema", Value::from(1)),
        (&["images", "list"], "/schema", Value::from(1)),
        (&["images", "update"], "/schema", Value::from(1)),
        (&["cache", "stats"], "/failures", Value::from(0)),
        (&["cache", "verify"], "", Value::Array(Vec::new())),
        (&["cache", "gc"], "/outcomes", Value::from(0)),
    ] {
        let words = [words, &["--format", "json"]].concat();
        let found = answer(&grid, &words);
        let value = found.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(value, &expected, "{words:?}: {found}");
    }
}

#[test]
fn publishing_and_store_commands_print_json() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    for folder in ["site", "store"] {
        std::fs::create_dir(grid.path(folder)).unwrap();
    }
    let store = format!("file://{}", grid.path("store").display());
    for (words, pointer, expected) in [
        (&["attest"][..], "/written", Value::from(1)),
        (
            &["publish", "out", "site"],
            "/rows/0/publish",
            Value::from("published"),
        ),
        (
            &["publish", "--audit", "out", "site"],
            "/findings",
            Value::Array(Vec::new()),
        ),
        (
            &["prune", "site", "--newest-drivers", "1"],
            "/total",
            Value::from(1),
        ),
        (
            &["store", "status", "--store", &store, "--store-trusted"],
            "/packs",
            Value::from(0),
        ),
        (
            &["store", "gc", "--store", &store, "--store-trusted"],
            "/removed",
            Value::from(0),
        ),
        (
            &[
                "store",
                "fetch",
                "matrix.toml",
                "--store",
                &store,
                "--store-trusted",
            ],
            "/missing",
            Value::Array(Vec::new()),
        ),
    ] {
        let words = [words, &["--format", "json"]].concat();
        let found = answer(&grid, &words);
        assert_eq!(
            found.pointer(pointer),
            Some(&expected),
            "{words:?}: {found}"
        );
    }
}

#[test]
fn bundles_and_imports_print_their_files_as_json() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let list = r#"{"AmazonLinux": [{"kernelversion": 1, "kernelrelease": "4.14.10-1.amzn1.x86_64", "target": "amazonlinux", "headers": ["http://h.example.org/a.rpm"]}]}"#;
    grid.write("x86_64.json", list);
    let json = ["--format", "json"];
    for (words, code, values) in [
        (
            &["bundle", "export", "b.tar", "matrix.toml"][..],
            0,
            &[("/bundle", Value::from("b.tar")), ("/missing", json!([]))][..],
        ),
        (
            &["bundle", "import", "b.tar"],
            0,
            &[("/bundle", Value::from("b.tar")), ("/notes", json!([]))],
        ),
        (
            &["manifest", "merge", "out", "--out", "merged"],
            0,
            &[("/build_count", json!(1)), ("/manifest_count", json!(1))],
        ),
        (
            &[
                "import",
                "x86_64.json",
                "--out",
                "new.toml",
                "--driver",
                "8.1.0+driver",
                "--check",
            ],
            0,
            &[("/is_written", json!(false)), ("/kernel_count", json!(1))],
        ),
        (
            &[
                "import",
                "x86_64.json",
                "--out",
                "new.toml",
                "--driver",
                "8.1.0+driver",
            ],
            0,
            &[
                ("/matrix", json!("new.toml")),
                ("/locks", json!(["new.lock"])),
            ],
        ),
        (
            &[
                "--offline",
                "bundle",
                "export",
                "c.tar",
                "new.toml",
                "--target",
                "amazonlinux",
            ],
            1,
            &[("/file_count", json!(0))],
        ),
    ] {
        let words = [words, &json].concat();
        let output = grid.program(&words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (pointer, expected) in values {
            assert_eq!(found.pointer(pointer), Some(expected), "{words:?}: {found}");
        }
    }
}

/// Commands with subcommands, commands whose output is for a shell or a browser, and driverkit's commands, which print
/// as driverkit does.
const WITHOUT_JSON: &[&str] = &[
    "bundle",
    "cache",
    "completion",
    "docker",
    "images",
    "kubernetes",
    "kubernetes-in-cluster",
    "local",
    "manifest",
    "store",
    // `report` has formats of its own, two of them machine-readable.
    "report",
];

#[test]
fn every_command_in_docs_cli_md_has_a_json_format() {
    let page = std::fs::read_to_string("docs/cli.md").unwrap();
    for part in page.split("\n## driverkit-matrix ").skip(1) {
        let (command, flags) = part.split_once('\n').unwrap();
        let has_form = flags.contains("`json`");
        assert!(has_form != WITHOUT_JSON.contains(&command), "{command}");
    }
}

#[test]
fn validate_lists_its_findings_with_their_places() {
    let grid = Grid::new();
    grid.write("a.yaml", "kernelrelease: 6.1.1\nunknown: 1\n");
    let found = answer(&grid, &["validate", "a.yaml", "--format", "json"]);
    let findings = found["findings"].as_array().unwrap();
    let of_line = findings.iter().find(|one| one["line"] == 2);
    let message = of_line.and_then(|one| one["message"].as_str()).unwrap();
    assert!(message.contains("unknown"), "{found}");
}

#[test]
fn verbose_prints_more_and_v_still_prints_the_version() {
    let grid = Grid::new();
    let say = |words: &[&str]| {
        let output = grid.program(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, text) = say(&["-v"]);
    assert_eq!(code, Some(0));
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    assert_eq!(grid.run(&[]).0, 0);
    let run = ["run", "matrix.toml", "--executor", "fake"];
    assert!(!say(&run).1.contains(BUILD));
    assert!(say(&[&run[..], &["-v"]].concat()).1.contains(BUILD));
    let explain = ["explain", BUILD, "matrix.toml", "--executor", "fake"];
    assert!(!say(&explain).1.contains("gcc:"));
    assert!(
        say(&[&["-v"], &explain[..]].concat())
            .1
            .contains("toolchain")
    );
    let (code, text) = say(&["status", "--quiet", "-v"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--quiet"), "{text}");
}

/// Returns the completions that the program offers for the word at the cursor: the last word, or the word before `|`.
fn offered(grid: &Grid, words: &[&str]) -> Vec<String> {
    let cursor = words.iter().position(|word| *word == "|");
    let last = cursor.unwrap_or(words.len());
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "|").collect();
    let arguments = [&["--", "driverkit-matrix"], &*words].concat();
    let mut program = grid.program(&[]);
    let output = program
        .args(arguments)
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", last.to_string())
        .env("_CLAP_IFS", "\n")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_targets_driver_versions_and_builds() {
    let grid = Grid::new();
    assert_eq!(
        offered(&grid, &["plan", "matrix.toml", "--target", "deb"]),
        ["debian"]
    );
    assert_eq!(
        offered(&grid, &["run", "matrix.toml", "--driver", ""]),
        ["one"]
    );
    for words in [
        &["plan", "matrix.toml", "--only", "one/"][..],
        &["rebuild", "one/", "|", "matrix.toml"],
    ] {
        assert_eq!(offered(&grid, words), [BUILD], "{words:?}");
    }
    assert!(
        offered(&grid, &["logs", ""])
            .iter()
            .all(|word| word.starts_with('-'))
    );
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(offered(&grid, &["logs", "o"]), [BUILD]);
    // The script that makes a shell request completions.
    let mut program = grid.program(&[]);
    let script = program.env("COMPLETE", "zsh").output().unwrap();
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.contains("COMPLETE=\"zsh\""), "{script}");
}
