//! Tests of wrong responses in place of an index or a list: each has a clear message and leaves the old lock unchanged.

use std::fmt::Write as _;

use driverkit_matrix::digest::Sha256;
use httptest::matchers::{any, request};
use httptest::responders::{cycle, status_code};
use httptest::{Expectation, Server};

use support::archive::linux;
use support::locks::{lines, name};
use support::workspace::Workspace;

const OLD: &str = "{\"lock\":1,\"sources\":{}}\n";

/// Each kind of source that reads from a server: the target and its `kernels`, with `URL` for the address.
const SOURCES: [(&str, &str); 8] = [
    (
        "debian",
        "{ from = \"mirror\", url = \"URL\", suites = [\"bookworm\"] }",
    ),
    (
        "ubuntu",
        "{ from = \"mirror\", url = \"URL\", suites = [\"jammy\"] }",
    ),
    ("centos", "{ from = \"mirror\", url = \"URL\" }"),
    (
        "fedora",
        "{ from = \"mirror\", url = \"URL/$release/$arch\" }",
    ),
    ("arch", "{ from = \"mirror\", url = \"URL\" }"),
    ("flatcar", "{ from = \"mirror\", url = \"URL\" }"),
    (
        "centos",
        "{ from = \"kernel-crawler\", url = { amd64 = \"URL/list.json\" } }",
    ),
    ("centos", "{ from = \"csv\", path = \"URL/list.csv\" }"),
];

/// Returns the output of `lock` for each source whose server is at `address`.
fn refused(address: &str) -> Vec<String> {
    let refused = |(target, kernels): &(&str, &str)| {
        let kernels = kernels.replace("URL", address.trim_end_matches('/'));
        let workspace = Workspace::new().with("m.lock", OLD).with(
            "m.toml",
            &format!("drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\"]\n[[target]]\nname = {target:?}\nkernels = {kernels}\n"),
        );
        let report = workspace.run(&["lock", "m.toml"]);
        assert_eq!(workspace.get("m.lock"), OLD, "{report}");
        assert!(
            !report.starts_with("exit 0") && !report.starts_with("exit 1\n"),
            "{report}"
        );
        assert!(report.contains(address.trim_end_matches('/')), "{report}");
        report
    };
    SOURCES.iter().map(refused).collect()
}

