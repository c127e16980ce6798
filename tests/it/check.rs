//! Tests of `plan --check`: whether the files of a plan exist; answers are cached.

use serde_json::Value;
use support::server::Server;
use support::workspace::Workspace;

/// Returns a matrix of two kernels whose packages are on this server.
fn workspace(server: &str) -> Workspace {
    let kernel = |release: &str| {
        format!(
            "{{ release = \"{release}.amzn1.x86_64\", headers = [\"{server}/{release}.rpm\"] }}"
        )
    };
    Workspace::new()
        .with("driver/Makefile", "")
        .with(
            "m.toml",
            &format!(
                "drivers = [\"one\"]\nartifacts = [\"module\"]\n[driver.\"one\"]\nsource = {{ path = \"driver\" }}\n\
                 [[target]]\nname = \"amazonlinux\"\nkernels = [{}, {}]\n",
                kernel("4.14.10-1"),
                kernel("4.14.11-1")
            ),
        )
}

const CHECK: [&str; 3] = ["plan", "m.toml", "--check"];

#[test]
fn missing_files_are_named_and_answers_are_cached() {
    let files = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&files.path().join("4.14.10-1.rpm"), "").unwrap();
    let server = Server::of(files.path());
    let workspace = workspace(&server.address);
    let report = workspace.run(&CHECK);
    assert!(report.starts_with("exit 1\n"), "{report}");
    assert!(
        report.contains(
            "2 files: 0 in the cache, 0 listed with digests, 1 exist, 1 missing, 0 unknown"
        ),
        "{report}"
    );
    assert!(
        report.contains(&format!("{}/4.14.11-1.rpm", server.address))
            && !report.contains("earlier"),
        "{report}"
    );
    let requests = server.requests();
    let report = workspace.run(&CHECK);
    assert!(report.starts_with("exit 1\n"), "{report}");
    assert!(report.contains("2 answers from earlier checks"), "{report}");
    assert_eq!(server.requests(), requests, "{report}");
    // The file exists now, but only a new check finds it.
    driverkit_matrix::fs::write(&files.path().join("4.14.11-1.rpm"), "").unwrap();
    let answers = ".cache/driverkit-matrix/answers.json";
    let mut noted: Value = serde_json::from_str(&workspace.get(answers)).unwrap();
    let two_hours_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    for answer in noted["answers"].as_object_mut().unwrap().values_mut() {
        answer["at"] = two_hours_ago.to_string().into();
    }
    workspace.put(answers, &noted.to_string());
    let report = workspace.run(&[&CHECK[..], &["--check-age", "1h"]].concat());
    assert!(report.starts_with("exit 0\n"), "{report}");
    let report = workspace.run(&[&CHECK[..], &["--format", "json"]].concat());
    let json = report.split_once("--- out\n").unwrap().1;
    let json: Value = serde_json::from_str(json.split("--- err").next().unwrap()).unwrap();
    assert_eq!(json["exists"], 2, "{json}");
    let url = format!("{}/4.14.10-1.rpm", server.address);
    assert_eq!(json["files"][0]["url"], url, "{json}");
}

#[test]
fn files_of_an_unreachable_server_are_unknown_and_not_missing() {
    let report = workspace("http://127.0.0.1:9").run(&CHECK);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(report.contains("0 missing, 2 unknown"), "{report}");
    assert!(
        report.contains("127.0.0.1 could not be reached"),
        "{report}"
    );
    let refusing = Server::refusing("403 Forbidden");
    let report = workspace(&refusing.address).run(&CHECK);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(report.contains("127.0.0.1 answered 403"), "{report}");
}

#[test]
fn check_is_refused_offline_without_a_request() {
    let server = Server::refusing("404 Not Found");
    let report = workspace(&server.address).run(&[&CHECK[..], &["--offline"]].concat());
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(report.contains("help: omit --offline"), "{report}");
    assert_eq!(server.requests(), 0);
}
