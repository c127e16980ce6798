//! Tests of publishing to a real S3 server, which checks every signature and condition.

use driverkit_matrix::bucket::{Bucket, BucketFault, BucketSettings, PutOptions};
use driverkit_matrix::publish::{
    AccessLog, Destination, FindingKind, Night, PruneRules, PublishError, PublishOptions, RowState,
    apply_prune, audit, items_of, plan_prune, publish, repair, undo_prune,
};
use driverkit_matrix::report::read_manifest;
use jiff::Timestamp;
use support::object_store::ObjectStore;
use support::published::{MODULES, OLD, key, write_out};

/// The client of the object store does not support ACLs, so the header is added and the request is signed again.
#[tokio::test]
async fn an_s3_server_accepts_requests_with_an_acl() {
    let server = ObjectStore::s3();
    let settings = BucketSettings {
        acl: Some("public-read".parse().unwrap()),
        ..server.settings("acl")
    };
    let bucket = Bucket::open(&settings).unwrap();
    for (name, body) in [("small+1~2.ko", "one".to_owned()), ("empty", String::new())] {
        bucket
            .put(name, body.clone(), PutOptions::default())
            .await
            .unwrap();
        let file = server.folder().join("acl").join(name);
        assert_eq!(std::fs::read_to_string(file).unwrap(), body);
    }
}

#[tokio::test]
async fn an_s3_destination_is_published_audited_repaired_and_pruned() {
    let server = ObjectStore::s3();
    let folder = tempfile::tempdir().unwrap();
    let now: Timestamp = "2026-11-23T05:00:00Z".parse().unwrap();
    write_out(folder.path(), "run-1", 0, &MODULES);
    let nights = [Night {
        out: folder.path().to_owned(),
        manifest: read_manifest(folder.path()).unwrap(),
    }];
    let items = items_of(&nights, now);
    let options = PublishOptions {
        cache_control: Some("max-age=60".to_owned()),
        ..PublishOptions::default()
    };
    let open = || Destination::open(&server.settings("p")).unwrap();
    let destination = open();
    let report = publish(&destination, &nights, &items, &options, now).await;
    let report = report.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Published), 3);
    let name = key(MODULES[1].0, OLD);
    let file = server.folder().join("p").join(&name);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");

    let destination = open();
    let report = publish(&destination, &nights, &items, &options, now).await;
    let report = report.unwrap();
    assert_eq!(report.count(|state| *state == RowState::Unchanged), 3);
    assert_eq!(destination.bucket().traffic().writes, 0);
    assert_eq!(
        audit(&destination, &items, true).await.unwrap().findings,
        []
    );

    let bucket = Bucket::open(&server.settings("p")).unwrap();
    bucket
        .delete([key(MODULES[0].0, OLD).as_str()])
        .await
        .unwrap();
    bucket
        .put(&name, "2wo", PutOptions::default())
        .await
        .unwrap();
    let found = audit(&destination, &items, false).await.unwrap().findings;
    let kinds: Vec<FindingKind> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Missing, FindingKind::Different]);
    repair(&destination, &items, &options, now).await.unwrap();
    assert_eq!(
        audit(&destination, &items, true).await.unwrap().findings,
        []
    );

    let index = destination.index().await.unwrap().unwrap();
    let rules = PruneRules {
        newest_drivers: Some(1),
        ..PruneRules::default()
    };
    let plan = plan_prune(&index, &rules, &AccessLog::default());
    let pruned = apply_prune(&destination, &plan, 30, None, now)
        .await
        .unwrap();
    assert_eq!(pruned.removed, 2);
    assert!(!file.exists());
    assert_eq!(audit(&destination, &[], true).await.unwrap().findings, []);
    let back = undo_prune(&destination, &pruned.id, None, now).await;
    assert_eq!(back.unwrap(), 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
    assert_eq!(
        audit(&destination, &items, true).await.unwrap().findings,
        []
    );

    for (name, value, fault) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "planted-wrong",
            BucketFault::Credentials,
        ),
        ("AWS_REGION", "eu-west-9", BucketFault::Region),
    ] {
        let mut settings = server.settings("p");
        for variable in &mut settings.variables {
            if variable.0 == name {
                value.clone_into(&mut variable.1);
            }
        }
        let destination = Destination::open(&settings).unwrap();
        let error = publish(&destination, &nights, &items, &options, now).await;
        let error = error.unwrap_err();
        assert!(!error.to_string().contains("planted"), "{error}");
        assert!(error.help().is_some(), "{error}");
        assert!(
            matches!(&error, PublishError::Bucket(found) if found.fault == fault),
            "{error}"
        );
    }
}
