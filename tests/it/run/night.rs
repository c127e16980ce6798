//! Tests of what users read after a night: rows of excluded kernels, known failures, views, statistics.

use std::process::Output;

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::{Manifest, read_log, read_manifest};
use serde_json::{Value, json};

use rustix::process::Signal;

use super::BUILD;
use super::stopping::send;
use support::grid::{Grid, rule, wait_until};

const FOO: &str = "main.c:7:3: error: unknown type name 'foo'\n";

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

#[test]
fn excluded_kernels_have_rows_with_rule_and_place() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\nreason = \"no longer used\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let manifest = rows(&grid);
    assert_eq!(manifest.builds.len(), 3);
    assert_eq!(manifest.excluded.len(), 1);
    let row = &manifest.excluded[0];
    assert_eq!(row.kernel_release.as_str(), "6.1.4-1-amd64");
    assert_eq!(
        (row.rule.as_str(), row.reason.as_str()),
        ("exclude", "no longer used")
    );
    let text = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line == "[[exclude]]").unwrap();
    let place = format!("matrix.toml:{line}");
    assert_eq!(row.place.as_deref(), Some(place.as_str()));

    let (code, text, _) = say(&grid, &["why", "6.1.4-1-amd64"]);
    assert_eq!(code, 0);
    let expected = format!("left out by the rule `exclude` in {place}: no longer used.");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn no_manifest_json_removes_the_manifest_json_of_an_earlier_run() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.path("out/manifest.json").exists());
    assert_eq!(grid.run(&["--no-manifest-json"]).0, 1);
    assert!(!grid.path("out/manifest.json").exists());
    // Commands that read a manifest read the other form.
    assert_eq!(rows(&grid).builds.len(), 4);
    let (code, text, _) = say(&grid, &["why", "6.1.4-1-amd64"]);
    assert_eq!(code, 0, "{text}");
    let build = rows(&grid).builds[0].build_id.to_string();
    let words = [
        "rebuild",
        &build,
        "matrix.toml",
        "--executor",
        "fake",
        "--keep",
    ];
    let (code, _, text) = say(&grid, &words);
    assert_eq!(code, 0, "{text}");
    assert!(!grid.path("out/manifest.json").exists());
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.path("out/manifest.json").exists());
}

#[test]
fn both_forms_of_a_manifest_are_equal() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let text = |manifest: &mut Manifest| {
        manifest.sources.clear();
        manifest.toolchains.clear();
        let mut bytes = Vec::new();
        manifest.write_json(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let mut of_rows = rows(&grid);
    let mut of_json = grid.manifest();
    assert_eq!(text(&mut of_rows), text(&mut of_json));
    assert_eq!(grid.manifest().schema, 1);
    let (code, found, _) = say(&grid, &["diff", "out/manifest.json", "out"]);
    assert_eq!(code, 0);
    assert!(
        found.contains("  still-failing        2\n  unchanged            1\n"),
        "{found}"
    );
}

#[test]
fn every_row_has_the_columns_of_the_first_line() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let lines = lines(&grid);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let columns = keys(&lines[0]);
    let artifact = keys(&lines[0]["artifacts"][0]);
    assert_eq!(lines.len(), 5);
    for line in &lines[1..] {
        assert_eq!(keys(line), columns);
        for one in line["artifacts"].as_array().unwrap() {
            assert_eq!(keys(one), artifact);
        }
        assert!(line["kernel_version"].is_string());
    }
}

#[test]
fn failing_since_and_the_last_successful_build_are_kept_over_runs() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    let first = rows(&grid);
    let since = first.builds[1].artifacts[0].failing_since.unwrap();
    assert_eq!(first.builds[1].artifacts[0].failing_nights, Some(1));
    assert_eq!(first.builds[0].artifacts[0].failing_since, None);
    assert!(first.builds[0].queued_seconds.is_some());

    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    assert!(rows(&grid).run.is_partial);
    assert_eq!(grid.run(&[]).0, 1);
    let second = rows(&grid);
    assert!(!second.run.is_partial);
    let artifact = &second.builds[1].artifacts[0];
    assert_eq!(artifact.failing_since, Some(since));
    assert_eq!(
        artifact.failing_nights,
        Some(1),
        "the same date is the same night"
    );
    assert!(artifact.failure_is_cached);
    let built = &second.builds[0].artifacts[0];
    assert_eq!(built.status, Status::Cached);
    assert_eq!(built.made_by.as_deref(), Some(first.run.id.as_str()));

    let (code, text, _) = say(&grid, &["why", BUILD]);
    assert_eq!(code, 0);
    let expected = format!("The module was built by run {}, ", first.run.id);
    assert!(text.contains(&expected), "{text}");
    let (_, text, _) = say(&grid, &["why", "6.1.2-1-amd64"]);
    assert!(text.contains("unknown type name 'foo'"), "{text}");
    assert!(text.contains("It has been failing since 20"), "{text}");
}

