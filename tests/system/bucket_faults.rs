//! Buckets that refuse requests, return wrong responses or contain old data: the messages, the exit codes, and that
//! nothing is lost.

use std::path::Path;

use driverkit_matrix::fs;
use support::fake_s3::{FakeS3, Fault};
use support::grid::Grid;
use support::object_store::ObjectStore;

type Variables = Vec<(String, String)>;

/// A response; the exit codes of a store, a publication and a reader; a part of the message; and the advice.
type Case<'a> = (Fault, (i32, i32, i32), &'a str, &'a str);

/// Runs the program with the variables of a server; returns the exit code and the output.
fn said(grid: &Grid, variables: &Variables, words: &[&str]) -> (i32, String) {
    let variables = variables.iter().map(|(name, value)| (name, value));
    let output = grid.program(words).envs(variables).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("planted-"), "{text}");
    (output.status.code().unwrap(), text)
}

fn run(grid: &Grid, variables: &Variables, words: &[&str]) -> (i32, String) {
    let run = [
        "run",
        "matrix.toml",
        "--executor",
        "fake",
        "--store-trusted",
    ];
    said(grid, variables, &[&run, words].concat())
}

fn with(variables: &Variables, name: &str, value: &str) -> Variables {
    let mut variables = variables.clone();
    variables.retain(|(known, _)| known != name);
    variables.push((name.to_owned(), value.to_owned()));
    variables
}

/// Asserts that no file contains a credential.
fn assert_clean(folder: &Path) {
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = bytes.windows(8).any(|part| part == b"planted-");
            assert!(!has, "{}", entry.path().display());
        }
    }
}

/// Asserts the exit codes of a run with a shared store, of a publication and of a reader of a destination, and that
/// their messages contain one of `words` and the advice.
fn assert_refused(
    variables: &Variables,
    bucket: &str,
    codes: (i32, i32, i32),
    words: &[&str],
    advice: &str,
) {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let built = fs::read(&grid.path(MODULE)).unwrap();
    let store = format!("{bucket}/store");
    let other = ["--cache", "cache-b", "--out", "out-b"];
    let stored = run(
        &grid,
        variables,
        &[&["--store", &store], &other[..]].concat(),
    );
    let published = said(&grid, variables, &["publish", &format!("{bucket}/driver")]);
    let read = said(&grid, variables, &["stats", &format!("{bucket}/driver")]);
    let expected = [codes.0, codes.1, codes.2];
    for ((code, text), expected) in [stored, published, read].into_iter().zip(expected) {
        assert_eq!(code, expected, "{text}");
        // A reader with read permission finds nothing wrong with an empty destination.
        if text.contains("has no manifests") {
            continue;
        }
        assert!(
            words.iter().any(|word| text.contains(word)),
            "{words:?}: {text}"
        );
        assert!(text.contains(advice), "{text}");
    }
    // No build was started, and nothing is lost.
    assert_eq!(grid.jobs(), [""; 0]);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), built);
    assert_clean(&grid.path(""));
}

const MODULE: &str = "out/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";

