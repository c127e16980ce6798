//! Matrices, targets and sources are independent: an unreachable source stops nothing else.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use httptest::matchers::request;
use httptest::responders::status_code;
use httptest::{Expectation, Server};
use support::workspace::Workspace;

const LIST: &str = r#"{"AmazonLinux": [
{"kernelversion": 1, "kernelrelease": "4.14.10-1.amzn1.x86_64", "target": "amazonlinux", "headers": ["http://one.example.org/a.rpm"]}
]}"#;

const OTHER: &str = r#"{"minikube": [
{"kernelversion": "1_1.26.0", "kernelrelease": "5.10.57", "target": "minikube", "kernelconfigdata": "Q09ORklHX1g9eQo="}
]}"#;

/// Returns a `[[target]]` that reads these sources.
fn target(name: &str, sources: &[String]) -> String {
    let kernels = sources.join(", ");
    format!("[[target]]\nname = {name:?}\nkernels = [{kernels}]\n")
}

fn list(place: &str) -> String {
    let key = if place.contains("://") { "url" } else { "path" };
    format!("{{ from = \"kernel-crawler\", {key} = {{ amd64 = {place:?} }} }}")
}

fn matrix(targets: &[String]) -> String {
    format!("drivers = [\"8.1.0+driver\"]\n{}", targets.concat())
}

/// A server that answers each GET with this list, or with 403 if it is empty.
fn server(answer: &'static str) -> Server {
    let server = Server::run();
    let responder = match answer {
        "" => status_code(403).body(""),
        text => status_code(200).body(text),
    };
    server.expect(
        Expectation::matching(request::method("GET"))
            .times(..)
            .respond_with(responder),
    );
    server
}

/// Returns the lines that contain all of `words`.
fn lines<'a>(report: &'a str, words: &[&str]) -> Vec<&'a str> {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    report.lines().filter(has_all).collect()
}