#[test]
fn why_says_that_no_source_names_an_unknown_kernel() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let (code, text, notice) = say(&grid, &["why", "9.9.9-1-amd64"]);
    assert_eq!((code, text.as_str()), (1, ""));
    assert!(
        notice.contains("no source has ever named `9.9.9-1-amd64`"),
        "{notice}"
    );
    let (code, _, notice) = say(&grid, &["why", "x", "--out", "elsewhere"]);
    assert_eq!(code, 2);
    assert!(notice.contains("does not exist"), "{notice}");
}

const KNOWN: &str = "[[known_failure]]\nkernel = \"6.1.[23]-1*\"\nclass = \"compile\"\nmessage = \"unknown type\"\n\
    reason = \"the driver lacks foo\"\nowner = \"mo\"\nlink = \"https://example.org/1\"\nexpires = 2999-01-31\n";

#[test]
fn known_failure_has_its_status_and_does_not_count() {
    let grid = broken(KNOWN);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("all of them known failures"), "{text}");
    assert_eq!(
        grid.statuses(),
        [Status::Built, Status::Built, Status::Known, Status::Known]
    );
    let (_, text, _) = say(&grid, &["why", "6.1.2-1-amd64"]);
    assert!(
        text.contains("It is a known failure of mo until 2999-01-31: the driver lacks foo"),
        "{text}"
    );
    let (code, text, _) = say(&grid, &["known"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("known failures: 2\n"), "{text}");
    // The failure is cached, and still known.
    assert_eq!(grid.run(&["--fail-fast"]).0, 0);
    assert_eq!(say(&grid, &["diff", "out"]).0, 0);
}

#[test]
fn outdated_rules_are_findings_with_their_place() {
    let grid = broken(
        "[[known_failure]]\nkernel = \"6.1.2-1*\"\nreason = \"old\"\nexpires = \"2020-01-01\"\n\
         [[known_failure]]\nkernel = \"6.1.1-1*\"\nreason = \"works\"\n\
         [[known_failure]]\nkernel = \"5.*\"\nreason = \"nothing\"\n",
    );
    assert_eq!(grid.run(&[]).0, 1);
    let text = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let first = 1 + text
        .lines()
        .position(|line| line == "[[known_failure]]")
        .unwrap();
    let findings = rows(&grid).findings;
    let places: Vec<&str> = findings.iter().map(|one| one.place.as_str()).collect();
    let expected = [first, first + 4, first + 7].map(|line| format!("matrix.toml:{line}"));
    assert_eq!(places, expected);
    let (code, text, _) = say(&grid, &["known"]);
    assert_eq!(code, 4 + 8 + 16, "{text}");
    assert!(text.contains("expired on 2020-01-01"), "{text}");
    // A run of a part of the plan does not show that a rule is unused, or that nothing fails that it expects to fail.
    grid.run(&["--only", BUILD]);
    assert_eq!(rows(&grid).findings.len(), 1);
}

#[test]
fn invalid_known_failure_rules_are_refused_with_their_place() {
    let grid = Grid::new();
    let matrix = grid.matrix(&["1"]);
    for (rule, expected) in [
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpires = \"soon\"",
            "`expires` is not a day",
        ),
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpires = 2026-02-31",
            "matrix.toml:",
        ),
        (
            "message = \"(\"\nreason = \"a\"",
            "invalid regular expression",
        ),
        (
            "class = \"bad\"\nreason = \"a\"",
            "unknown failure class `bad`",
        ),
        (
            "class = [\"compile\", \"cancelled\"]\nreason = \"a\"",
            "`cancelled` says nothing about an artifact",
        ),
        ("kernel = \"6.*\"", "`reason` is missing"),
        ("reason = \"a\"", "the rule would match every failure"),
        (
            "kernel = \"6.*\"\nreason = \"a\"\nexpire = 2026-01-01",
            "unknown key `expire`",
        ),
    ] {
        grid.write_matrix(&format!("{matrix}\n[[known_failure]]\n{rule}\n"));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 2, "{rule}: {text}");
        assert!(
            text.contains(expected) && text.contains("matrix.toml:"),
            "{rule}: {text}"
        );
    }
}

