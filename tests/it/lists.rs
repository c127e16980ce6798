//! Tests of kernel lists in the forms in which servers and users provide them, through the binary.

use std::fmt::Write as _;
use std::io::Write as _;

use httptest::matchers::request;
use httptest::responders::status_code;
use httptest::{Expectation, Server};
use support::workspace::Workspace;

const LIST: &str = r#"{"CentOS": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"}]}"#;

/// Returns a matrix in which every `[[target]]` reads `list.json`.
fn matrix(names: &[&str], selection: &str) -> String {
    let targets = names.iter().map(|name| {
        format!(
            "[[target]]\nname = \"{name}\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = \"list.json\" }}{selection} }}\n"
        )
    });
    let targets: String = targets.collect();
    format!("drivers = [\"8.1.0+driver\"]\n{targets}")
}

fn workspace(list: &[u8]) -> Workspace {
    let workspace = Workspace::new().with("m.toml", &matrix(&["*"], ""));
    driverkit_matrix::fs::write(&workspace.path().join("list.json"), list).unwrap();
    workspace
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(mark: bool, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let text = format!("{mark}{LIST}");
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn lists_compressed_or_in_other_encodings_are_decoded() {
    let marked = format!("\u{feff}{LIST}");
    for list in [
        gzip(LIST.as_bytes()),
        marked.clone().into_bytes(),
        gzip(marked.as_bytes()),
        utf16(true, u16::to_le_bytes),
        utf16(true, u16::to_be_bytes),
        utf16(false, u16::to_le_bytes),
        utf16(false, u16::to_be_bytes),
        gzip(&utf16(true, u16::to_le_bytes)),
    ] {
        let report = workspace(&list).run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 0\n"), "{list:?}: {report}");
        assert!(report.contains("m.lock  *             1"), "{report}");
    }
}

#[test]
fn content_that_is_no_list_is_named_in_the_error() {
    let cut = gzip(LIST.as_bytes());
    for (list, expected) in [
        (
            b"\xef\xbb\xbf\n<?xml version='1.0'?><html>".as_slice(),
            "list.json is not a kernel list: it is a web page (HTML or XML)",
        ),
        (b"<div>moved</div>", "it is a web page"),
        (b" \n", "it is empty"),
        (
            b"\x28\xb5\x2f\xfd\x04\x00",
            "it is compressed with zstd: decompress it, or compress it with gzip",
        ),
        (b"\xfd7zXZ\x00\x00", "it is compressed with xz"),
        (b"BZh91AY", "it is compressed with bzip2"),
        (&cut[..20], "it is damaged gzip"),
        (b"{\"a\":\n\"\xff\"}", "line 2 has bytes that are not UTF-8"),
        (
            b"{\"a\":\n 3}",
            "expected an array of kernels as the value of `a` at line 2",
        ),
        (
            b"Not found\n",
            "it starts with `Not found`, use the URL of kernel-crawler's JSON",
        ),
        (
            b"{\"a\": [",
            "at line 1 column 7: the file is cut off, download it again",
        ),
        (
            b"[]",
            "expected an object with an array of kernels for each distribution",
        ),
    ] {
        let report = workspace(list).run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 2\n"), "{report}");
        assert!(report.contains(expected), "{expected}: {report}");
        assert!(report.contains("m.toml:4:"), "{report}");
    }
}

#[test]
fn entries_of_a_duplicate_key_are_merged() {
    let list = r#"{"CentOS": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"}],
        "CentOS": [{"kernelrelease": "5.14.0-2.el9.x86_64", "target": "centos"}]}"#;
    let workspace = workspace(list.as_bytes());
    assert!(workspace.run(&["lock", "m.toml"]).starts_with("exit 0\n"));
    assert_eq!(workspace.get("m.lock").lines().count(), 3);
}

#[test]
fn every_skipped_entry_can_be_listed_with_its_line() {
    let list = r#"{"CentOS": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"},
        {"kernelrelease": "one", "target": "centos"}, 7,
        {"kernelrelease": "two", "target": "centos"},
        {"kernelrelease": "6.1", "target": "centos", "headers": ["a", 1]},
        {"kernelrelease": "6.1"}]}"#;
    let workspace = workspace(list.as_bytes());
    let short = workspace.run(&["lock", "m.toml"]);
    assert!(
        short.contains("list.json: 5 skipped: line 2, CentOS[1]: "),
        "{short}"
    );
    assert!(
        short.contains("and 2 more (`lock --all` lists them)"),
        "{short}"
    );
    let long = workspace.run(&["lock", "m.toml", "--all"]);
    for expected in [
        "! skipped list.json: line 2, CentOS[1]: kernel release `one` does not start with a number",
        "! skipped list.json: line 2, CentOS[2]: it is a number, expected an object",
        "! skipped list.json: line 3, CentOS[3]: ",
        "! skipped list.json: line 4, CentOS[4]: `headers` is an array with values that are not strings",
        "! skipped list.json: line 5, CentOS[5]: missing field `target`",
    ] {
        assert!(long.contains(expected), "{expected}: {long}");
    }
    let json = workspace.run(&["lock", "m.toml", "--format", "json"]);
    let listed = json
        .lines()
        .filter(|line| line.trim_start().starts_with("\"list.json: line"))
        .count();
    assert_eq!(listed, 5, "{json}");
}

