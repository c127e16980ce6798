//! Tests of where a file is fetched from: mirrors, this machine, URLs whose content changes.

use super::*;

#[tokio::test]
async fn candidates_and_mirrors_are_tried_in_order() {
    let server = Server::start(|number| match number {
        0 | 1 => Reply::new("404 Not Found", &[], b""),
        _ => Reply::ok(&deb()),
    })
    .await;
    let mirrored = |is_offline| Mirrors {
        rules: vec![MirrorRule {
            prefix: "http://nowhere.invalid/debian".to_owned(),
            replacements: vec![
                format!("{}/m1", server.address),
                format!("{}/m2", server.address),
            ],
        }],
        is_offline,
    };
    let setup = Setup::new(|settings| settings.mirrors = mirrored(true));
    let candidates: [Arc<str>; 2] = [
        "no/such/file.deb".into(),
        "http://nowhere.invalid/debian/x".into(),
    ];
    let error = setup.fetch(&request(&candidates)).await.unwrap_err();
    assert_eq!(
        error.failure().class,
        FailureClass::HeadersNotFound,
        "{error}"
    );
    let urls: Vec<_> = error.tried.iter().map(|tried| tried.url.as_str()).collect();
    assert_eq!(
        urls,
        ["no/such/file.deb", &server.url("m1/x"), &server.url("m2/x")]
    );

    let fetched = setup.fetch(&request(&candidates)).await.unwrap();
    assert_eq!(fetched.url, &*server.url("m1/x"));
    // The file is cached under the original URL, as long as the mirror that delivered it is still configured.
    let mut still_mirrored = settings();
    still_mirrored.mirrors = mirrored(false);
    let later = Fetcher::new(Arc::clone(&setup.store), still_mirrored);
    assert_eq!(
        later.known(&candidates, None).unwrap().sha256,
        fetched.sha256
    );
    let unmirrored = Fetcher::new(Arc::clone(&setup.store), settings());
    assert_eq!(unmirrored.known(&candidates, None), None);

    let other = request(&["http://elsewhere.invalid/x".into()]);
    let answer = setup
        .fetcher
        .fetch(&other)
        .await
        .unwrap_err()
        .tried
        .remove(0)
        .answer;
    assert_eq!(answer, Answer::OnlyMirrors);
}

#[tokio::test]
async fn local_files_are_fetched_and_changes_are_noticed() {
    let setup = Setup::new(|_| {});
    let path = setup.folder.path().join("a+b%2B.deb");
    let write = |bytes: &[u8]| driverkit_matrix::fs::write(&path, bytes).unwrap();
    write(&deb());
    let wanted = request(&["./x/../a+b%2B.deb".into()]);
    assert_eq!(setup.answer(&wanted).await, Answer::NoFile);
    std::fs::create_dir(setup.folder.path().join("x")).unwrap();
    let fetched = setup.fetch(&wanted).await.unwrap();
    assert_eq!(
        setup
            .fetcher
            .known(&wanted.candidates, None)
            .unwrap()
            .sha256,
        fetched.sha256
    );

    let url = format!("file://{}", path.to_str().unwrap().replace('%', "%25"));
    setup.fetch(&request(&[url.into()])).await.unwrap();

    let mut changed = deb();
    changed.push(1);
    write(&changed);
    assert_eq!(setup.fetcher.known(&wanted.candidates, None), None);
    let later = Fetcher::new(
        Arc::clone(&setup.store),
        Settings {
            base_folder: setup.folder.path().to_owned(),
            ..settings()
        },
    );
    assert_eq!(
        later.fetch(&wanted).await.unwrap().sha256,
        Sha256::of(&changed)
    );
}

#[tokio::test]
async fn a_local_web_page_is_refused() {
    let setup = Setup::new(|_| {});
    let path = setup.folder.path().join("a.deb");
    driverkit_matrix::fs::write(&path, "<html>").unwrap();
    let answer = setup.answer(&request(&["a.deb".into()])).await;
    assert_eq!(answer, Answer::HtmlPage(ContentKind::Deb));
    let folder = setup.answer(&request(&[".".into()])).await;
    assert!(matches!(folder, Answer::Read(_)), "{folder}");
}

