//! Tests of publishing to a directory, and to a simulated server with faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::json_schema::assert_fits;
use driverkit_matrix::bucket::BucketFault;
use driverkit_matrix::publish::{
    AccessLog, Destination, FindingKind, Index, Night, PruneRules, PublishError, PublishOptions,
    PublishReport, RowState, audit, items_of, plan_prune, publish, repair,
};
use driverkit_matrix::report::read_manifest;
use jiff::Timestamp;
use support::fake_s3::FakeS3;
use support::published::{MODULES, Module, NEW, OLD, key, write_out};
use support::workspace::Workspace;

mod audit;
mod transaction;

fn now() -> Timestamp {
    "2026-11-23T05:00:00Z".parse().unwrap()
}

/// Returns an empty server and the output directory of a run.
fn server_and_night() -> (FakeS3, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_out(folder.path(), "run-1", 0, &MODULES);
    (FakeS3::start(), folder)
}

/// Publishes an output directory through the library, with the default options.
async fn publish_out(server: &FakeS3, out: &Path) -> Result<PublishReport, PublishError> {
    publish_with(server, out, &PublishOptions::default()).await
}

async fn publish_with(
    server: &FakeS3,
    out: &Path,
    options: &PublishOptions,
) -> Result<PublishReport, PublishError> {
    let destination = Destination::open(&server.settings()).unwrap();
    let nights = [night(out)];
    let items = items_of(&nights, now());
    publish(&destination, &nights, &items, options, now()).await
}

fn night(out: &Path) -> Night {
    Night {
        out: out.to_owned(),
        manifest: read_manifest(out).unwrap(),
    }
}

fn states(report: &PublishReport) -> Vec<(&str, &RowState)> {
    let rows = report.rows.iter();
    rows.map(|row| (row.key.as_str(), &row.state)).collect()
}

fn class_of(state: &RowState) -> &str {
    match state {
        RowState::Failed { class, .. } => class,
        _ => "",
    }
}

/// Returns a workspace whose directory `to` contains a published run.
fn published() -> Workspace {
    let space = Workspace::new();
    std::fs::create_dir(space.path().join("to")).unwrap();
    write_out(&space.path().join("out"), "run-1", 0, &MODULES);
    let said = space.run(&["publish", "to"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(said.contains("3 published, 0 unchanged"), "{said}");
    space
}

#[test]
fn artifacts_index_sums_and_site_are_published() {
    let space = published();
    for (release, driver, content) in MODULES {
        assert_eq!(space.get(&format!("to/{}", key(release, driver))), content);
    }
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let schema = space.run(&["generate", "schema", "index"]);
    let schema = schema.strip_prefix("exit 0\n--- out\n").unwrap();
    assert_fits(schema, &space.get("to/index.json"));
    let entry = &index.artifacts[&key(MODULES[1].0, OLD)];
    assert_eq!(entry.kernel_release.as_str(), MODULES[1].0);
    assert_eq!(entry.size_bytes, 3);
    let site: serde_json::Value =
        serde_json::from_str(&space.get("to/site/0.20.0+driver.json")).unwrap();
    let driver = &site["drivers"][1];
    assert_eq!(driver["kind"], "kmod");
    assert_eq!(driver["kernelversion"], "1");
    assert_eq!(driver["sha256"], entry.sha256.to_string());
    assert_eq!(
        driver["download"],
        "0.20.0%2Bdriver/x86_64/falco_debian_6.1.0-2%2Bdeb~1-amd64_1.ko"
    );
    assert_eq!(
        space.get("to/site/index.json"),
        r#"["0.20.0+driver","0.23.2"]"#
    );
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(space.path().join("to"))
        .status();
    assert!(checked.unwrap().success());
}

#[tokio::test]
async fn names_with_plus_signs_are_found_only_if_escaped() {
    let (server, folder) = server_and_night();
    publish_out(&server, folder.path()).await.unwrap();
    let key = key(MODULES[1].0, OLD);
    let escaped = key.replace('+', "%2B");
    assert_ne!(escaped, key);
    for (name, content) in [(escaped, "two"), (key, "")] {
        let url = format!("{}/builds/p/{name}", server.variables()[0].1);
        let answer = Command::new("curl")
            .args(["-sf", "--noproxy", "*", &url])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout), content, "{name}");
    }
}

