//! Tests of response bodies: too much, too little, the wrong content, or slow.

use super::*;

#[tokio::test]
async fn a_body_longer_than_its_announced_length_fails_the_checksum() {
    // The announced length is too short and the body is complete: the first bytes, up to that length, are a broken
    // package.
    let length = (deb().len() - 5).to_string();
    let server =
        Server::start(move |_| Reply::new("200 OK", &[("content-length", &length)], &deb())).await;
    let setup = Setup::new(|_| {});
    let error = setup
        .fetch(&verified(&[server.url("a")]))
        .await
        .unwrap_err();
    assert_eq!(error.failure().class, FailureClass::Checksum, "{error}");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_body_without_announced_length_is_limited_and_verified() {
    let server = Server::start(|number| match number {
        0 => Reply::new("200 OK", &[], &deb()[..40_000]),
        _ => Reply::new("200 OK", &[], &deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    setup.fetch(&verified(&[server.url("a")])).await.unwrap();
    assert_eq!(server.count(), 2);

    let server = Server::start(|_| Reply::new("200 OK", &[], &vec![b'!'; 2 << 20])).await;
    let setup = Setup::new(|_| {});
    let any = Request {
        kind: ContentKind::Any,
        ..request(&[server.url("a")])
    };
    assert_eq!(
        setup.answer(&any).await,
        Answer::TooLarge {
            limit_bytes: 1 << 20
        }
    );
}

#[tokio::test]
async fn wrong_digests_and_sizes_are_refused() {
    let mut changed = deb();
    changed[50_000] ^= 1;
    let server = Server::start(move |_| Reply::ok(&changed)).await;
    let setup = Setup::new(|_| {});
    let answer = setup.answer(&verified(&[server.url("a")])).await;
    assert!(matches!(answer, Answer::Checksum { expected, .. } if expected == Sha256::of(deb())));
    assert_eq!(server.count(), 1);

    let wrong_size = Request {
        size_bytes: Some(7),
        ..verified(&[server.url("a")])
    };
    let answer = setup.answer(&wrong_size).await;
    let found_bytes = deb().len() as u64;
    assert_eq!(
        answer,
        Answer::Size {
            expected_bytes: 7,
            found_bytes
        }
    );
}

#[tokio::test]
async fn a_broken_download_is_resumed() {
    const ETAG: (&str, &str) = ("etag", "\"one\"");
    const DATE: (&str, &str) = ("last-modified", "Mon, 23 Nov 2026 10:00:00 GMT");
    // The headers of the first response, and the `If-Range` header of the request that resumes it.
    let cases: [(Headers, Option<&str>); 4] = [
        (&[ETAG, DATE], Some("\"one\"")),
        (&[DATE], Some(DATE.1)),
        (&[("etag", "W/\"weak\""), DATE], Some(DATE.1)),
        // Without a validator, only the digest shows whether the rest fits.
        (&[], None),
    ];
    for (headers, if_range) in cases {
        let server = Server::start(move |number| match number {
            0 => Reply::broken(&deb(), 30_000, headers),
            1 => Reply::rest(&deb(), 30_000, headers),
            _ => unreachable!(),
        })
        .await;
        let setup = Setup::new(|_| {});
        setup.fetch(&verified(&[server.url("a")])).await.unwrap();
        assert_eq!(server.count(), 2);
        assert_eq!(server.header(1, "range").unwrap(), "bytes=30000-");
        assert_eq!(server.header(1, "if-range").as_deref(), if_range);
    }
}

#[tokio::test]
async fn wrong_ranges_are_discarded() {
    const ONE: &[(&str, &str)] = &[("etag", "\"one\"")];
    const TWO: &[(&str, &str)] = &[("etag", "\"two\"")];
    // The number of requests: three if the resumed download is discarded.
    let cases: [(Script, usize); 5] = [
        // The whole file again, since it has changed: it is used as it is.
        (|| Reply::new("200 OK", TWO, &deb()), 2),
        (|| Reply::rest(&deb(), 30_000, TWO), 3),
        (|| Reply::rest(&deb(), 29_000, ONE), 3),
        (
            || Reply::new("206 Partial Content", ONE, &deb()[30_000..]),
            3,
        ),
        (|| Reply::new("416 Range Not Satisfiable", &[], b""), 3),
    ];
    for (second, count) in cases {
        let server = Server::start(move |number| match number {
            0 => {
                let mut old = deb();
                old[100] ^= 1;
                Reply::broken(&old, 30_000, ONE)
            }
            1 => second(),
            _ => Reply::ok(&deb()),
        })
        .await;
        let setup = Setup::new(|_| {});
        let fetched = setup.fetch(&request(&[server.url("a")])).await.unwrap();
        assert_eq!(fetched.sha256, Sha256::of(deb()));
        assert_eq!(server.count(), count);
        if count == 3 {
            assert_eq!(server.header(2, "range"), None);
        }
    }
}

#[tokio::test]
async fn a_file_joined_from_two_different_files_is_fetched_again() {
    let server = Server::start(|number| match number {
        0 => {
            let mut old = deb();
            old[100] ^= 1;
            Reply::broken(&old, 30_000, &[])
        }
        1 => Reply::rest(&deb(), 30_000, &[]),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    setup.fetch(&verified(&[server.url("a")])).await.unwrap();
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_slow_body_is_read_unless_it_is_below_the_minimum_speed() {
    let body = &deb()[..600];
    let drip = |body: Vec<u8>| Reply {
        then: Then::Drip(body.clone()),
        ..Reply::broken(&body, 0, &[])
    };
    let small = body.to_vec();
    let server = Server::start(move |_| drip(small.clone())).await;
    let patient = Setup::new(|_| {});
    patient.fetch(&request(&[server.url("a")])).await.unwrap();
    assert_eq!(server.count(), 1);

    let impatient = Setup::new(|settings| {
        settings.stall_timeout = Duration::from_millis(50);
        settings.stall_bytes = 10_000;
        settings.retries = 1;
    });
    let answer = impatient.answer(&request(&[server.url("a")])).await;
    assert_eq!(answer, Answer::Stalled(Duration::from_millis(50)));
    assert_eq!(server.count(), 3);
}
