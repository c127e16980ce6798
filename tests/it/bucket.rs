//! Tests of a directory as a bucket, and of servers that are not object stores.

use driverkit_matrix::bucket::{
    Attribute, Attributes, Bucket, BucketFault, BucketSettings, Put, PutMode, PutOptions,
};
use httptest::matchers::any;
use httptest::responders::{cycle, status_code};
use httptest::{Expectation, Server};

fn directory() -> (tempfile::TempDir, Bucket) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let bucket = Bucket::open(&url.parse().unwrap()).unwrap();
    (folder, bucket)
}

/// Opens a bucket at a simulated server.
fn at(server: &Server) -> Bucket {
    let settings = BucketSettings {
        variables: [
            ("AWS_ENDPOINT_URL", format!("http://{}", server.addr())),
            ("AWS_ACCESS_KEY_ID", "planted-key-id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "planted-secret-key".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec(),
        retries: 2,
        ..format!("s3://builds/{}", "a").parse().unwrap()
    };
    Bucket::open(&settings).unwrap()
}

#[tokio::test]
async fn a_directory_stores_objects_under_their_names() {
    let (folder, bucket) = directory();
    let attributes = Attributes::from_iter([(Attribute::CacheControl, "no-cache")]);
    let options = PutOptions::from(attributes);
    let put = bucket.put("a/x+y~1%2B.ko", "one", options).await.unwrap();
    assert!(matches!(put, Put::Done(_)));
    let path = folder.path().join("a/x+y~1%2B.ko");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one");
    assert!(!bucket.create("a/x+y~1%2B.ko", "two").await.unwrap());
    assert!(bucket.create("b", "three").await.unwrap());
    let found = bucket.get("a/x+y~1%2B.ko", 3).await.unwrap().unwrap();
    assert_eq!(found, b"one");
    let mut names: Vec<String> = Vec::new();
    for object in bucket.list("").await.unwrap() {
        names.push(format!("{} {}", object.name, object.size_bytes));
    }
    names.sort();
    assert_eq!(names, ["a/x+y~1%2B.ko 3", "b 5"]);
    assert_eq!(bucket.head("b").await.unwrap().unwrap().size_bytes, 5);
    bucket.delete(["b", "b", "c"]).await.unwrap();
    assert_eq!(bucket.get("b", 5).await.unwrap(), None);
    assert_eq!(bucket.list("none").await.unwrap(), []);
}

#[tokio::test]
async fn an_object_over_the_limit_is_refused() {
    let (_folder, bucket) = directory();
    bucket.create("a", "four").await.unwrap();
    let error = bucket.get("a", 3).await.unwrap_err();
    assert_eq!(error.fault, BucketFault::Damaged);
}

#[tokio::test]
async fn a_large_file_is_uploaded_completely() {
    let (folder, bucket) = directory();
    let content: Vec<u8> = (0..40_u32 << 20)
        .map(|at| (at / 7).to_le_bytes()[0])
        .collect();
    let file = folder.path().join("file");
    driverkit_matrix::fs::write(&file, &content).unwrap();
    let put = bucket.put_file("large", &file, PutMode::Create.into());
    put.await.unwrap();
    let found = bucket.get("large", 1 << 30).await.unwrap().unwrap();
    assert!(found == content);
}

#[test]
fn a_missing_directory_is_refused_with_advice() {
    let error = Bucket::open(&"file:///nowhere/at/all".parse().unwrap()).unwrap_err();
    assert_eq!(error.fault, BucketFault::NoBucket, "{error}");
    assert!(
        error.to_string().contains("file:///nowhere/at/all"),
        "{error}"
    );
    assert!(error.help.unwrap().contains("create the directory"));
}

#[tokio::test]
async fn wrong_responses_are_classified_without_credentials() {
    let page = "<!DOCTYPE html><html><body>Log in</body></html>";
    let refusal = |code: &str| {
        format!(
            "<Error><Code>{code}</Code><Message>No, planted-key-id.</Message>\
             <AWSAccessKeyId>planted-key-id</AWSAccessKeyId></Error>"
        )
    };
    let cases = [
        (200, "text/html", page.to_owned(), BucketFault::NotAStore),
        (502, "text/html", page.to_owned(), BucketFault::NotAStore),
        (407, "text/html", page.to_owned(), BucketFault::Proxy),
        (
            403,
            "application/xml",
            refusal("InvalidAccessKeyId"),
            BucketFault::Credentials,
        ),
        (
            403,
            "application/xml",
            refusal("SignatureDoesNotMatch"),
            BucketFault::Credentials,
        ),
        (
            400,
            "application/xml",
            refusal("ExpiredToken"),
            BucketFault::Credentials,
        ),
        (
            403,
            "application/xml",
            refusal("RequestTimeTooSkewed"),
            BucketFault::Clock,
        ),
        (
            403,
            "application/xml",
            refusal("AccessDenied"),
            BucketFault::ListForbidden,
        ),
        (
            404,
            "application/xml",
            refusal("NoSuchBucket"),
            BucketFault::NoBucket,
        ),
        (
            301,
            "application/xml",
            refusal("PermanentRedirect"),
            BucketFault::Region,
        ),
        (
            400,
            "application/xml",
            refusal("AuthorizationHeaderMalformed"),
            BucketFault::Region,
        ),
        (
            503,
            "application/xml",
            refusal("SlowDown"),
            BucketFault::Throttled,
        ),
        (429, "text/plain", String::new(), BucketFault::Throttled),
        (500, "text/plain", String::new(), BucketFault::Server),
    ];
    for (status, kind, body, fault) in cases {
        let server = Server::run();
        server.expect(
            Expectation::matching(any()).times(1..).respond_with(
                status_code(status)
                    .append_header("content-type", kind)
                    .body(body),
            ),
        );
        let error = at(&server).list("").await.unwrap_err();
        assert_eq!(error.fault, fault, "{status}: {error}");
        assert!(error.help.is_some(), "{error}");
        assert!(!format!("{error:?}").contains("planted"), "{error}");
        let error = at(&server).put("a", "x", PutOptions::default()).await;
        let error = error.unwrap_err();
        let fault = match fault {
            BucketFault::ListForbidden => BucketFault::ReadOnly,
            fault => fault,
        };
        assert_eq!(error.fault, fault, "{status}: {error}");
    }
}

#[tokio::test]
async fn a_busy_server_is_retried() {
    let server = Server::run();
    server.expect(Expectation::matching(any()).times(3).respond_with(cycle![
        status_code(503).body("<Code>SlowDown</Code>"),
        status_code(429),
        status_code(200).append_header("etag", "\"1\""),
    ]));
    let bucket = at(&server);
    let put = bucket.put("a", "x", PutOptions::default()).await.unwrap();
    assert!(matches!(put, Put::Done(_)));
    assert_eq!(bucket.traffic().requests, 3);
}

#[tokio::test]
async fn a_refused_connection_is_reported_as_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let settings = BucketSettings {
        variables: vec![
            ("AWS_ENDPOINT_URL".to_owned(), format!("http://{address}")),
            ("AWS_ACCESS_KEY_ID".to_owned(), "planted-key-id".to_owned()),
            (
                "AWS_SECRET_ACCESS_KEY".to_owned(),
                "planted-secret-key".to_owned(),
            ),
        ],
        retries: 1,
        .."s3://builds".parse().unwrap()
    };
    let error = Bucket::open(&settings)
        .unwrap()
        .get("a", 1)
        .await
        .unwrap_err();
    assert_eq!(error.fault, BucketFault::Unreachable, "{error}");
    assert!(
        !format!("{error:?} {settings:?}").contains("planted"),
        "{error}"
    );
}
