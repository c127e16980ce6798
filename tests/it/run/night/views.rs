//! Tests of `report`, `stats` and `why`.

use driverkit_matrix::failure::Status;
use driverkit_matrix::report::{read_log, read_manifest};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::grid::{Grid, rule, wait_until};

use super::{KNOWN, broken, say, told};
use crate::run::stopping::send;

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
