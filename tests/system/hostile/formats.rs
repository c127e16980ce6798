//! The content of a list, a file, a lock or a log is never executed and never written outside of its place: one test
//! for each format, with every hostile text in every field.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use support::grid::{Grid, RELEASE, rule};

/// Texts with a meaning for shells, file systems, option parsers, templates and terminals. If one is executed, it
/// leaves a file whose name contains `pwned`.
const TEXTS: [&str; 14] = [
    "$(touch pwned)",
    "`touch pwned`",
    "x; touch pwned",
    "x | touch pwned #",
    "x' ; touch pwned ; '",
    "x\" ; touch pwned ; \"",
    "x\ntouch pwned\n",
    "../../../../pwned",
    "/tmp/pwned-by-a-list",
    "--output=pwned",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{202e}",
    "%s%n${PATH}${IFS}touch${IFS}pwned",
    "6.1.1-1-amd64/../../pwned",
];

/// Returns every file in and around the grid except those that the program may write: cache, output, locks.
fn files(grid: &Grid) -> BTreeMap<String, u64> {
    let root = grid.path("");
    let own = ["cache", "out", "journal", "matrix.lock", "config.toml"];
    let entries = walkdir::WalkDir::new(&root)
        .into_iter()
        .filter_entry(|entry| {
            entry.depth() != 1 || !own.iter().any(|name| entry.file_name() == *name)
        });
    entries
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry
                .path()
                .strip_prefix(&root)
                .unwrap()
                .display()
                .to_string();
            (path, entry.metadata().unwrap().len())
        })
        .collect()
}

/// Runs a command, which may refuse or fail, and asserts that it left no other files.
fn assert_harmless(grid: &Grid, words: &[&str], what: &str) {
    let before = files(grid);
    let output = grid
        .program(words)
        .env("HOME", grid.path("home"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| (0..=3).contains(&code)) && !said.contains("panicked"),
        "{what:?}: {code:?} {said}"
    );
    let acts = |character: char| {
        character == '\u{202e}' || (character.is_control() && !"\n\t\r".contains(character))
    };
    assert!(!said.contains(acts), "{what:?}: {said:?}");
    assert_eq!(files(grid), before, "{what:?}: {said}");
    assert!(!Path::new("/tmp/pwned-by-a-list").exists(), "{what:?}");
    for folder in ["out", "cache"] {
        let entries = walkdir::WalkDir::new(grid.path(folder))
            .into_iter()
            .flatten();
        for entry in entries.filter(|entry| entry.depth() > 0) {
            let name = entry.file_name().to_string_lossy().into_owned();
            // A name from the list may be part of an artifact's name, but never a whole file name.
            assert!(
                !name.starts_with("pwned"),
                "{what:?}: {}",
                entry.path().display()
            );
        }
    }
}

const RUN: &[&str] = &["run", "matrix.toml", "--executor", "fake", "--jobs", "2"];
const PLAN: &[&str] = &["plan", "matrix.toml", "--format", "csv"];

/// Writes a matrix with a source and runs it.
fn assert_list_is_harmless(grid: &Grid, source: &str, what: &str) {
    let head = "drivers = [\"one\"]\nartifacts = [\"module\"]\n[driver.\"one\"]\nsource = { path = \"driver\" }\nmodule_name = \"scap\"\n[defaults]\nretries = 0\n";
    grid.write_matrix(&format!(
        "{head}[[target]]\nname = \"debian\"\nkernels = {source}\n"
    ));
    drop(std::fs::remove_file(grid.path("matrix.lock")));
    assert_harmless(grid, RUN, what);
}

