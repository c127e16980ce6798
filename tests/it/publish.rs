//! Publishing to a directory, and to a server that goes wrong as it is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

fn now() -> Timestamp {
    "2026-11-23T05:00:00Z".parse().unwrap()
}

/// A server that has nothing, and the output directory of a night.
fn server_and_night() -> (FakeS3, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_out(folder.path(), "run-1", 0, &MODULES);
    (FakeS3::start(), folder)
}

/// Publishes an output directory through the interface, with the default options.
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

/// A directory that a run was published to.
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
fn artifacts_index_sums_and_site_are_at_the_destination() {
    let space = published();
    for (release, driver, content) in MODULES {
        assert_eq!(space.get(&format!("to/{}", key(release, driver))), content);
    }
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let schema = space.run(&["generate", "schema", "index"]);
    let schema = schema.strip_prefix("exit 0\n--- out\n").unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let value = serde_json::from_str(&space.get("to/index.json")).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(faults, Vec::<String>::new());
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
async fn loader_finds_names_with_plus_signs_if_they_are_escaped() {
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
fn destination_is_compared_and_counted_like_an_output_directory() {
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
        said.starts_with("exit 2\n") && said.contains("keeps no manifests"),
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
fn destination_that_is_wrong_is_told_and_nothing_is_changed() {
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
fn audit_finds_every_kind_and_repair_mends_what_can_be() {
    let space = published();
    let said = space.run(&["publish", "--audit", "to"]);
    assert!(
        said.starts_with("exit 0\n") && said.contains("3 artifacts as the index says"),
        "{said}"
    );
    // A URL with a mistake in it is no destination without faults.
    std::fs::create_dir(space.path().join("too")).unwrap();
    let said = space.run(&["publish", "--audit", "too"]);
    assert!(said.starts_with("exit 2\n"), "{said}");
    assert!(said.contains("nothing is published at"), "{said}");
    let keys: Vec<String> = MODULES
        .iter()
        .map(|module| key(module.0, module.1))
        .collect();
    std::fs::remove_file(space.path().join("to").join(&keys[0])).unwrap();
    space.put(&format!("to/{}", keys[1]), "2wo");
    space.put("to/0.23.2/x86_64/falco_debian_nobody_1.ko", "foreign");
    space.put("to/.logs/0.23.2/x86_64/gone.ko.log.zst", "log");
    space.put("to/SHA256SUMS", "");
    let more = [
        MODULES[0],
        MODULES[1],
        MODULES[2],
        ("6.1.0-9-amd64", NEW, "nine"),
    ];
    write_out(&space.path().join("out"), "run-2", 1, &more);
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    for words in [
        format!("missing       {}", keys[0]),
        format!("different     {}", keys[1]),
        "different     SHA256SUMS".to_owned(),
        format!("unpublished   {}", key("6.1.0-9-amd64", NEW)),
        "foreign       0.23.2/x86_64/falco_debian_nobody_1.ko".to_owned(),
        "orphaned-log  .logs/0.23.2/x86_64/gone.ko.log.zst".to_owned(),
    ] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    let said = space.run(&["publish", "--audit", "--repair", "out", "to"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert_eq!(said.matches("\nforeign").count(), 1, "{said}");
    assert!(
        said.contains("4 artifacts as the index says, 1 finding"),
        "{said}"
    );
    assert_eq!(space.get(&format!("to/{}", keys[1])), "two");
    // What nobody has is not promised any more.
    std::fs::remove_file(space.path().join("to").join(&keys[2])).unwrap();
    space.run(&["publish", "--audit", "--repair", "to"]);
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    assert!(!index.artifacts.contains_key(&keys[2]));
}

#[test]
fn prune_is_dry_until_told_refuses_too_much_and_can_be_undone() {
    let space = published();
    let old = key(MODULES[0].0, OLD);
    let said = space.run(&["prune", "to"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("no rule"),
        "{said}"
    );
    let said = space.run(&["prune", "to", "--newest-drivers", "1"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(
        said.contains(&format!(
            "remove  {old}: driver 0.20.0+driver is out of support"
        )),
        "{said}"
    );
    assert!(said.contains("nothing was removed"), "{said}");
    let said = space.run(&["prune", "to", "--newest-drivers", "1", "--yes"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("more than 20 %"),
        "{said}"
    );
    assert_eq!(space.get(&format!("to/{old}")), "one");
    let said = space.run(&["prune", "to", "--keep-driver", NEW, "--yes", "--yes-really"]);
    assert!(
        said.starts_with("exit 0\n") && said.contains("removed 2 artifacts"),
        "{said}"
    );
    assert!(!space.path().join("to").join(&old).exists());
    assert!(!space.path().join("to/site/0.20.0+driver.json").exists());
    assert!(
        space
            .run(&["publish", "--audit", "to"])
            .starts_with("exit 0\n")
    );
    let id = said.split("--undo ").nth(1).unwrap();
    let id = id.split('`').next().unwrap();
    let said = space.run(&["prune", "to", "--undo", id]);
    assert!(said.contains("brought back 2 artifacts"), "{said}");
    assert_eq!(space.get(&format!("to/{old}")), "one");
    assert!(
        space
            .run(&["publish", "--audit", "to"])
            .starts_with("exit 0\n")
    );
    let said = space.run(&["prune", "to", "--undo", id]);
    assert!(said.starts_with("exit 2\n"), "{said}");
}

#[test]
fn prune_keeps_kernels_of_the_newest_run_and_what_a_loader_asked_for() {
    let space = published();
    write_out(
        &space.path().join("out"),
        "run-2",
        40,
        &[MODULES[0], MODULES[2]],
    );
    space.run(&["publish", "to"]);
    let gone = key(MODULES[1].0, OLD);
    let said = space.run(&["prune", "to", "--gone-days", "40"]);
    assert!(said.contains("0 of 3 artifacts"), "{said}");
    let said = space.run(&["prune", "to", "--gone-days", "30"]);
    assert!(
        said.contains(&format!("remove  {gone}: the kernel is gone for 40 days")),
        "{said}"
    );
    assert!(said.contains("1 of 3 artifacts"), "{said}");
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let rules = PruneRules {
        gone_days: Some(30),
        ..PruneRules::default()
    };
    let escaped = gone.replace('+', "%2B").replace('~', "%7E");
    let twice = escaped.replace('%', "%25");
    for (line, is_kept) in [
        (format!("GET /driver/{escaped} HTTP/1.1"), true),
        (
            format!("o b [1] 1.2.3.4 - 5 REST.GET.OBJECT driver/{twice} \"GET /driver/x\" 200"),
            true,
        ),
        (format!("\"GET /driver/{gone}?a=b\" 200"), true),
        (
            format!("\"GET /driver/{gone}\" \"driverkit-matrix/0.1.0\""),
            false,
        ),
        ("GET /driver/0.23.2/x86_64/other.ko".to_owned(), false),
    ] {
        let mut log = AccessLog::default();
        log.add(&line, &index);
        let plan = plan_prune(&index, &rules, &log);
        assert_eq!(plan.asked_for.contains(&gone), is_kept, "{line}");
        assert_eq!(plan.remove.contains_key(&gone), !is_kept, "{line}");
    }
    space.put("access.log", &format!("GET /{escaped} 200\n"));
    let said = space.run(&[
        "prune",
        "to",
        "--gone-days",
        "30",
        "--access-log",
        "access.log",
    ]);
    assert!(
        said.contains(&format!("keep    {gone}: it was asked for")),
        "{said}"
    );
    space.put("access.log", "nothing\n");
    let said = space.run(&[
        "prune",
        "to",
        "--gone-days",
        "30",
        "--access-log",
        "access.log",
    ]);
    assert!(said.starts_with("exit 2\n"), "{said}");
}

#[test]
fn manifests_of_shards_feed_one_index() {
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

#[tokio::test]
async fn requests_are_few_and_the_index_is_the_last_write() {
    let (server, folder) = server_and_night();
    let options = PublishOptions {
        cache_control: Some("max-age=60".to_owned()),
        content_type: "application/x-object".to_owned(),
        with_logs: true,
        ..PublishOptions::default()
    };
    let report = publish_with(&server, folder.path(), &options)
        .await
        .unwrap();
    assert_eq!(report.count(|state| *state == RowState::Published), 3);
    let requests = server.requests();
    let puts: Vec<&str> = requests
        .iter()
        .filter_map(|one| one.strip_prefix("PUT p/"))
        .collect();
    assert_eq!(*puts.last().unwrap(), "index.json");
    // Artifacts and logs, run and rows, sums and three files of the site, the index.
    assert_eq!(puts.len(), 6 + 2 + 4 + 1, "{requests:?}");
    // The index is looked for once; one listing before and one after per driver version; nothing per artifact.
    assert_eq!(requests.len() - puts.len(), 1 + 2 + 2, "{requests:?}");
    let objects = server.objects();
    let stored = &objects[&format!("p/{}", key(MODULES[1].0, OLD))];
    assert_eq!(stored.body, b"two");
    assert_eq!(stored.headers["content-type"], "application/x-object");
    assert_eq!(stored.headers["cache-control"], "max-age=60");
    let entry = &report.index.artifacts[&key(MODULES[1].0, OLD)];
    assert_eq!(
        stored.headers["x-amz-meta-sha256"],
        entry.sha256.to_string()
    );
    assert!(objects.contains_key(&format!("p/{}", entry.log.as_ref().unwrap())));
    publish_with(&server, folder.path(), &options)
        .await
        .unwrap();
    assert_eq!(server.requests(), ["HEAD p/index.json", "GET p/index.json"]);
    // Another night with the same artifacts: its manifest and the index.
    write_out(folder.path(), "run-2", 1, &MODULES);
    publish_with(&server, folder.path(), &options)
        .await
        .unwrap();
    let requests = server.requests();
    let puts = requests.iter().filter(|one| one.starts_with("PUT")).count();
    assert_eq!(puts, 3, "{requests:?}");
}

#[tokio::test]
async fn changed_artifact_replaces_only_what_the_index_has() {
    let (server, folder) = server_and_night();
    publish_out(&server, folder.path()).await.unwrap();
    let changed = [
        (MODULES[0].0, OLD, "new"),
        (MODULES[1].0, OLD, "newer"),
        MODULES[2],
    ];
    write_out(folder.path(), "run-2", 1, &changed);
    // Somebody else wrote one of the two meanwhile.
    let theirs = format!("p/{}", key(MODULES[1].0, OLD));
    server.change(|objects| {
        let stored = objects.get_mut(&theirs).unwrap();
        stored.body = b"theirs".to_vec();
        stored.headers.remove("x-amz-meta-sha256");
    });
    let report = publish_out(&server, folder.path()).await.unwrap();
    let states: BTreeMap<_, _> = states(&report).into_iter().collect();
    assert_eq!(
        *states[key(MODULES[0].0, OLD).as_str()],
        RowState::Published
    );
    let refused = states[key(MODULES[1].0, OLD).as_str()];
    assert_eq!(class_of(refused), "changed", "{refused:?}");
    assert_eq!(server.objects()[&theirs].body, b"theirs");
    let destination = Destination::open(&server.settings()).unwrap();
    let found = audit(&destination, &[], false).await.unwrap();
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!(found.findings[0].kind, FindingKind::Different);
    let items = items_of(&[night(folder.path())], now());
    let options = PublishOptions::default();
    repair(&destination, &items, &options, now()).await.unwrap();
    assert_eq!(server.objects()[&theirs].body, b"newer");
    assert_eq!(
        audit(&destination, &items, true).await.unwrap().findings,
        []
    );
}

#[tokio::test]
async fn module_of_another_kernel_never_replaces_one() {
    let (server, folder) = server_and_night();
    let mut nights = [night(folder.path())];
    let destination = Destination::open(&server.settings()).unwrap();
    let options = PublishOptions::default();
    let items = items_of(&nights, now());
    publish(&destination, &nights, &items, &options, now())
        .await
        .unwrap();
    // Another kernel's build that a loader would ask for under the same name.
    for build in &mut nights[0].manifest.builds {
        let id = format!("{}-other", build.build_id);
        build.build_id = serde_json::from_value(id.into()).unwrap();
        for artifact in &mut build.artifacts {
            artifact.sha256 = Some(driverkit_matrix::digest::Sha256::of("other"));
        }
    }
    let items = items_of(&nights, now());
    let options = PublishOptions {
        replace_foreign: true,
        ..options
    };
    let report = publish(&destination, &nights, &items, &options, now())
        .await
        .unwrap();
    assert_eq!(report.count(RowState::is_failed), 3);
    assert_eq!(
        server.objects()[&format!("p/{}", key(MODULES[0].0, OLD))].body,
        b"one"
    );
}

#[tokio::test]
async fn names_of_a_destination_without_index_are_skipped_with_a_listing_each() {
    let (server, folder) = server_and_night();
    let theirs = format!("p/{}", key(MODULES[1].0, OLD));
    server.change(|objects| {
        objects.entry(theirs.clone()).or_default().body = b"dbg-go's".to_vec();
    });
    let report = publish_out(&server, folder.path()).await.unwrap();
    assert_eq!(report.count(RowState::is_failed), 1);
    server.change(|objects| objects.retain(|key, _| *key == theirs));
    server.requests();
    let options = PublishOptions {
        skip_published: true,
        ..PublishOptions::default()
    };
    let report = publish_with(&server, folder.path(), &options)
        .await
        .unwrap();
    assert_eq!(report.count(|state| *state == RowState::Skipped), 1);
    assert_eq!(report.count(|state| *state == RowState::Published), 2);
    assert_eq!(server.objects()[&theirs].body, b"dbg-go's");
    let requests = server.requests();
    let heads: Vec<_> = requests
        .iter()
        .filter(|one| one.starts_with("HEAD"))
        .collect();
    assert_eq!(heads, ["HEAD p/index.json"]);
}

#[tokio::test]
async fn publication_goes_on_where_an_upload_was_cut_or_interrupted() {
    let (server, folder) = server_and_night();
    // The last write never comes.
    server.fail(|method, key, _| {
        let is_index = method == "PUT" && key == "p/index.json";
        is_index.then_some((
            403,
            "application/xml",
            "<Error><Code>AccessDenied</Code></Error>",
        ))
    });
    let error = publish_out(&server, folder.path()).await.unwrap_err();
    assert!(matches!(&error, PublishError::Bucket(error) if error.fault == BucketFault::ReadOnly));
    // Of one upload half arrived.
    let half = format!("p/{}", key(MODULES[2].0, NEW));
    server.change(|objects| {
        objects.get_mut(&half).unwrap().body.truncate(2);
    });
    server.heal();
    server.requests();
    let report = publish_out(&server, folder.path()).await.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Found), 2);
    assert_eq!(report.count(|state| *state == RowState::Published), 1);
    assert_eq!(server.objects()[&half].body, b"three");
    let requests = server.requests();
    let artifacts = requests.iter().filter(|one| one.starts_with("PUT p/0"));
    assert_eq!(artifacts.count(), 1, "{requests:?}");
    assert_eq!(report.index.artifacts.len(), 3);
}

#[tokio::test]
async fn upload_that_is_cut_at_the_server_fails_its_row() {
    let (server, folder) = server_and_night();
    let cut = format!("p/{}", key(MODULES[2].0, NEW));
    let name = cut.clone();
    server.fail(move |method, key, objects| {
        if method == "GET"
            && key.is_empty()
            && let Some(stored) = objects.get_mut(&name)
        {
            stored.body.truncate(2);
        }
        None
    });
    let report = publish_out(&server, folder.path()).await.unwrap();
    let failed: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.state.is_failed())
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (class_of(&failed[0].state), format!("p/{}", failed[0].key)),
        ("damaged", cut)
    );
    assert_eq!(report.index.artifacts.len(), 2);
}

#[tokio::test]
async fn busy_server_is_asked_again_and_a_refusing_one_is_not() {
    let (server, folder) = server_and_night();
    let mut left = 4;
    server.fail(move |method, key, _| {
        let is_refused = method == "PUT" && key.starts_with("p/0") && left > 0;
        left -= usize::from(is_refused);
        let answer = if left % 2 == 0 { 429 } else { 503 };
        is_refused.then_some((
            answer,
            "application/xml",
            "<Error><Code>SlowDown</Code></Error>",
        ))
    });
    let report = publish_out(&server, folder.path()).await.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Published), 3);
    let cases = [
        (
            200,
            "text/html",
            "<!DOCTYPE html><html>Log in</html>",
            "not-an-object-store",
        ),
        (
            403,
            "application/xml",
            "<Error><Code>AccessDenied</Code></Error>",
            "read-only",
        ),
        (
            403,
            "application/xml",
            "<Error><Code>RequestTimeTooSkewed</Code></Error>",
            "clock-skew",
        ),
        (407, "text/html", "<html>proxy</html>", "proxy"),
    ];
    for (status, kind, body, class) in cases {
        let server = FakeS3::start();
        server.fail(move |method, key, _| {
            (method == "PUT" && key.starts_with("p/0")).then_some((status, kind, body))
        });
        let options = PublishOptions {
            uploads: 1,
            ..PublishOptions::default()
        };
        let report = publish_with(&server, folder.path(), &options)
            .await
            .unwrap();
        assert_eq!(class_of(&report.rows[0].state), class, "{:?}", report.rows);
        assert_eq!(report.count(RowState::is_failed), 3);
        let puts = server
            .requests()
            .into_iter()
            .filter(|one| one.starts_with("PUT"));
        assert_eq!(puts.count(), 1, "{class}");
    }
}

#[tokio::test]
async fn destination_that_may_not_be_listed_is_published_to() {
    let (server, folder) = server_and_night();
    let forbid = |method: &str, key: &str, _: &mut _| {
        let is_list = method == "GET" && key.is_empty();
        is_list.then_some((
            403,
            "application/xml",
            "<Error><Code>AccessDenied</Code></Error>",
        ))
    };
    server.fail(forbid);
    let report = publish_out(&server, folder.path()).await.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Published), 3);
    server.change(|objects| {
        objects.remove("p/index.json");
    });
    let report = publish_out(&server, folder.path()).await.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Found), 3);
    let destination = Destination::open(&server.settings()).unwrap();
    let error = audit(&destination, &[], false).await.unwrap_err();
    assert!(error.help().unwrap().contains("list"), "{error}");
}

#[tokio::test]
async fn publications_at_once_lose_nothing() {
    let server = FakeS3::start();
    let folder = tempfile::tempdir().unwrap();
    let outs: Vec<_> = (0..3)
        .map(|shard| folder.path().join(shard.to_string()))
        .collect();
    for (shard, out) in outs.iter().enumerate() {
        write_out(out, &format!("run-{shard}"), 0, &[MODULES[shard]]);
    }
    let (one, two, three) = tokio::join!(
        publish_out(&server, &outs[0]),
        publish_out(&server, &outs[1]),
        publish_out(&server, &outs[2]),
    );
    for report in [one, two, three] {
        assert_eq!(
            report.unwrap().count(|state| *state == RowState::Published),
            1
        );
    }
    let destination = Destination::open(&server.settings()).unwrap();
    let index = destination.index().await.unwrap().unwrap();
    assert_eq!(index.artifacts.len(), 3);
    assert_eq!(index.manifests.len(), 3);
    assert_eq!(audit(&destination, &[], true).await.unwrap().findings, []);
}

#[test]
fn killed_publication_is_continued_and_no_credential_is_written() {
    let server = FakeS3::start();
    let space = Workspace::new();
    let names: Vec<String> = (0..40)
        .map(|number| format!("6.1.0-{number}-amd64"))
        .collect();
    let modules: Vec<Module<'_>> = names.iter().map(|name| (name.as_str(), NEW, "x")).collect();
    write_out(&space.path().join("out"), "run-1", 0, &modules);
    let uploaded = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&uploaded);
    server.fail(move |method, key, _| {
        if method == "PUT" && key.starts_with("p/0") {
            *counter.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    });
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("driverkit-matrix"));
    command
        .args(["publish", "--uploads", "2", "s3://builds/p"])
        .current_dir(space.path())
        .env_clear()
        .env("HOME", space.path())
        .envs(server.variables());
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    while *uploaded.lock().unwrap() < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.heal();
    assert!(!server.objects().contains_key("p/index.json"));
    let before = server.objects().len();
    assert!(before < 40, "{before}");
    server.requests();
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("{} published", 40 - before)),
        "{said}"
    );
    assert!(said.contains(&format!("{before} found")), "{said}");
    // Wrong answers show no credential either.
    server.fail(|_, _, _| {
        let body =
            "<Error><Code>InvalidAccessKeyId</Code><Message>planted-key-id</Message></Error>";
        Some((403, "application/xml", body))
    });
    let output = command.output().unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{refused}");
    assert!(refused.contains("AWS_ACCESS_KEY_ID"), "{refused}");
    assert!(
        !format!("{said}{refused}").contains("planted"),
        "{said}{refused}"
    );
    for (name, stored) in server.objects() {
        assert!(
            !String::from_utf8_lossy(&stored.body).contains("planted"),
            "{name}"
        );
    }
    for entry in walkdir::WalkDir::new(space.path()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(
                !String::from_utf8_lossy(&bytes).contains("planted"),
                "{entry:?}"
            );
        }
    }
}