#[test]
fn control_characters_of_a_list_do_not_reach_the_terminal() {
    let list = "{\"Cent\\u001b[2JOS\\u009b\\u202e\": [{\"kernelrelease\": \"5.14.0-1.el9.x86_64\", \"target\": \"centos\"},
        {\"kernelrelease\": \"\\u001b]0;title\\u0007\", \"target\": \"centos\"}]}";
    let workspace = workspace(list.as_bytes());
    let report = workspace.run(&["lock", "m.toml", "--all"]);
    assert!(
        report.contains("1 skipped: line 2, Cent\u{fffd}[2JOS\u{fffd}\u{fffd}[1]: "),
        "{report}"
    );
    assert!(
        report.contains("! skipped list.json: line 2, Cent\u{fffd}[2JOS"),
        "{report}"
    );
    let is_foreign = |found: char| found.is_control() && found != '\n';
    assert!(!report.contains(is_foreign), "{report:?}");
}

#[test]
fn skipped_entries_are_reported_once_for_several_targets() {
    let list = r#"{"A": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"},
        {"kernelrelease": "5.14.0-1.el9.x86_64", "target": "rocky"}, 1]}"#;
    let workspace = workspace(list.as_bytes());
    workspace.put("m.toml", &matrix(&["centos", "rocky", "centos"], ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert_eq!(report.matches("1 skipped").count(), 1, "{report}");
    for label in ["centos  ", "rocky   ", "centos#2"] {
        assert!(
            report.contains(&format!("m.lock  {label}        1")),
            "{report}"
        );
    }
}

#[test]
fn import_of_a_url_is_refused_with_the_reason() {
    let workspace = Workspace::new();
    for list in [
        "http://127.0.0.1:9/x86_64/list.json",
        "amd64=https://127.0.0.1:9/list.json",
    ] {
        let report = workspace.run(&["import", list, "--driver", "8.1.0+driver"]);
        assert!(report.starts_with("exit 2\n"), "{report}");
        assert!(
            report.contains("import reads files and directories, not URLs: http"),
            "{report}"
        );
        assert!(report.contains("help: download the list first"), "{report}");
    }
}

#[test]
fn refused_missing_and_failing_lists_have_one_exit_code() {
    for status in [403, 404, 500] {
        let server = Server::run();
        server.expect(
            Expectation::matching(request::path("/list.json"))
                .times(1..)
                .respond_with(status_code(status)),
        );
        let url = server.url_str("/list.json");
        let workspace = Workspace::new().with(
            "m.toml",
            &format!(
                "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", url = {{ amd64 = \"{url}\" }} }}\n"
            ),
        );
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 3\n"), "{status}: {report}");
        assert!(report.contains(&url), "{report}");
        assert!(report.contains(&status.to_string()), "{report}");
        assert!(report.contains("error: m.toml:4:"), "{report}");
        // Mirrors do not apply to the URL of a list.
        assert!(
            report.contains("help: check the URL of the list in the matrix, or copy m.lock"),
            "{report}"
        );
    }
}

#[test]
fn conditions_of_match_are_combined_with_and_unless_any_is_used() {
    let list = r#"{"A": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"},
        {"kernelrelease": "5.14.0-2.el9.x86_64", "target": "centos"},
        {"kernelrelease": "4.18.0-1.el8.x86_64", "target": "centos"}]}"#;
    let workspace = workspace(list.as_bytes());
    for (selection, count) in [
        (r#", match = [">=5", "*-1.*"]"#, 1),
        (r#", match = { any = [">=5", "*-1.*"] }"#, 3),
        (r#", match = { any = ["4.*", "*-2.*"] }"#, 2),
        (r#", match = { all = ">=5", any = ["*-1.*"] }"#, 1),
    ] {
        workspace.put("m.toml", &matrix(&["centos"], selection));
        let plan = workspace.run(&["plan", "m.toml"]);
        assert!(
            plan.contains(&format!("Plan of 1 matrix: {count} kernel")),
            "{selection}: {plan}"
        );
    }
    workspace.put(
        "m.toml",
        &matrix(&["centos"], ", match = { some = \"5.*\" }"),
    );
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(report.contains("unknown key `some` in `match`"), "{report}");
    assert!(report.contains("write match = { any = "), "{report}");
}

#[test]
fn matching_all_rules_together_equals_matching_one_by_one() {
    let list = r#"{"A": [{"kernelrelease": "5.14.0-1.el9.x86_64", "target": "centos"},
        {"kernelrelease": "5.14.0-2.el9.x86_64", "target": "centos"},
        {"kernelrelease": "5.14.0-2.el9.x86_64", "target": "rocky"},
        {"kernelrelease": "4.18.0-1.el8.x86_64", "target": "centos"},
        {"kernelrelease": "5.10.1-1.el8.x86_64", "target": "rocky"}]}"#;
    let workspace = workspace(list.as_bytes());
    let mut rules = matrix(&["*"], "");
    for rule in [
        r#"target = "centos", kernel = ["*-2.*", "9.*"]"#,
        r#"target = "r*", kernel = ">=5.14""#,
        r#"kernel = "4.18.0-1.el8.x86_64""#,
        r#"target = "debian""#,
        r#"architecture = "arm64""#,
    ] {
        let rule = rule.replace(", kernel", "\nkernel");
        writeln!(rules, "[[exclude]]\n{rule}").unwrap();
    }
    for number in 0..20 {
        writeln!(rules, "[[exclude]]\nkernel = \"7.{number}-*\"").unwrap();
    }
    workspace.put("m.toml", &rules);
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.contains("Plan of 1 matrix: 2 kernels"), "{report}");
    assert!(report.contains("exclude          3"), "{report}");
    assert_eq!(
        report.matches("this [[exclude]] matches nothing").count(),
        10,
        "{report}"
    );
    assert!(
        report.contains("m.toml: 12 more rules match nothing, on lines "),
        "{report}"
    );
}