/// A server that answers every request with the same response.
fn server(status: u16, headers: &[(&'static str, String)], body: &'static str) -> Server {
    let server = Server::run();
    let mut response = status_code(status).body(body);
    for (name, value) in headers {
        response = response.insert_header(*name, value.as_str());
    }
    server.expect(
        Expectation::matching(any())
            .times(..)
            .respond_with(response),
    );
    server
}

#[test]
fn a_server_that_answers_everything_with_a_page_is_refused() {
    let page = "<!DOCTYPE html>\n<html><h1>Welcome</h1><a href=\"/\">home</a></html>";
    let server = server(200, &[], page);
    for report in refused(&server.url_str("")) {
        let is_told =
            report.contains("is a web page") || report.contains("its page has no link to");
        assert!(report.starts_with("exit 2") && is_told, "{report}");
    }
}

#[test]
fn endless_redirects_are_refused() {
    let server = Server::run();
    let to = server.url_str("/again");
    let response = status_code(302).insert_header("Location", to);
    server.expect(
        Expectation::matching(any())
            .times(..)
            .respond_with(response),
    );
    for report in refused(&server.url_str("")) {
        assert!(report.contains("redirects too often"), "{report}");
    }
}

#[test]
fn a_server_that_answers_403_is_an_infrastructure_error() {
    let server = support::server::Server::refusing("403 Forbidden");
    for report in refused(&server.address) {
        assert!(
            report.starts_with("exit 3") && report.contains("answered 403"),
            "{report}"
        );
    }
}

/// A server that asks for too long a wait is not retried; the message says how long it asked to wait.
#[test]
fn a_long_retry_after_is_an_infrastructure_error() {
    let server = server(429, &[("Retry-After", "3600".to_owned())], "");
    for report in refused(&server.url_str("")) {
        assert!(
            report.starts_with("exit 3") && report.contains("answered 429, asking to wait 3600 s"),
            "{report}"
        );
    }
}

fn list_matrix(server: &Server) -> String {
    format!(
        "drivers = [\"9.1.0+driver\"]\n[[target]]\nname = \"centos\"\nkernels = {{ from = \"kernel-crawler\", url = {{ amd64 = \"{}\" }} }}\n",
        server.url_str("/list.json")
    )
}

#[test]
fn a_server_that_is_busy_for_a_moment_is_retried() {
    let list = r#"{"centos": [{"kernelrelease": "4.18.0-80.el8.x86_64", "target": "centos"}]}"#;
    let server = Server::run();
    server.expect(
        Expectation::matching(request::path("/list.json"))
            .times(3)
            .respond_with(cycle![
                status_code(429).insert_header("Retry-After", "0"),
                status_code(503),
                status_code(200).body(list),
            ]),
    );
    let workspace = Workspace::new().with("m.toml", &list_matrix(&server));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(names, ["centos 4.18.0-80.el8.x86_64 #1 amd64"]);
}

/// A list that is cut off anywhere is invalid.
#[test]
fn truncated_lists_are_refused() {
    let list = r#"{"centos": [{"kernelrelease": "4.18.0-80.el8.x86_64", "target": "centos"}, {"kernelrelease": "4.18.0-81.el8.x86_64", "target": "centos"}]}"#;
    for (length, expected) in [
        (list.len() - 1, "EOF while parsing"),
        (90, "EOF while parsing"),
        (0, "it is empty"),
    ] {
        let server = Server::run();
        server.expect(
            Expectation::matching(request::path("/list.json"))
                .times(..)
                .respond_with(status_code(200).body(&list[..length])),
        );
        let workspace = Workspace::new()
            .with("m.lock", OLD)
            .with("m.toml", &list_matrix(&server));
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            report.starts_with("exit 2")
                && report.contains(expected)
                && report.contains("list.json is not a kernel list"),
            "{report}"
        );
        assert_eq!(workspace.get("m.lock"), OLD);
    }
}

/// An archive whose index differs from its `Release` file.
#[test]
fn indexes_that_contradict_their_release_file_are_refused() {
    let index = linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"]);
    let cut = &index[..index.len() / 2];
    for (given, told, expected) in [
        (cut, index.as_str(), "expected"),
        ("other", index.as_str(), "expected"),
        (
            &index[1..],
            &index[..index.len() - 1],
            "but its repository lists",
        ),
    ] {
        let mut release = "Suite: bookworm\nSHA256:\n".to_owned();
        let digest = Sha256::of(told);
        writeln!(
            release,
            " {digest} {} main/binary-amd64/Packages",
            told.len()
        )
        .unwrap();
        let server = Server::run();
        for (file, body) in [
            ("Release", release.as_str()),
            ("main/binary-amd64/Packages", given),
        ] {
            let path = format!("/dists/bookworm/{file}");
            server.expect(
                Expectation::matching(request::path(path))
                    .times(..)
                    .respond_with(status_code(200).body(body.to_owned())),
            );
        }
        server.expect(
            Expectation::matching(request::path("/dists/bookworm/InRelease"))
                .times(..)
                .respond_with(status_code(404)),
        );
        let workspace = Workspace::new().with("m.lock", OLD).with(
            "m.toml",
            &format!(
                "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\"]\n[[target]]\nname = \"debian\"\nkernels = {{ from = \"mirror\", url = {:?}, suites = [\"bookworm\"] }}\n",
                server.url_str("/")
            ),
        );
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            report.starts_with("exit 3") && report.contains(expected),
            "{report}"
        );
        assert_eq!(workspace.get("m.lock"), OLD);
    }
}
