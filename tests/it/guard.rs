//! Tests of the loss guard of `lock`, through the binary: what happens if a source names fewer kernels than before.

mod left_out;
mod losses;
mod moves;
mod sources;
mod targets;

use serde_json::{Value, json};
use support::workspace::Workspace;

/// A kernel entry of a list.
fn kernel(target: &str, release: &str) -> Value {
    json!({"target": target, "kernelrelease": release, "headers": [format!("http://example.org/{release}.rpm")]})
}

/// Returns `count` kernels of one target; each release is `before`, a number and `after`.
fn series(target: &str, before: &str, count: usize, after: &str) -> Vec<Value> {
    (1..=count)
        .map(|number| kernel(target, &format!("{before}{number}{after}")))
        .collect()
}

fn list(parts: &[&[Value]]) -> String {
    json!({ "Kernels": parts.concat() }).to_string()
}

fn target(name: &str, place: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = \"{place}\" }}{more} }}\n"
    )
}

fn matrix(targets: &[String]) -> String {
    format!("drivers = [\"8.1.0+driver\"]\n{}", targets.concat())
}

fn locked(list: &str) -> Workspace {
    let workspace = Workspace::new()
        .with("list.json", list)
        .with("m.toml", &matrix(&[target("*", "list.json", "")]));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    workspace
}

/// Refreshes the lock and asserts the exit code.
fn lock(workspace: &Workspace, code: u8, more: &[&str]) -> String {
    let report = workspace.run(&[&["lock", "m.toml"], more].concat());
    assert!(report.starts_with(&format!("exit {code}\n")), "{report}");
    report
}

fn count(workspace: &Workspace, what: &str) -> usize {
    workspace.get("m.lock").matches(what).count()
}

/// Sets the days in the lock back to 2024-02-29 and adds a digest to the packages.
fn age(workspace: &Workspace) {
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let lock = workspace
        .get("m.lock")
        .replace(&today.to_string(), "2024-02-29");
    let digest = format!("\"sha256\":\"{}\",\"noted\":true}}]", "1".repeat(64));
    workspace.put(
        "m.lock",
        &lock.replace(".rpm\"}]", &format!(".rpm\",{digest}")),
    );
}
