//! Tests of publishing to a simulated server with faults.

use super::*;

#[tokio::test]
async fn publishing_needs_few_requests_and_writes_the_index_last() {
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
    // Artifacts and logs; run and rows; sums and three files of the site; the index.
    assert_eq!(puts.len(), 6 + 2 + 4 + 1, "{requests:?}");
    // One request reads the index; one listing before and one after for each driver version; no request per artifact.
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
    // A later run with the same artifacts writes its manifest and the index.
    write_out(folder.path(), "run-2", 1, &MODULES);
    publish_with(&server, folder.path(), &options)
        .await
        .unwrap();
    let requests = server.requests();
    let puts = requests.iter().filter(|one| one.starts_with("PUT")).count();
    assert_eq!(puts, 3, "{requests:?}");
}

#[tokio::test]
async fn changed_artifact_replaces_only_objects_in_the_index() {
    let (server, folder) = server_and_night();
    publish_out(&server, folder.path()).await.unwrap();
    let changed = [
        (MODULES[0].0, OLD, "new"),
        (MODULES[1].0, OLD, "newer"),
        MODULES[2],
    ];
    write_out(folder.path(), "run-2", 1, &changed);
    // Another program replaced one of the two in the meantime.
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
async fn module_of_another_kernel_is_never_overwritten() {
    let (server, folder) = server_and_night();
    let mut nights = [night(folder.path())];
    let destination = Destination::open(&server.settings()).unwrap();
    let options = PublishOptions::default();
    let items = items_of(&nights, now());
    publish(&destination, &nights, &items, &options, now())
        .await
        .unwrap();
    // The build of another kernel that a loader requests under the same name.
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
async fn without_an_index_existing_objects_are_found_by_listing() {
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
async fn interrupted_publication_is_continued() {
    let (server, folder) = server_and_night();
    // Writing the index fails.
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
    // One upload arrived only in part.
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
async fn truncated_upload_fails_its_row() {
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
async fn busy_server_is_retried_and_a_refusing_one_is_not() {
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
async fn destination_without_list_permission_can_be_published_to() {
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
async fn concurrent_publications_lose_nothing() {
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
    // The server stores ten artifacts; it answers the next request after the program was killed.
    let (full, is_full) = mpsc::channel();
    let (killed, is_killed) = mpsc::channel::<()>();
    let mut uploads = 0;
    server.fail(move |method, key, _| {
        if method != "PUT" || !key.starts_with("p/0") {
            return None;
        }
        uploads += 1;
        if uploads <= 10 {
            return None;
        }
        full.send(()).unwrap();
        assert!(is_killed.recv().is_err(), "nothing is sent");
        Some((503, "text/plain", ""))
    });
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("driverkit-matrix"));
    command
        .args(["publish", "--uploads", "1", "s3://builds/p"])
        .current_dir(space.path())
        .env_clear()
        .env("HOME", space.path())
        .envs(server.variables());
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    is_full.recv().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    drop(killed);
    server.heal();
    assert!(!server.objects().contains_key("p/index.json"));
    let before = server.objects().len();
    assert_eq!(before, 10);
    server.requests();
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("{} published", 40 - before)),
        "{said}"
    );
    assert!(said.contains(&format!("{before} found")), "{said}");
    // Error messages contain no credential either.
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

#[test]
fn every_object_is_written_with_the_requested_acl() {
    let (server, folder) = server_and_night();
    let publish = |to: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
        command
            .args(["publish", "."])
            .arg(to)
            .args(words)
            .current_dir(folder.path())
            .envs(server.variables());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let acls = || -> BTreeMap<String, Option<String>> {
        let acl = |headers: &BTreeMap<String, String>| headers.get("x-amz-acl").cloned();
        let objects = server.objects().into_iter();
        objects
            .map(|(key, stored)| (key, acl(&stored.headers)))
            .collect()
    };
    let (code, said) = publish("s3://builds/plain", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(acls().values().all(Option::is_none), "{:?}", acls());

    let (code, said) = publish("s3://builds/open", &["--acl", "public-read"]);
    assert_eq!(code, Some(0), "{said}");
    let open: Vec<_> = acls()
        .into_iter()
        .filter(|(key, _)| key.starts_with("open/"))
        .collect();
    assert!(open.len() > MODULES.len(), "{open:?}");
    for (key, acl) in open {
        assert_eq!(acl.as_deref(), Some("public-read"), "{key}");
    }

    let (code, said) = publish("directory", &["--acl", "private"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("does not support ACLs of objects"), "{said}");
    let (code, said) = publish("s3://builds/open", &["--acl", "public"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("public-read"), "{said}");
}
