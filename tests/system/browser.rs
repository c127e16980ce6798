//! The page of `report` in a real browser: Chromium without a screen, which runs a script in the page and hands back what
//! the page is then.
//!
//! `scripts/setup.sh --tests` installs Chromium.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;
use serde_json::Value;
use support::nights::Year;

/// Waits for the page, acts like a user, and writes what it saw into the page.
const USER: &str = include_str!("browser/user.js");

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

/// The page of a simulated night, and what a user sees in it.
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
    let dom = String::from_utf8(chromium(&folder.join("profile"), &words)).unwrap();
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

#[test]
fn page_works_by_keyboard_and_on_paper() {
    let folder = tempfile::tempdir().unwrap();
    let year = Year {
        kernels: 320,
        drivers: 3,
        nights: 3,
    };
    let seen = what_a_user_sees(year, folder.path());

    // In the order of the tab key: the link over everything first, and nothing that has no name.
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

    // On paper without what needs a screen.
    let url = format!("file://{}", folder.path().join("night.html").display());
    let pdf = folder.path().join("night.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    chromium(
        &folder.path().join("profile"),
        &[&print, "--no-pdf-header-footer", &url],
    );
    let pdf = std::fs::read(pdf).unwrap();
    assert!(pdf.starts_with(b"%PDF"));
    assert!(
        seen["paper"]["hidden"]
            .as_array()
            .unwrap()
            .contains(&Value::from("#kernels"))
    );
}

#[test]
fn page_filters_and_runs_nothing_that_compilers_or_rules_say() {
    let folder = tempfile::tempdir().unwrap();
    let year = Year {
        kernels: 320,
        drivers: 3,
        nights: 3,
    };
    let seen = what_a_user_sees(year, folder.path());

    assert_eq!(seen["errors"], Value::Array(Vec::new()));
    assert_eq!(seen["alerts"], 0, "a compiler's message was run");
    assert_eq!(seen["requests"], 0, "the page asked for something");
    // It is there to be read.
    assert_eq!(seen["text"]["command"], true, "{seen:#}");

    let rows = |part: &str| seen[part]["rows"].clone();
    assert_ne!(seen["first"], seen["nothing"]);
    assert!(
        seen["nothing"].as_str().unwrap().starts_with('0'),
        "{}",
        seen["nothing"]
    );
    assert!(!rows("filtered").as_array().unwrap().is_empty());
    for row in rows("filtered").as_array().unwrap() {
        assert!(row.to_string().contains("photon"), "{row}");
    }
    assert!(rows("drilled").as_u64().unwrap() > 0, "{seen:#}");
    let filter = seen["drilled"]["filter"].as_str().unwrap();
    assert!(filter.contains("amazonlinux2"), "{filter}");
}
