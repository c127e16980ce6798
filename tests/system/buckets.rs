//! Buckets at real servers.

use driverkit_matrix::bucket::{
    Attribute, Attributes, Bucket, BucketFault, Put, PutMode, PutOptions,
};
use support::object_store::ObjectStore;

async fn works(server: &ObjectStore) {
    let bucket = Bucket::open(&server.settings("a/b")).unwrap();
    let digest = Attribute::Metadata("sha256".into());
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "application/octet-stream"),
        (Attribute::CacheControl, "max-age=60"),
        (digest.clone(), "abc"),
    ]);
    let options = PutOptions {
        mode: PutMode::Create,
        attributes,
        ..PutOptions::default()
    };
    let name = "x/6.1.0+deb~1_x.ko";
    let Put::Done(first) = bucket.put(name, "one", options).await.unwrap() else {
        panic!("it was there");
    };
    assert!(!bucket.create(name, "two").await.unwrap());
    let found = bucket.head(name).await.unwrap().unwrap();
    assert_eq!(found.size_bytes, 3);
    assert_eq!(found.attributes.get(&digest).unwrap().as_ref(), "abc");
    let update = |version| PutMode::Update(version).into();
    let Put::Done(second) = bucket.put(name, "2", update(first.clone())).await.unwrap() else {
        panic!("nobody changed it");
    };
    let stale = bucket.put(name, "three", update(first)).await.unwrap();
    assert_eq!(stale, Put::Conflict);
    assert_ne!(second.e_tag, None);
    assert_eq!(bucket.get(name, 9).await.unwrap().unwrap(), b"2");

    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..40_u32 << 20).map(|at| (at / 7) as u8).collect();
    std::fs::write(file.path(), &content).unwrap();
    let put = bucket.put_file("x/large", file.path(), PutOptions::default());
    put.await.unwrap();
    let found = bucket.get("x/large", 1 << 30).await.unwrap().unwrap();
    assert!(found == content);

    let mut names: Vec<String> = Vec::new();
    for object in bucket.list("x").await.unwrap() {
        names.push(object.name);
    }
    names.sort();
    assert_eq!(names, [name, "x/large"]);
    bucket.delete([name, "x/large", "x/none"]).await.unwrap();
    assert_eq!(bucket.list("x").await.unwrap(), []);
    assert_eq!(bucket.head(name).await.unwrap(), None);
}

#[tokio::test]
async fn s3_server_reads_writes_compares_and_lists() {
    works(&ObjectStore::s3()).await;
}

#[tokio::test]
#[ignore = "needs fake-gcs-server, which takes two minutes to compile (make test-buckets)"]
async fn gcs_server_reads_writes_compares_and_lists() {
    works(&ObjectStore::gcs()).await;
}

#[tokio::test]
#[ignore = "needs azurite, 360 MB of npm packages (make test-buckets)"]
async fn azure_server_reads_writes_compares_and_lists() {
    let server = ObjectStore::azure();
    let missing = Bucket::open(&server.settings("")).unwrap();
    let error = missing.list("").await.unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    server.create_container();
    works(&server).await;
}

#[tokio::test]
async fn s3_server_refuses_with_classes_and_without_credentials() {
    let server = ObjectStore::s3();
    let mut settings = server.settings("a");
    settings.url = "s3://nowhere".parse().unwrap();
    let error = Bucket::open(&settings).unwrap().list("").await.unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    for (name, value, fault) in [
        (
            "AWS_SECRET_ACCESS_KEY",
            "planted-wrong-secret",
            BucketFault::Credentials,
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "planted-wrong-key",
            BucketFault::Credentials,
        ),
        ("AWS_REGION", "eu-west-9", BucketFault::Region),
    ] {
        let mut settings = server.settings("a");
        for variable in &mut settings.variables {
            if variable.0 == name {
                value.clone_into(&mut variable.1);
            }
        }
        let bucket = Bucket::open(&settings).unwrap();
        let refused = [
            bucket.list("").await.unwrap_err(),
            bucket.get("a", 1).await.unwrap_err(),
            bucket
                .put("a", "x", PutOptions::default())
                .await
                .unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.fault, fault, "{name}: {error}");
            assert!(error.help.is_some());
            assert!(!format!("{error:?}").contains("planted"), "{error}");
        }
    }
}
