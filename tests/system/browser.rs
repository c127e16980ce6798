//! The page of `report` in headless Chromium: a script runs in the page, and the test reads the resulting page.
//!
//! `scripts/setup.sh --tests` installs Chromium.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::{Manifest, read_manifest};
use driverkit_matrix::text::separated;
use serde_json::{Value, json};
use support::nights::Year;

/// Waits for the page, acts like a user, and writes the observations into the page.
const USER: &str = include_str!("browser/user.js");

const SMALL: Year = Year {
    kernels: 320,
    drivers: 8,
    nights: 3,
};

fn chromium(profile: &Path, words: &[&str]) -> Vec<u8> {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(words)
        .output()
        .expect("this test needs Chromium: run scripts/setup.sh --tests");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    output.stdout
}

/// Opens the page of a simulated night; returns what the user script observed.
fn what_a_user_sees(year: Year, folder: &Path) -> Value {
    year.write(&folder.join("out"));
    let output = Command::new(support::program())
        .args(["report", "out", "--output", "night.html"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(&folder.join("night.html")).unwrap();
    let with_user = page.replace("</body>", &format!("<script>{USER}</script></body>"));
    fs::write(&folder.join("user.html"), with_user).unwrap();
    let url = format!("file://{}", folder.join("user.html").display());
    let words = [
        "--virtual-time-budget=20000",
        "--window-size=1280,900",
        "--dump-dom",
        &url,
    ];
    what_was_seen(&chromium(&folder.join("profile"), &words))
}

/// Returns the observations that the user script wrote into a page.
fn what_was_seen(dom: &[u8]) -> Value {
    let dom = String::from_utf8(dom.to_vec()).unwrap();
    let (_, rest) = dom
        .split_once("<pre id=\"seen\">")
        .expect("what the user saw");
    let (seen, _) = rest.split_once("</pre>").unwrap();
    let seen = seen
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap()
}

/// Prints a page; returns the PDF without the time of printing.
fn printed(folder: &Path, name: &str) -> Vec<u8> {
    let pdf = folder.join(format!("{name}.pdf"));
    let print = format!("--print-to-pdf={}", pdf.display());
    let url = format!("file://{}", folder.join(format!("{name}.html")).display());
    chromium(
        &folder.join("profile"),
        &[&print, "--no-pdf-header-footer", &url],
    );
    let pdf = std::fs::read(pdf).unwrap();
    assert!(pdf.starts_with(b"%PDF"));
    let is_time =
        |line: &&[u8]| line.starts_with(b"/CreationDate") || line.starts_with(b"/ModDate");
    let lines = pdf.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !is_time(line))
        .flatten()
        .copied()
        .collect()
}

#[test]
fn the_page_can_be_used_by_keyboard_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let seen = what_a_user_sees(SMALL, folder.path());

    // In the order of the tab key: the skip link comes first, and every element has a name.
    let order: Vec<&str> = seen["keyboard"]["order"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    assert_eq!(order[0], "A Skip to the list of kernels");
    assert!(
        order.iter().any(|one| one.starts_with("BUTTON ")),
        "{order:?}"
    );
    assert!(
        order.iter().any(|one| one.starts_with("SUMMARY ")),
        "{order:?}"
    );
    assert!(
        order.iter().all(|one| one
            .split_once(' ')
            .is_some_and(|(_, name)| !name.is_empty())),
        "{order:?}"
    );
    let at = |wanted: &str| order.iter().position(|one| *one == wanted).unwrap();
    assert!(at("INPUT Filter") < at("SELECT Driver"));
    assert_eq!(seen["keyboard"]["skip"], "visible when focused");
    assert_eq!(seen["keyboard"]["ids"], "unique");
    assert_eq!(seen["keyboard"]["headless"], 0, "tables without headings");

    // The printed page lacks the interactive parts.
    assert!(
        seen["paper"]["hidden"]
            .as_array()
            .unwrap()
            .contains(&Value::from("#kernels"))
    );

    // It shows the content of all failures, as if a reader had opened each of them before printing.
    let page = fs::read_to_string(&folder.path().join("night.html")).unwrap();
    assert!(page.contains("<details><summary>"));
    let opened = page.replace("<details>", "<details open>");
    fs::write(&folder.path().join("opened.html"), opened).unwrap();
    assert!(printed(folder.path(), "night") == printed(folder.path(), "opened"));
    assert!(seen["paper"]["details"].as_u64().unwrap() > 0);
    assert_eq!(seen["paper"]["missing"], json!([]));
    assert_eq!(seen["paper"]["closed"], 0, "on a screen they stay closed");
}

/// Returns how many kernels of a night have a matching build or excluded row; the page should show the same count.
fn kernels(manifest: &Manifest, is_wanted: impl Fn(&str, &str, Status) -> bool) -> usize {
    let builds = manifest.builds.iter().map(|build| {
        let names = (build.target.as_str(), build.kernel_release.as_str());
        (names, build.status)
    });
    let excluded = manifest.excluded.iter().map(|row| {
        let names = (row.target.as_str(), row.kernel_release.as_str());
        (names, Status::Excluded)
    });
    let found: BTreeSet<(&str, &str)> = builds
        .chain(excluded)
        .filter(|((target, release), status)| is_wanted(target, release, *status))
        .map(|(names, _)| names)
        .collect();
    found.len()
}

fn rows(of: &Value) -> Vec<Vec<String>> {
    serde_json::from_value(of.clone()).unwrap()
}

#[test]
fn the_page_answers_five_questions_and_filters_like_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let seen = what_a_user_sees(SMALL, folder.path());
    let manifest = read_manifest(&folder.path().join("out")).unwrap();
    assert_eq!(seen["errors"], json!([]));
    assert_eq!(
        seen["questions"],
        json!([
            "Did the night work?",
            "What broke since the baseline?",
            "Which kernels lack a driver?",
            "Is a source drying up?",
            "Where did the time go?"
        ])
    );

    let all = kernels(&manifest, |_, _, _| true);
    let first = seen["first"].as_str().unwrap();
    assert_eq!(first, format!("{all} kernels, the first 100 are shown"));
    let photon = |target: &str, release: &str, _| target == "photon" && release.contains("6.1.");
    let wanted = kernels(&manifest, photon);
    assert!(wanted > 0);
    assert_eq!(seen["filtered"]["count"], format!("{wanted} kernels"));
    let filtered = rows(&seen["filtered"]["rows"]);
    assert_eq!(filtered.len(), wanted);
    assert!(filtered.iter().all(|row| row[0] == "photon"));
    let wanted = kernels(&manifest, |_, _, status| status == Status::Failed);
    assert!(wanted > 0);
    assert_eq!(seen["failed"]["count"], format!("{wanted} kernels"));
    for row in rows(&seen["failed"]["rows"]) {
        assert!(row[5].contains("failed") && !row[6].is_empty(), "{row:?}");
    }
    assert_eq!(seen["nothing"], "0 kernels");

    // The coverage table contains all builds, and a click on a cell shows its kernels.
    let cells = seen["coverage"].as_array().unwrap().iter();
    let (there, planned) = cells.fold((0, 0), |(there, planned), cell| {
        let (left, right) = cell.as_str().unwrap().split_once('/').unwrap();
        let number = |text: &str| text.replace(',', "").parse::<usize>().unwrap();
        (there + number(left), planned + number(right))
    });
    let (there, planned) = (separated(there), separated(planned));
    assert_eq!(seen["there"], format!("{there} of {planned}"));
    let builds = manifest.builds.iter();
    let of_cell = builds.filter(|build| {
        build.target.as_str() == "amazonlinux2" && build.driver_version.as_str() == "1.0.0+driver"
    });
    let wanted = of_cell.count();
    let drilled = &seen["drilled"];
    let cell = drilled["cell"].as_str().unwrap();
    assert!(cell.ends_with(&format!("/{wanted}")), "{cell}");
    assert_eq!(drilled["filter"], "amazonlinux2");
    assert_eq!(drilled["driver"], "1.0.0+driver");
    assert_eq!(drilled["focus"], "filter");
    assert_eq!(drilled["targets"], json!(["amazonlinux2"]));
    // Kernels that rules leave out are listed as well.
    let left_out =
        |target: &str, _: &str, status| target == "amazonlinux2" && status == Status::Excluded;
    let wanted = wanted + kernels(&manifest, left_out);
    assert_eq!(drilled["rows"], wanted);
}