#[test]
fn a_refusing_server_does_not_stop_other_locks() {
    let down = server("");
    let workspace = Workspace::new()
        .with("list.json", LIST)
        .with(
            "down.toml",
            &matrix(&[target("*", &[list(&down.url_str("/list.json"))])]),
        )
        .with(
            "up.toml",
            &matrix(&[
                target("fedora", &[list(&down.url_str("/other.json"))]),
                target("amazonlinux", &[list("list.json")]),
            ]),
        );
    let report = workspace.run(&["lock", "down.toml", "up.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(
        workspace.get("up.lock").contains("4.14.10-1.amzn1"),
        "{report}"
    );
    assert!(!workspace.path().join("down.lock").exists());
    assert_eq!(
        lines(&report, &["down.toml:4:", "answered 403", "no lock has"]).len(),
        1,
        "{report}"
    );
    assert_eq!(
        lines(&report, &["up.toml:4:", "answered 403", "no lock has"]).len(),
        1,
        "{report}"
    );
}

#[test]
fn plan_leaves_out_targets_of_unavailable_sources_by_rule() {
    let down = server("");
    let workspace = Workspace::new().with("list.json", LIST).with(
        "m.toml",
        &matrix(&[
            target("fedora", &[list(&down.url_str("/list.json"))]),
            target("amazonlinux", &[list("list.json")]),
        ]),
    );
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert_eq!(
        lines(&report, &["8.1.0+driver/x86_64/amazonlinux"]).len(),
        1,
        "{report}"
    );
    assert_eq!(
        lines(&report, &["source unavailable", "all of fedora amd64"]).len(),
        1,
        "{report}"
    );
    // The exit code is 3 for both targets: the kernels of a selected target are planned, those of the unreachable one
    // are missing.
    let report = workspace.run(&["plan", "m.toml", "--target", "amazonlinux"]);
    assert!(
        report.starts_with("exit 3\n") && !report.contains("all of fedora"),
        "{report}"
    );
    let report = workspace.run(&["plan", "m.toml", "--target", "fedora"]);
    assert!(
        report.starts_with("exit 3\n") && report.contains("answered 403"),
        "{report}"
    );
}

#[test]
fn a_target_with_an_unavailable_source_is_planned_from_its_lock() {
    let up = server(LIST);
    let workspace = Workspace::new().with(
        "m.toml",
        &matrix(&[target("*", &[list(&up.url_str("/list.json"))])]),
    );
    assert!(workspace.run(&["lock", "m.toml"]).starts_with("exit 0\n"));
    let before = workspace.get("m.lock");
    // The source is now a server that answers 403.
    let down = server("");
    let two = [
        target("*", &[list(&down.url_str("/list.json"))]),
        target("amazonlinux", &[list("list.json")]),
    ];
    workspace.put("m.toml", &matrix(&two[..1]));
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(report.contains("1 kernel unconfirmed"), "{report}");
    assert_eq!(
        lines(&report, &["1 kernel of m.lock used, unconfirmed"]).len(),
        1,
        "{report}"
    );
    assert_eq!(workspace.get("m.lock"), before);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert_eq!(workspace.get("m.lock"), before);
}

#[test]
fn an_unavailable_source_does_not_affect_the_other_source() {
    let (up, other) = (server(LIST), server(OTHER));
    let sources = |second: &Server| {
        let lists = [
            list(&up.url_str("/list.json")),
            list(&second.url_str("/list.json")),
        ];
        matrix(&[target("*", &lists)])
    };
    let workspace = Workspace::new().with("m.toml", &sources(&other));
    assert!(workspace.run(&["lock", "m.toml"]).starts_with("exit 0\n"));
    assert_eq!(workspace.get("m.lock").lines().count(), 3);
    let down = server("");
    workspace.put("m.toml", &sources(&down));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    // The kernel of the unreachable source stays, and the lock is stale: the next plan reads the sources again.
    assert_eq!(workspace.get("m.lock").lines().count(), 3, "{report}");
    let report = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(
        report.starts_with("exit 2\n") && report.contains("is stale"),
        "{report}"
    );
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(
        report.starts_with("exit 3\n") && report.contains("2 builds"),
        "{report}"
    );
}

#[test]
fn a_broken_local_list_stops_the_plan_but_no_other_lock() {
    let workspace = Workspace::new()
        .with("list.json", LIST)
        .with("bad.json", "{")
        .with("bad.toml", &matrix(&[target("*", &[list("bad.json")])]))
        .with("up.toml", &matrix(&[target("*", &[list("list.json")])]));
    let report = workspace.run(&["lock", "bad.toml", "up.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(workspace.path().join("up.lock").exists(), "{report}");
    let report = workspace.run(&["plan", "bad.toml", "up.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
}

#[test]
fn run_refreshes_all_locks_and_builds_what_they_name() {
    let (up, down) = (server(LIST), server(""));
    let workspace = Workspace::new()
        .with(
            "down.toml",
            &matrix(&[target("*", &[list(&down.url_str("/list.json"))])]),
        )
        .with(
            "up.toml",
            &matrix(&[target("*", &[list(&up.url_str("/list.json"))])]),
        );
    let run = [
        "run",
        "down.toml",
        "up.toml",
        "--refresh",
        "--executor",
        "fake",
        "--deadline",
        "1s",
    ];
    let report = workspace.run(&run);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(
        report.contains("up.lock: 1 kernel, 1 came, 0 went"),
        "{report}"
    );
    let manifest: serde_json::Value =
        serde_json::from_str(&workspace.get("out/manifest.json")).unwrap();
    assert_eq!(manifest["left_out"][0]["rule"], "source unavailable");
    assert_eq!(manifest["exit"]["code"], 3);
    let report = workspace.run(&["run", "up.toml", "--refresh", "--locked"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
}

#[test]
fn the_nightly_job_refreshes_the_locks_in_its_run() {
    let job = std::fs::read_to_string("deploy/base/cron-job.yaml").unwrap();
    assert!(job.contains("args: [run, --refresh,"));
    assert!(!job.contains("name: lock"));
}

/// A server that closes every connection and counts the connections.
fn closing_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list.json", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(connection);
        }
    });
    (url, connections)
}

#[test]
fn plan_tries_a_dead_server_once_and_plans_the_rest() {
    let (url, connections) = closing_server();
    let workspace = Workspace::new()
        .with("list.json", LIST)
        .with("a.toml", &matrix(&[target("fedora", &[list(&url)])]))
        .with(
            "b.toml",
            &matrix(&[target("amazonlinux", &[list("list.json")])]),
        );
    let report = workspace.run(&["plan", "a.toml", "b.toml"]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert_eq!(
        lines(&report, &["8.1.0+driver/x86_64/amazonlinux"]).len(),
        1,
        "{report}"
    );
    assert!(report.contains("all of fedora amd64"), "{report}");
    assert_eq!(connections.load(Ordering::Relaxed), 1, "{report}");
}