#[tokio::test]
async fn indexes_are_retried_and_resumed_and_not_stored_if_too_large() {
    let server = Server::start(|number| match number {
        1 => Reply::new("503 Service Unavailable", &[], b""),
        2 => Reply::broken(&deb(), 30_000, &[("etag", "\"one\"")]),
        3 => Reply::rest(&deb(), 30_000, &[("etag", "\"one\"")]),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    let error = setup
        .fetcher
        .get_index(&server.url("a"), 1000)
        .await
        .unwrap_err();
    assert_eq!(
        error.tried[0].answer,
        Answer::TooLarge { limit_bytes: 1000 }
    );
    assert_eq!(setup.files(), [""; 0]);
    let bytes = setup
        .fetcher
        .get_index(&server.url("a"), 1 << 20)
        .await
        .unwrap();
    assert_eq!(bytes, deb());
}

#[tokio::test]
async fn a_url_whose_content_changes_is_revalidated() {
    let server = Server::start(|number| match number {
        0 => Reply::broken(b"first", 5, &[("etag", "\"1\"")]),
        1 => Reply::new("304 Not Modified", &[], b""),
        2 => Reply::broken(b"second", 6, &[("etag", "\"2\"")]),
        _ => Reply::new("404 Not Found", &[("content-length", "0")], b""),
    })
    .await;
    let Setup {
        folder,
        store,
        fetcher,
    } = Setup::new(|_| {});
    let url = server.url("master.tar.gz");
    let content = |fetcher: &Fetcher| {
        let known = fetcher.known(&[Arc::clone(&url)], None)?;
        Some(std::fs::read(store.blob_path(known.sha256)).unwrap())
    };
    let renew = async |fetcher: &Fetcher| fetcher.renew(&url, ContentKind::Any).await;
    assert!(!fetcher.has_earlier(&url));
    for (content_now, asked_for) in [
        (b"first".to_vec(), None),
        (b"first".to_vec(), Some("\"1\"".to_owned())),
        (b"second".to_vec(), Some("\"1\"".to_owned())),
    ] {
        assert_eq!(renew(&fetcher).await.unwrap(), Renewed::Current);
        assert_eq!(content(&fetcher), Some(content_now));
        let last = server.count() - 1;
        assert_eq!(server.header(last, "if-none-match"), asked_for);
    }
    // The earlier content is not used if the server cannot confirm it.
    renew(&fetcher).await.unwrap_err();
    assert!(fetcher.has_earlier(&url) && content(&fetcher).is_none());

    // A mirror does not get the ETag of another server.
    let mirror = Server::start(|_| Reply::ok(b"of the mirror")).await;
    let rule = MirrorRule {
        prefix: server.address.clone(),
        replacements: vec![mirror.address.clone()],
    };
    let with = |mirrors| {
        let settings = Settings {
            base_folder: folder.path().into(),
            mirrors,
            ..settings()
        };
        Fetcher::new(Arc::clone(&store), settings)
    };
    let mirrored = with(Mirrors {
        rules: vec![rule],
        is_offline: true,
    });
    assert_eq!(renew(&mirrored).await.unwrap(), Renewed::Current);
    assert_eq!(mirror.header(0, "if-none-match"), None);
    let offline = with(Mirrors {
        rules: Vec::new(),
        is_offline: true,
    });
    assert_eq!(renew(&offline).await.unwrap(), Renewed::NotAsked);
    assert_eq!(content(&offline), Some(b"of the mirror".to_vec()));
}

#[tokio::test]
async fn a_host_gets_no_more_connections_than_allowed() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The server answers only when two connections are open.
    let both = Arc::new(tokio::sync::Barrier::new(2));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let both = Arc::clone(&both);
            MOST.fetch_max(OPEN.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 2000];
                drop(stream.read(&mut request).await);
                both.wait().await;
                OPEN.fetch_sub(1, Ordering::SeqCst);
                drop(stream.write_all(&Reply::ok(&deb()).bytes).await);
            });
        }
    });
    let setup = Setup::new(|settings| settings.connections_per_host = 2);
    let all = (0..6).map(|number| {
        let wanted = request(&[format!("http://{address}/{number}").into()]);
        let fetcher = &setup.fetcher;
        async move { fetcher.fetch(&wanted).await.unwrap() }
    });
    futures_util::future::join_all(all).await;
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
}