#[test]
fn the_page_shows_messages_and_rules_without_executing_them() {
    let folder = tempfile::tempdir().unwrap();
    let seen = what_a_user_sees(SMALL, folder.path());

    assert_eq!(seen["errors"], json!([]));
    assert_eq!(seen["alerts"], 0, "a compiler's message was executed");
    assert_eq!(seen["requests"], 0, "the page sent a request");
    let foreign = &seen["foreign"];
    let summaries = foreign["summaries"].as_array().unwrap();
    assert_eq!(summaries.len(), 1);
    let message = "dynamic_params_table.c: <script>alert('a compiler says this')</script>";
    let summary = summaries[0].as_str().unwrap();
    assert!(summary.ends_with(message), "{summary}");
    assert_eq!(foreign["visible"], true, "{foreign:#}");
    let again = foreign["rebuild"][0][1].as_str().unwrap();
    assert!(again.starts_with("driverkit-matrix rebuild "), "{again}");
    let commands = foreign["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 1, "{foreign:#}");
    let command = commands[0].as_str().unwrap();
    let expected = "exclude (matrices/all.toml:12): =cmd|' /C calc'!A0 is no longer supported";
    assert_eq!(command, expected);
    assert_eq!(foreign["links"], 0);
    // The data, the page's own script, and the user script.
    assert_eq!(
        foreign["scripts"].as_array().unwrap().len(),
        3,
        "{foreign:#}"
    );

    // The CSV of the same night, as a spreadsheet reads it.
    let output = Command::new(support::program())
        .args(["report", "out", "--format", "csv"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let csv = String::from_utf8(output.stdout).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    for field in reader
        .records()
        .flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
    {
        assert!(!field.starts_with(['=', '+', '-', '@']), "{field}");
    }
}

#[test]
fn the_page_has_two_colour_schemes_and_fits_a_narrow_window() {
    let folder = tempfile::tempdir().unwrap();
    what_a_user_sees(SMALL, folder.path());
    let url = format!("file://{}", folder.path().join("user.html").display());
    let look = |words: &[&str]| -> Value {
        let words = [
            &["--virtual-time-budget=20000", "--dump-dom"],
            words,
            &[&url],
        ]
        .concat();
        what_was_seen(&chromium(&folder.path().join("profile"), &words))["look"].clone()
    };
    let light = look(&[
        "--window-size=1280,900",
        "--blink-settings=preferredColorScheme=1",
    ]);
    let dark = look(&[
        "--window-size=1280,900",
        "--blink-settings=preferredColorScheme=0",
    ]);
    let narrow = look(&["--window-size=500,900"]);
    for (seen, is_dark) in [(&light, false), (&dark, true)] {
        assert_eq!(seen["dark"], is_dark, "{seen}");
        // WCAG AA requires a contrast of 4.5 between text and background.
        for (name, contrast) in seen["contrast"].as_object().unwrap() {
            let contrast = contrast.as_f64().unwrap();
            assert!(contrast >= 4.5, "{name}: {contrast}, dark: {is_dark}");
        }
    }
    for seen in [&light, &dark, &narrow] {
        assert_eq!(
            seen["overflow"], 0,
            "the page is wider than its window: {seen}"
        );
    }
}