#[test]
fn second_publication_writes_nothing() {
    let space = published();
    let before = space.get("to/index.json");
    let said = space.run(&["publish", "to"]);
    assert!(said.contains("0 published, 3 unchanged"), "{said}");
    assert!(said.contains(" 0 of them writes"), "{said}");
    assert_eq!(space.get("to/index.json"), before);
}

#[test]
fn diff_and_stats_read_a_destination_like_an_output_directory() {
    let space = published();
    let more = [MODULES[0], MODULES[1]];
    write_out(&space.path().join("out"), "run-2", 1, &more);
    assert!(space.run(&["publish", "to"]).starts_with("exit 0\n"));
    let url = format!("file://{}/to", space.path().display());
    let said = space.run(&["diff", &url, "out"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(said.contains("unchanged            2"), "{said}");
    let said = space.run(&["stats", &url]);
    assert!(
        said.contains("2026-11-23") && said.contains("2026-11-24"),
        "{said}"
    );
    let said = space.run(&["report", &url, "--format", "csv"]);
    assert!(said.contains(MODULES[0].0), "{said}");
    std::fs::create_dir(space.path().join("empty")).unwrap();
    let said = space.run(&["stats", &format!("file://{}/empty", space.path().display())]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("has no manifests"),
        "{said}"
    );
}

#[test]
fn only_verified_artifacts_with_their_own_content_are_published() {
    let space = Workspace::new();
    std::fs::create_dir(space.path().join("to")).unwrap();
    let out = space.path().join("out");
    write_out(&out, "run-1", 0, &MODULES);
    let swapped = key(MODULES[0].0, OLD);
    space.put(&format!("out/{swapped}"), "1ne");
    space.put("out/0.23.2/x86_64/falco_debian_nobody_1.ko", "unknown");
    let said = space.run(&["publish", "to"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert!(
        said.contains(&format!("publish: failed  {swapped} (files)")),
        "{said}"
    );
    assert!(said.contains("2 published"), "{said}");
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    assert_eq!(index.artifacts.len(), 2);
    assert!(
        !space
            .path()
            .join("to/0.23.2/x86_64/falco_debian_nobody_1.ko")
            .exists()
    );
    assert!(!space.path().join("to").join(swapped).exists());
    let rows = space.get("out/.driverkit-matrix/published.jsonl");
    assert!(
        rows.contains(r#""publish":"failed","class":"files""#),
        "{rows}"
    );
}

#[test]
fn invalid_destination_is_refused_and_nothing_is_changed() {
    let space = published();
    space.put("other/index.json", "{\"schema\": \"html\"}");
    for (to, words) in [
        ("nowhere", "create the directory"),
        ("other", "not an index of driverkit-matrix"),
        ("ftp://host/a", "invalid bucket"),
    ] {
        let said = space.run(&["publish", to]);
        assert!(said.starts_with("exit 2\n"), "{to}: {said}");
        assert!(said.contains(words), "{to}: {said}");
    }
    assert_eq!(space.get("other/index.json"), "{\"schema\": \"html\"}");
}

#[test]
fn manifests_of_shards_are_merged_into_one_index() {
    let space = Workspace::new();
    std::fs::create_dir(space.path().join("to")).unwrap();
    for (shard, module) in MODULES.iter().enumerate() {
        let out = space.path().join(format!("out-{shard}"));
        write_out(&out, &format!("run-{shard}"), 0, &[*module]);
    }
    let mut running: Vec<_> = (0..3)
        .map(|shard| {
            Command::new(assert_cmd::cargo::cargo_bin("driverkit-matrix"))
                .args(["publish", &format!("out-{shard}"), "to"])
                .current_dir(space.path())
                .env("HOME", space.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in &mut running {
        assert!(process.wait().unwrap().success());
    }
    let said = space.run(&["publish", "out-0", "out-1", "out-2", "to"]);
    assert!(said.contains("0 published, 3 unchanged"), "{said}");
    assert!(said.contains(" 0 of them writes"), "{said}");
}