#[test]
fn suggested_rules_make_the_failures_known() {
    let grid = broken("");
    assert_eq!(grid.run(&[]).0, 1);
    let (code, rules, _) = say(&grid, &["known", "--suggest"]);
    assert_eq!(code, 0);
    assert_eq!(rules.matches("[[known_failure]]").count(), 1, "{rules}");
    assert!(
        rules.contains("kernel = \">=6.1.2-1-amd64, <=6.1.3-1-amd64\""),
        "{rules}"
    );
    let matrix = grid.matrix(&["1", "2", "3", "4"]);
    grid.write_matrix(&format!("{matrix}\n{rules}"));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let (_, rules, _) = say(&grid, &["known", "--suggest"]);
    assert_eq!(rules, "");
}

#[test]
fn every_view_is_written_and_a_bad_path_changes_nothing() {
    let grid = broken("");
    let summary = grid.path("summary.md");
    let output = grid
        .program(&[
            "run",
            "matrix.toml",
            "--executor",
            "fake",
            "--report",
            "html=night.html",
            "--report",
            "markdown=night.md",
            "--report",
            "junit=night.xml",
            "--report",
            "prometheus=night.prom",
            "--report",
            "kcidb=night.json",
            "--report",
            "csv=night.csv",
            "--report",
            "html=/proc/nowhere/night.html",
        ])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();
    let (code, stdout, stderr) = told(output);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("failed to write the report html=/proc/nowhere/night.html"),
        "{stderr}"
    );
    assert_eq!(stdout, "");
    assert!(
        stderr.contains("::error title=compile::2 artifacts: main.c: unknown type name 'foo'"),
        "{stderr}"
    );
    let read = |name: &str| std::fs::read_to_string(grid.path(name)).unwrap();
    assert!(read("summary.md").contains("| failed | 2 |"));
    assert_eq!(read("night.md"), read("summary.md"));
    let page = read("night.html");
    assert!(page.contains("unknown type name &#39;foo&#39;"));
    let log = grid.manifest().builds[1].artifacts[0].log.clone().unwrap();
    let log = read_log(&grid.path("out").join(log)).unwrap();
    let command = log.lines().next().unwrap();
    let shown = command.replace('\'', "&#39;");
    assert!(page.contains(&format!("<code>{shown}</code>")), "{page}");
    let junit = read("night.xml");
    assert!(
        junit.contains("tests=\"4\"") && junit.contains("failures=\"2\""),
        "{junit}"
    );
    assert!(read("night.prom").contains(
        "driverkit_matrix_artifacts{target=\"debian\",driver_version=\"one\",architecture=\"amd64\",artifact=\"module\",status=\"failed\"} 2"
    ));
    let kcidb: Value = serde_json::from_str(&read("night.json")).unwrap();
    assert_eq!(kcidb["version"], json!({ "major": 5, "minor": 3 }));
    assert_eq!(kcidb["builds"].as_array().unwrap().len(), 4);
    assert_eq!(kcidb["builds"][1]["command"], command);
    assert_eq!(read("night.csv"), read("out/manifest.csv"));

    let (code, page, _) = say(&grid, &["report"]);
    assert_eq!(code, 0);
    assert_eq!(page, read("night.html"));
    let (code, _, text) = say(&grid, &["run", "matrix.toml", "--report", "pdf=x"]);
    assert_eq!(code, 2);
    assert!(text.contains("unknown format `pdf`"), "{text}");
}

#[test]
fn report_counts_known_failures_separately() {
    let grid = broken(&KNOWN.replace("6.1.[23]-1*", "6.1.2-1*"));
    assert_eq!(grid.run(&[]).0, 1);
    let (_, page, _) = say(&grid, &["report"]);
    assert!(
        page.contains("1 unexpected failure, 1 known, 0 left out by rules"),
        "{page}"
    );
}