fn headers(grid: &Grid) -> Vec<String> {
    let paths = grid.headers("1");
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_hostile_csv_list_is_harmless() {
    let grid = Grid::new();
    // The harmless rows of the same list are built.
    let row = format!(
        "release,headers\n6.1.1-1-amd64,{}\n",
        headers(&grid).join(" ")
    );
    grid.write("list.csv", row);
    assert_list_is_harmless(
        &grid,
        "{ from = \"csv\", path = \"list.csv\" }",
        "a good list",
    );
    assert!(
        grid.path("out/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko")
            .is_file()
    );
    let headers = headers(&grid).join(" ");
    let good = ["debian", "6.1.1-1-amd64", "1", "amd64", &headers];
    for text in TEXTS {
        for place in 0..good.len() {
            let mut cells = good;
            cells[place] = text;
            let mut writer = csv::Writer::from_writer(Vec::new());
            let names = ["target", "release", "version", "architecture", "headers"];
            writer.write_record(names).unwrap();
            writer.write_record(good).unwrap();
            writer.write_record(cells).unwrap();
            grid.write("list.csv", writer.into_inner().unwrap());
            let what = format!("{} {text}", names[place]);
            assert_list_is_harmless(&grid, "{ from = \"csv\", path = \"list.csv\" }", &what);
        }
    }
}

#[test]
fn a_hostile_text_list_is_harmless() {
    let grid = Grid::new();
    for text in TEXTS {
        for line in [
            text.to_owned(),
            format!("6.1.1-1-amd64 {text}"),
            format!("debian {text} 1"),
        ] {
            grid.write("list.txt", format!("6.1.2-1-amd64\n{line}\n"));
            assert_list_is_harmless(&grid, "{ from = \"text\", path = \"list.txt\" }", &line);
        }
    }
}

#[test]
fn a_hostile_kernel_crawler_list_is_harmless() {
    let grid = Grid::new();
    let entry = |key: &str, text: &str| {
        let mut entry = json!({
            "target": "debian",
            "kernelrelease": "6.1.1-1-amd64",
            "kernelversion": "1",
            "headers": headers(&grid),
        });
        entry[key] = if key == "headers" {
            json!([text])
        } else {
            json!(text)
        };
        entry
    };
    for text in TEXTS {
        for key in [
            "target",
            "kernelrelease",
            "kernelversion",
            "headers",
            "kernelconfigdata",
        ] {
            let list = json!({ text: [entry("kernelversion", "1"), entry(key, text)] });
            grid.write("list.json", list.to_string());
            let source = "{ from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }";
            assert_list_is_harmless(&grid, source, &format!("{key} {text}"));
        }
    }
}

/// Returns the keys of a build with one of them replaced, as JSON, which is also valid YAML.
fn build(grid: &Grid, key: &str, text: &str) -> serde_json::Value {
    let mut build = json!({
        "target": "debian",
        "kernelrelease": RELEASE,
        "kernelversion": "1",
        "architecture": "amd64",
        "driverversion": "one",
        "src-dir": "driver",
        "moduledrivername": "scap",
        "output-module": "here/scap.ko",
        "kernelurls": headers(grid),
    });
    build[key] = if key == "kernelurls" {
        json!([text])
    } else {
        json!(text)
    };
    build
}

/// The output path of the module is not one of the keys: it is a path that the user chooses.
const KEYS: [&str; 9] = [
    "target",
    "kernelrelease",
    "kernelversion",
    "architecture",
    "driverversion",
    "moduledrivername",
    "moduledevicename",
    "kernelurls",
    "builderimage",
];

fn assert_files_of_driverkit_are_harmless(
    extension: &str,
    write: impl Fn(&serde_json::Value) -> String,
) {
    let grid = Grid::new();
    let name = format!("config.{extension}");
    for text in TEXTS {
        for key in KEYS {
            grid.write(&name, write(&build(&grid, key, text)));
            let words = ["docker", "-c", &name, "--loglevel", "debug"];
            let what = format!("{key} {text}");
            drop(std::fs::remove_dir_all(grid.path("here")));
            let output = grid
                .program(&words)
                .env("DRIVERKIT_MATRIX_EXECUTOR", "fake")
                .output();
            let said = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
            assert!(!said.contains("panicked"), "{what:?}: {said}");
            drop(std::fs::remove_dir_all(grid.path("here")));
            assert!(
                files(&grid).keys().all(|path| !path.contains("pwned")),
                "{what:?}: {said}"
            );
            assert!(
                !said.contains(['\u{1b}', '\u{7}', '\u{202e}']),
                "{what:?}: {said:?}"
            );
        }
        // The text as a key, and as the whole file.
        grid.write(&name, write(&json!({ text: text })));
        assert_harmless(&grid, &["docker", "-c", &name], text);
        grid.write(&name, text);
        assert_harmless(&grid, &["docker", "-c", &name], text);
    }
    assert!(!Path::new("/tmp/pwned-by-a-list").exists());
}

#[test]
fn a_hostile_driverkit_json_file_is_harmless() {
    assert_files_of_driverkit_are_harmless("json", ToString::to_string);
}

#[test]
fn a_hostile_driverkit_toml_file_is_harmless() {
    assert_files_of_driverkit_are_harmless("toml", |build| toml::to_string(build).unwrap());
}

#[test]
fn a_hostile_driverkit_yaml_file_is_harmless() {
    assert_files_of_driverkit_are_harmless("yaml", |build| {
        driverkit_matrix::yaml::write(build).unwrap()
    });
}

#[test]
fn a_hostile_driverkit_tree_is_harmless() {
    let grid = Grid::new();
    for text in TEXTS {
        for key in [&KEYS[..], &["output-module"]].concat() {
            let file = driverkit_matrix::yaml::write(&build(&grid, key, text)).unwrap();
            grid.write("config/a.yaml", file);
            let what = format!("{key} {text}");
            assert_harmless(&grid, &["validate", "config"], &what);
            assert_harmless(
                &grid,
                &["import", "config", "--out", "config.toml", "--force"],
                &what,
            );
            assert_list_is_harmless(&grid, "{ from = \"driverkit\", path = \"config\" }", &what);
        }
    }
}

#[test]
fn a_hostile_lock_is_harmless() {
    let grid = Grid::new();
    grid.write("list.csv", "release\n6.1.1-1-amd64\n");
    let source = "{ from = \"csv\", path = \"list.csv\" }";
    assert_list_is_harmless(&grid, source, "a good list");
    let good = std::fs::read_to_string(grid.path("matrix.lock")).unwrap();
    let (head, kernel) = good.split_once('\n').unwrap();
    let kernel: serde_json::Value = serde_json::from_str(kernel.trim()).unwrap();
    for text in TEXTS {
        for key in [
            "target",
            "release",
            "version",
            "architecture",
            "source",
            "first_seen",
            "url",
            "config_sha256",
        ] {
            let mut kernel = kernel.clone();
            if key == "url" {
                kernel["packages"] = json!([{ "url": text }]);
            } else {
                kernel[key] = json!(text);
            }
            grid.write("matrix.lock", format!("{head}\n{kernel}\n"));
            for words in [
                &["plan", "matrix.toml", "--locked"][..],
                &[RUN, &["--locked"]].concat(),
            ] {
                assert_harmless(&grid, words, &format!("{key} {text}"));
            }
        }
        grid.write("matrix.lock", format!("{head}\n{text}\n"));
        assert_harmless(&grid, PLAN, text);
    }
}

#[test]
fn hostile_logs_are_harmless() {
    let grid = Grid::new();
    for text in TEXTS {
        for log in [
            format!("{text}\nmake: *** [{text}] Error 2\n"),
            format!("{text}:1:1: error: {text}\n"),
        ] {
            grid.write_driver("driver", &log);
            grid.fake(&[rule("module *", &json!({ "code": 2, "log": log }))]);
            assert_harmless(&grid, RUN, &log);
            let manifest = std::fs::read_to_string(grid.path("out/manifest.json")).unwrap();
            assert!(
                !manifest.contains(['\u{1b}', '\u{7}', '\u{202e}']),
                "{manifest}"
            );
        }
    }
}