#[test]
fn refusals_of_a_server_are_reported_with_advice_and_exit_codes() {
    let server = ObjectStore::s3();
    let good = server.variables();
    let secret = with(&good, "AWS_SECRET_ACCESS_KEY", "planted-wrong-secret");
    assert_refused(
        &secret,
        "s3://builds",
        (2, 3, 3),
        &["SignatureDoesNotMatch"],
        "set AWS_ACCESS_KEY_ID",
    );
    let key = with(&good, "AWS_ACCESS_KEY_ID", "planted-wrong-key");
    let words = ["InvalidAccessKeyId", "XAdminUserNotFound"];
    assert_refused(
        &key,
        "s3://builds",
        (2, 3, 3),
        &words,
        "set AWS_ACCESS_KEY_ID",
    );
    let region = with(&good, "AWS_REGION", "eu-west-9");
    let words = ["AuthorizationHeaderMalformed", "region"];
    assert_refused(&region, "s3://builds", (2, 3, 3), &words, "set AWS_REGION");
    let words = ["NoSuchBucket"];
    assert_refused(
        &good,
        "s3://nowhere",
        (2, 2, 2),
        &words,
        "create the bucket",
    );

    let server = ObjectStore::s3_with(|command| {
        command.arg("--readonly");
    });
    let words = ["AccessDenied", "read-only"];
    assert_refused(
        &server.variables(),
        "s3://builds",
        (2, 3, 2),
        &words,
        "allow these credentials to write",
    );
    // A read-only store needs no write permission.
    let grid = Grid::new();
    let words = ["--store", "s3://builds/store", "--store-read-only"];
    let (code, text) = run(&grid, &server.variables(), &words);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn responses_of_other_servers_are_reported_with_advice_and_exit_codes() {
    const PAGE: &str = "<!DOCTYPE html><html><body>Log in</body></html>";
    let cases: [Case<'_>; 3] = [
        (
            (200, "text/html", PAGE),
            (2, 3, 3),
            "the response is an HTML page",
            "check AWS_ENDPOINT_URL",
        ),
        (
            (407, "text/html", PAGE),
            (3, 3, 3),
            "status 407",
            "check HTTPS_PROXY",
        ),
        (
            (
                403,
                "application/xml",
                "<Error><Code>RequestTimeTooSkewed</Code><Message>late</Message></Error>",
            ),
            (2, 3, 3),
            "RequestTimeTooSkewed",
            "set this machine's clock",
        ),
    ];
    for (fault, codes, words, advice) in cases {
        let server = FakeS3::start();
        server.fail(move |_, _, _| Some(fault));
        let variables = server.variables();
        assert_refused(&variables, "s3://builds", codes, &[words], advice);
        // The same response from a proxy in front of a working server.
        let well = FakeS3::start();
        let variables = with(&well.variables(), "HTTP_PROXY", &variables[0].1);
        assert_refused(&variables, "s3://builds", codes, &[words], advice);
        assert_eq!(well.requests(), [""; 0]);
    }
}

#[test]
fn a_bucket_without_list_permission_is_no_store_but_a_destination() {
    let server = FakeS3::start();
    server.fail(|method, key, _| {
        let refusal = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        (method == "GET" && key.is_empty()).then_some((403, "application/xml", refusal))
    });
    let grid = Grid::new();
    let variables = server.variables();
    let (code, text) = run(&grid, &variables, &["--store", "s3://builds/store"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("to list the bucket (s3:ListBucket"), "{text}");
    let to = ["--publish", "s3://builds/driver"];
    let (code, text) = run(
        &grid,
        &variables,
        &[&to[..], &["--skip-published"]].concat(),
    );
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("to list the bucket (s3:ListBucket"), "{text}");
    assert_eq!(grid.jobs(), [""; 0]);
    let (code, text) = run(&grid, &variables, &to);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 published"), "{text}");
}

#[test]
fn a_versioned_bucket_with_incomplete_uploads_works() {
    let server = ObjectStore::s3_versioned();
    let grid = Grid::new();
    let variables = server.variables();
    for key in ["store/contents/ab/large", "driver/one/x86_64/large.ko"] {
        let begun = server.request("POST", &format!("/{key}?uploads="), "");
        let id = begun.split("<UploadId>").nth(1).unwrap();
        let id = id.split('<').next().unwrap();
        let part = format!("/{key}?partNumber=1&uploadId={id}");
        assert!(server.request("PUT", &part, "half of it").ends_with("200"));
    }
    let night = |out: &str| {
        let words = [
            "--store",
            "s3://builds/store",
            "--publish",
            "s3://builds/driver",
        ];
        let machine = ["--cache", &format!("cache-{out}"), "--out", out];
        let (code, text) = run(&grid, &variables, &[&words[..], &machine].concat());
        assert_eq!(code, 0, "{text}");
        text
    };
    let shown = |words: &[&str]| {
        let (code, text) = said(&grid, &variables, words);
        assert_eq!(code, 0, "{text}");
        text
    };
    assert!(night("a").contains("1 published"));
    grid.write_driver("driver", "the next night");
    grid.write(
        "module.ko",
        [support::grid::module(support::grid::RELEASE), vec![0]].concat(),
    );
    // The index, the store's packs and an artifact are replaced; the bucket keeps the old versions.
    let text = night("b");
    assert!(text.contains("1 published"), "{text}");
    grid.jobs();
    night("c");
    assert_eq!(grid.jobs(), [""; 0]);
    shown(&[
        "store",
        "gc",
        "--store",
        "s3://builds/store",
        "--store-trusted",
        "--grace-days",
        "0",
    ]);
    shown(&[
        "publish",
        "--audit",
        "--read-contents",
        "c",
        "s3://builds/driver",
    ]);
    let prune = [
        "prune",
        "s3://builds/driver",
        "--keep-driver",
        "none",
        "--yes",
        "--yes-really",
    ];
    let text = shown(&prune);
    assert!(text.contains("removed 1 artifact"), "{text}");
    let id = text.split("--undo ").nth(1).unwrap();
    let id = id.split('`').next().unwrap();
    shown(&["prune", "s3://builds/driver", "--undo", id]);
    shown(&["publish", "--audit", "c", "s3://builds/driver"]);
    night("d");
    assert_eq!(grid.jobs(), [""; 0]);
    assert_clean(&grid.path(""));
    assert_clean(&server.folder());
}

#[test]
fn a_changed_object_is_not_overwritten_and_is_reported_with_advice() {
    const OBJECT: &str = "driver/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";
    let server = ObjectStore::s3();
    let grid = Grid::new();
    let variables = server.variables();
    let publish = ["publish", "s3://builds/driver"];
    assert_eq!(grid.run(&[]).0, 0);
    let (code, text) = said(&grid, &variables, &publish);
    assert_eq!(code, 0, "{text}");
    grid.write_driver("driver", "the next night");
    grid.write(
        "module.ko",
        [support::grid::module(support::grid::RELEASE), vec![0]].concat(),
    );
    assert_eq!(grid.run(&[]).0, 0);
    let answer = server.request("PUT", &format!("/{OBJECT}"), "theirs");
    assert!(answer.ends_with("200"), "{answer}");
    let (code, text) = said(&grid, &variables, &publish);
    assert_eq!(code, 1, "{text}");
    for expected in [
        "(changed): the object differs from the index",
        "help: another program wrote it",
        "--replace-foreign",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let object = server.folder().join(OBJECT);
    assert_eq!(std::fs::read_to_string(&object).unwrap(), "theirs");
    let (code, text) = said(
        &grid,
        &variables,
        &[&publish[..], &["--replace-foreign"]].concat(),
    );
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        fs::read(&object).unwrap(),
        fs::read(&grid.path(MODULE)).unwrap()
    );
    assert_clean(&grid.path(""));
}