#[test]
fn commands_of_reports_are_the_first_lines_of_logs() {
    let grid = broken("");
    let arguments = [
        "run",
        "matrix.toml",
        "--out",
        "n",
        "--toolchain",
        "auto",
        "--locked",
    ];
    let mut run = grid.program(&arguments);
    run.args(["--executor", "fake"]);
    let output = run.env(
        "DRIVERKIT_MATRIX_MIRROR_DEBIAN",
        "http://mirror.invalid/debian",
    );
    let (code, _, text) = told(output.output().unwrap());
    assert_eq!(code, 1, "{text}");
    let manifest = read_manifest(&grid.path("n")).unwrap();
    let (_, page, _) = say(&grid, &["report", "n"]);
    let (_, kcidb, _) = say(&grid, &["report", "n", "--format", "kcidb"]);
    let kcidb: Value = serde_json::from_str(&kcidb).unwrap();
    for (build, of_kcidb) in manifest
        .builds
        .iter()
        .zip(kcidb["builds"].as_array().unwrap())
    {
        let artifact = &build.artifacts[0];
        let log = grid.path("n").join(artifact.log.as_ref().unwrap());
        let text = read_log(&log).unwrap();
        let command = text.lines().next().unwrap();
        assert!(command.contains("--out n") && command.contains("--executor fake"));
        assert!(
            command.contains("'debian=http://mirror.invalid/debian'"),
            "{command}"
        );
        assert_eq!(of_kcidb["command"], command);
        assert_eq!(of_kcidb["compiler"], "gcc 12");
    }
    let failing = read_log(
        &grid
            .path("n")
            .join(manifest.builds[1].artifacts[0].log.as_ref().unwrap()),
    );
    let failing = failing.unwrap();
    let command = failing.lines().next().unwrap();
    let shown = command.replace('\'', "&#39;");
    assert!(page.contains(&format!("<code>{shown}</code>")), "{page}");
}

#[test]
fn interrupted_builds_are_unknown_not_failing() {
    let grid = Grid::of_four();
    grid.fake(&[rule("module *", &json!({ "hangs": true }))]);
    let mut child = grid.start(&["--jobs", "2"]);
    wait_until("two modules", || {
        let journal = std::fs::read_to_string(grid.path("journal")).unwrap_or_default();
        journal.matches("module ").count() >= 2
    });
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(grid.statuses()[0], Status::Cancelled);
    let (_, text, _) = say(&grid, &["stats", "--format", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    let row = &found["rows"][0];
    assert_eq!((&row["failing"], &row["unknown"]), (&json!(0), &json!(4)));
    let (_, metrics, _) = say(&grid, &["report", "--format", "prometheus"]);
    assert!(metrics.contains("state=\"failing\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("driverkit_matrix_failures{"), "{metrics}");
    let (_, page, _) = say(&grid, &["report"]);
    let missing = "<h2>Which kernels lack a driver?</h2><strong>0 kernels</strong>";
    assert!(page.contains(missing), "{page}");
    assert!(page.contains("0 unexpected failures"), "{page}");
    assert_eq!(page_data(&page)["failures"], json!([]));
}

/// Returns the data of the page's script.
fn page_data(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn exclusions_of_drivers_and_artifacts_are_on_the_page() {
    let grid = Grid::new();
    grid.write_driver("other", "main");
    let matrix = grid.matrix(&["1", "2", "3"]);
    for number in ["2", "3"] {
        grid.write_headers(number, support::grid::RELEASE);
    }
    let matrix = matrix
        .replace("drivers = [\"one\"]", "drivers = [\"one\", \"two\"]")
        .replace("[\"module\"]", "[\"module\", \"probe\"]");
    grid.write_matrix(&format!(
        "{matrix}\n[driver.\"two\"]\nsource = {{ path = \"other\" }}\nmodule_name = \"scap\"\n\
         [[exclude]]\nkernel = \"6.1.1-1*\"\ndriver = \"two\"\nreason = \"two is broken here\"\n\
         [[exclude]]\nkernel = \"6.1.2-1*\"\nartifact = \"probe\"\nreason = \"no probes here\"\n\
         [[exclude]]\nkernel = \"6.1.3-1*\"\nreason = \"not used\"\n"
    ));
    grid.fake(&[]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let (_, page, _) = say(&grid, &["report"]);
    let data = page_data(&page);
    assert_eq!(data["drivers"], json!(["one", "two"]));
    let kernels = data["kernels"].as_array().unwrap();
    let cells: Vec<_> = kernels.iter().map(|row| (&row[1], &row[5])).collect();
    let expected = [
        ("6.1.1-1-amd64", "BX"),
        ("6.1.2-1-amd64", "BB"),
        ("6.1.3-1-amd64", "XX"),
    ];
    assert_eq!(json!(cells), json!(expected));
    let reason = |of: &Value| {
        let position = usize::try_from(of.as_u64().unwrap()).unwrap();
        data["reasons"][position].as_str().unwrap().to_owned()
    };
    let parts = data["excluded"].as_array().unwrap();
    let mut found: Vec<_> = parts
        .iter()
        .map(|part| {
            let reason = reason(&part[1]);
            let (_, reason) = reason.rsplit_once(": ").unwrap();
            json!([reason, part[0], part[2]])
        })
        .collect();
    found.sort_by_key(Value::to_string);
    let expected = json!([
        ["no probes here", 0, [1]],
        ["no probes here", 1, [1]],
        ["two is broken here", 1, [0]]
    ]);
    assert_eq!(json!(found), expected);
    assert!(reason(&kernels[2][6]).ends_with("not used"));
    let (_, kcidb, _) = say(&grid, &["report", "--format", "kcidb"]);
    assert!(kcidb.contains("\"compiler\":\"clang\""), "{kcidb}");
}

#[test]
fn stats_are_printed_in_every_format() {
    let grid = broken("[[exclude]]\nkernel = \"6.1.4-1*\"\n");
    assert_eq!(grid.run(&[]).0, 1);
    let (_, text, _) = say(&grid, &["stats", "--format", "csv"]);
    assert_eq!(
        text,
        "target,driver_version,architecture,built,failing,unknown,excluded,median_lag_days,worst_lag_days,\
         loaded,refused,not_proven\n\
         debian,one,amd64,1,2,0,1,,,0,0,0\n"
    );
    let (_, text, _) = say(&grid, &["stats", "--format", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["rows"][0]["failing"], 2);
    assert_eq!(found["nights"].as_array().unwrap().len(), 1);
    let (_, text, _) = say(&grid, &["stats"]);
    assert!(text.contains("coverage over the nights"), "{text}");
    assert_eq!(say(&grid, &["stats", "--format", "prometheus"]).0, 0);
}

#[test]
fn damaged_rows_are_errors_that_name_the_file() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let path = grid.path("out/builds.jsonl.zst");
    let whole = std::fs::read(&path).unwrap();
    // If the file is cut between two frames, zstd accepts it.
    let magic = [0x5e, 0x2a, 0x4d, 0x18];
    let index = whole.windows(4).rposition(|four| four == magic).unwrap();
    let pack = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (bytes, expected) in [
        (whole[..whole.len() - 20].to_vec(), "builds.jsonl.zst"),
        (whole[..index].to_vec(), "builds.jsonl.zst is cut off"),
        (
            pack("{\"schema\": 99, \"run_id\": \"x\"}\n"),
            "manifest schema 99",
        ),
        (
            pack("{\"schema\": 2, \"run_id\": \"x\"}\n"),
            "belongs to run x",
        ),
        (pack("[]\n"), "does not start with the schema"),
        (Vec::new(), "builds.jsonl.zst"),
    ] {
        driverkit_matrix::fs::write(&path, &bytes).unwrap();
        for words in [
            &["diff", "out", "out"][..],
            &["why", BUILD],
            &["report"],
            &["known"],
        ] {
            let (code, _, text) = say(&grid, words);
            assert_eq!(code, 2, "{words:?}: {text}");
            assert!(text.contains(expected), "{words:?}: {text}");
        }
    }
}

#[test]
fn written_files_match_their_schemas() {
    let grid = broken(&format!("[[exclude]]\nkernel = \"6.1.4-1*\"\n{KNOWN}"));
    assert_eq!(grid.run(&[]).0, 0);
    let schema = |name: &str| {
        let (code, text, _) = say(&grid, &["generate", "schema", name]);
        assert_eq!(code, 0);
        jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
    };
    let check = |schema: &jsonschema::Validator, value: &Value| {
        let errors: Vec<String> = schema
            .iter_errors(value)
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let manifest = schema("manifest");
    check(
        &manifest,
        &parse(&fs::read_to_string(&grid.path("out/run.json")).unwrap()),
    );
    let whole = parse(&fs::read_to_string(&grid.path("out/manifest.json")).unwrap());
    check(&manifest, &whole);
    let mut damaged = whole.clone();
    damaged["builds"][0]["status"] = json!("perhaps");
    assert!(!manifest.is_valid(&damaged));
    for line in &lines(&grid)[1..] {
        check(&manifest, line);
    }
    assert!(!manifest.is_valid(&json!({ "schema": 2 })));
    let events = schema("events");
    let journal = grid.path("out/.driverkit-matrix/previous-journal.jsonl");
    for line in fs::read_to_string(&journal).unwrap().lines() {
        check(&events, &parse(line));
    }
    assert!(!events.is_valid(&json!({ "at": "now" })));
    let (_, plan, _) = say(&grid, &["plan", "matrix.toml", "--format", "json"]);
    check(&schema("plan"), &parse(&plan));

    let matrix = schema("matrix");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("matrices");
    let mut files: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    assert!(files.len() > 10);
    files.push(grid.path("matrix.toml"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let value: toml::Value = toml::from_str(&text).unwrap();
        check(&matrix, &serde_json::to_value(value).unwrap());
        let is_own = file == grid.path("matrix.toml");
        assert!(is_own || text.starts_with("#:schema ../schemas/matrix.json\n"));
    }
    assert!(!matrix.is_valid(&json!({ "drivers": ["a"], "target": [], "tagret": [] })));
    // The example in the documentation contains every table.
    let page = include_str!("../../../docs/matrix.md");
    let shown = page.split("```toml\n").nth(1).unwrap();
    let shown: toml::Value = toml::from_str(shown.split("```").next().unwrap()).unwrap();
    check(&matrix, &serde_json::to_value(shown).unwrap());
}

#[test]
fn locks_match_their_schema() {
    let grid = Grid::new();
    let list = json!({ "Debian": [{
        "kernelversion": "1", "kernelrelease": "6.1.0-1-amd64", "target": "debian",
        "headers": ["http://example.org/linux-headers-6.1.0-1-amd64_6.1.0-1_amd64.deb"],
    }] });
    grid.write("list.json", list.to_string());
    grid.write_matrix(
        "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\n\
         kernels = { from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }\n",
    );
    let (code, _, text) = say(&grid, &["lock", "matrix.toml"]);
    assert_eq!(code, 0, "{text}");
    let (_, schema, _) = say(&grid, &["generate", "schema", "lock"]);
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let lock = fs::read_to_string(&grid.path("matrix.lock")).unwrap();
    assert_eq!(lock.lines().count(), 2);
    for line in lock.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&line), "{line}");
    }
    assert!(!schema.is_valid(&json!({ "target": "debian" })));
    let (code, _, text) = say(&grid, &["generate", "schema", "nothing"]);
    assert_eq!(code, 2);
    assert!(
        text.contains("expected one of manifest, plan, lock, events, matrix"),
        "{text}"
    );
}

#[test]
fn only_full_runs_replace_kept_nights() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let first = rows(&grid).run.id;
    for _ in 0..10 {
        assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    }
    let kept = driverkit_matrix::report::earlier_manifests(&grid.path("out")).unwrap();
    assert_eq!(kept.len(), 9, "the first night and eight others");
    assert!(kept.last().unwrap().to_string_lossy().ends_with(&first));
    // If only one night is kept, the night with the older date is removed.
    let old = grid.path("out/.driverkit-matrix/manifests/20200101T010000Z-old");
    std::fs::create_dir(&old).unwrap();
    let run = fs::read_to_string(&kept.last().unwrap().join("run.json")).unwrap();
    let mut run: Value = serde_json::from_str(&run).unwrap();
    run["run"]["started"] = json!("2020-01-01T01:00:00Z");
    fs::write(&old.join("run.json"), run.to_string()).unwrap();
    assert_eq!(grid.run(&["--only", BUILD]).0, 0);
    assert!(old.exists());
    assert_eq!(grid.run(&["--only", BUILD, "--keep-nights", "1"]).0, 0);
    assert!(!old.exists());
}
