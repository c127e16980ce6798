//! Downloads from a server that misbehaves in every way that servers do.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up fails, and says where"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::fetch::{
    Answer, ContentKind, FetchError, Fetched, Fetcher, MirrorRule, Mirrors, Renewed, Request,
    Settings,
};
use driverkit_matrix::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Script = fn() -> Reply;
type Headers = &'static [(&'static str, &'static str)];

/// What the server does with one request.
struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    Close,
    /// Keeps the connection open without a word.
    Stall,
    /// Sends the bytes of the body one by one.
    Drip(Vec<u8>),
}

impl Reply {
    fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head += "\r\n";
        Self {
            bytes: [head.as_bytes(), body].concat(),
            then: Then::Close,
        }
    }

    fn ok(body: &[u8]) -> Self {
        Self::new(
            "200 OK",
            &[("content-length", &body.len().to_string())],
            body,
        )
    }

    /// Promises the whole body, sends the first `sent` bytes.
    fn broken(body: &[u8], sent: usize, headers: &[(&str, &str)]) -> Self {
        let length = body.len().to_string();
        let headers = [&[("content-length", length.as_str())], headers].concat();
        Self::new("200 OK", &headers, &body[..sent])
    }

    fn rest(body: &[u8], start: usize, headers: &[(&str, &str)]) -> Self {
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        let length = (body.len() - start).to_string();
        let own = [
            ("content-range", range.as_str()),
            ("content-length", &length),
        ];
        Self::new(
            "206 Partial Content",
            &[&own, headers].concat(),
            &body[start..],
        )
    }

    fn stalling(self) -> Self {
        Self {
            then: Then::Stall,
            ..self
        }
    }
}

/// Answers each request by what `script` makes of its number, and remembers the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (Arc::clone(&requests), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    let reply = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(String::from_utf8(request).unwrap());
                        script(seen.len() - 1)
                    };
                    // The client may have gone, which is one of the things that are tested.
                    drop(stream.write_all(&reply.bytes).await);
                    match reply.then {
                        Then::Close => {}
                        Then::Stall => std::future::pending().await,
                        Then::Drip(bytes) => {
                            for byte in bytes {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                                drop(stream.write_all(&[byte]).await);
                            }
                        }
                    }
                    drop(stream.shutdown().await);
                });
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> Arc<str> {
        format!("{}/{path}", self.address).into()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let requests = self.requests.lock().unwrap();
        requests[request].lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            (found.eq_ignore_ascii_case(name)).then(|| value.to_owned())
        })
    }
}

struct Setup {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    fetcher: Fetcher,
}

fn settings() -> Settings {
    Settings {
        stall_bytes: 1,
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(1),
        retries: 3,
        limit_bytes: 1 << 20,
        ..Settings::default()
    }
}

impl Setup {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("store"), "test").unwrap());
        let mut settings = settings();
        settings.base_folder = folder.path().into();
        change(&mut settings);
        let fetcher = Fetcher::new(Arc::clone(&store), settings);
        Self {
            folder,
            store,
            fetcher,
        }
    }

    /// Every file of the store that is neither a record nor a lock.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(self.store.root(), &mut found);
        found.retain(|path| path.contains("/blobs/") || path.contains("/work-"));
        found
    }

    async fn fetch(&self, request: &Request) -> Result<Fetched, FetchError> {
        let result = self.fetcher.fetch(request).await;
        match &result {
            Ok(fetched) => {
                let path = self.store.blob_path(fetched.sha256);
                assert_eq!(self.files(), [path.to_str().unwrap()]);
                assert_eq!(Sha256::of(std::fs::read(path).unwrap()), fetched.sha256);
            }
            Err(_) => assert_eq!(self.files(), [""; 0], "something is kept"),
        }
        result
    }

    async fn answer(&self, request: &Request) -> Answer {
        let mut error = self.fetch(request).await.unwrap_err();
        assert_eq!(error.tried.len(), 1, "{error}");
        error.tried.remove(0).answer
    }
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

fn deb() -> Vec<u8> {
    let mut bytes = b"!<arch>\ndebian-binary   ".to_vec();
    bytes.extend((0..20_000_u32).flat_map(u32::to_le_bytes));
    bytes
}

fn request(candidates: &[Arc<str>]) -> Request {
    Request {
        candidates: candidates.to_vec(),
        sha256: None,
        size_bytes: None,
        kind: ContentKind::Deb,
    }
}

fn verified(candidates: &[Arc<str>]) -> Request {
    Request {
        sha256: Some(Sha256::of(deb())),
        size_bytes: Some(deb().len() as u64),
        ..request(candidates)
    }
}

#[tokio::test]
async fn many_who_want_a_file_cause_one_request_and_later_runs_none() {
    let server = Server::start(|_| Reply::ok(&deb())).await;
    let setup = Setup::new(|_| {});
    let wanted = request(&[server.url("a%2Bb~c+d.deb?x=1")]);
    assert_eq!(setup.fetcher.known(&wanted.candidates, None), None);
    let all = futures_util::future::join_all((0..8).map(|_| setup.fetch(&wanted))).await;
    for fetched in all {
        assert_eq!(fetched.unwrap().sha256, Sha256::of(deb()));
    }
    let line = server.requests.lock().unwrap()[0]
        .lines()
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(line, "GET /a%2Bb~c+d.deb?x=1 HTTP/1.1");
    assert_eq!(server.header(0, "accept-encoding").unwrap(), "identity");

    let later = Fetcher::new(Arc::clone(&setup.store), settings());
    let fetched = later.fetch(&wanted).await.unwrap();
    assert_eq!(later.known(&wanted.candidates, None), Some(fetched.clone()));
    assert_eq!(
        (fetched.size_bytes, fetched.url.as_str()),
        (deb().len() as u64, &*wanted.candidates[0])
    );
    // Another address for the same digest.
    later
        .fetch(&verified(&[server.url("other.deb")]))
        .await
        .unwrap();
    assert_eq!(server.count(), 1);

    let refreshing = Fetcher::new(
        Arc::clone(&setup.store),
        Settings {
            refresh: true,
            ..settings()
        },
    );
    refreshing.fetch(&wanted).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn requests_for_one_digest_share_a_download_and_add_their_own_addresses() {
    let server = Server::start(|number| match number {
        0 => Reply::new("404 Not Found", &[], b""),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    let first = verified(&[server.url("gone")]);
    let second = verified(&[server.url("gone"), server.url("there")]);
    let (first, second) = tokio::join!(setup.fetcher.fetch(&first), setup.fetcher.fetch(&second));
    assert_eq!(first.unwrap_err().tried.len(), 1);
    assert_eq!(second.unwrap().url, &*server.url("there"));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn answers_that_may_pass_are_tried_again() {
    for first in [
        || Reply::new("503 Service Unavailable", &[], b""),
        || Reply::new("500 Internal Server Error", &[], b""),
        || Reply::new("429 Too Many Requests", &[("retry-after", "0")], b""),
        || Reply::ok(&deb()[..0]).stalling_head(),
        || Reply::ok(&deb()).cut(10),
        || Reply::broken(&deb(), 30_000, &[]),
        || Reply::broken(&deb(), 30_000, &[]).stalling(),
    ] {
        let server = Server::start(move |number| match number {
            0 => first(),
            _ => Reply::ok(&deb()),
        })
        .await;
        let setup = Setup::new(|settings| settings.stall_timeout = Duration::from_secs(1));
        let fetched = setup.fetch(&request(&[server.url("a.deb")])).await.unwrap();
        assert_eq!(fetched.sha256, Sha256::of(deb()));
        assert_eq!(server.count(), 2);
        // Without a validator or a digest nothing can be continued.
        assert_eq!(server.header(1, "range"), None);
    }
}

impl Reply {
    /// Nothing is answered, not even a status.
    fn stalling_head(mut self) -> Self {
        self.bytes.clear();
        self.stalling()
    }

    fn cut(mut self, length: usize) -> Self {
        self.bytes.truncate(length);
        self
    }
}

#[tokio::test]
async fn retries_end() {
    let server = Server::start(|_| Reply::new("503 Service Unavailable", &[], b"")).await;
    let setup = Setup::new(|_| {});
    let error = setup.fetch(&request(&[server.url("a")])).await.unwrap_err();
    assert_eq!(error.failure().class, FailureClass::Download);
    assert_eq!(server.count(), 4);
    // A failure is not remembered.
    setup.fetch(&request(&[server.url("a")])).await.unwrap_err();
    assert_eq!(server.count(), 8);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_too_long_is_given_up() {
    let server =
        Server::start(|_| Reply::new("429 Too Many Requests", &[("retry-after", "3600")], b""))
            .await;
    let setup = Setup::new(|_| {});
    let answer = setup.answer(&request(&[server.url("a")])).await;
    let retry_after = Some(Duration::from_hours(1));
    assert_eq!(
        answer,
        Answer::Status {
            status: 429,
            retry_after
        }
    );
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_transient_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Arc<str> = format!("http://u:secret@{}/a", listener.local_addr().unwrap()).into();
    drop(listener);
    let setup = Setup::new(|_| {});
    let error = setup.fetch(&request(&[url])).await.unwrap_err();
    assert!(
        matches!(error.tried[0].answer, Answer::Connection(_)),
        "{error}"
    );
    assert!(error.tried[0].answer.is_transient());
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn answers_that_will_not_pass_are_not_tried_again() {
    const PAGE: &[u8] = b"<!DOCTYPE html><title>Sign in</title>";
    let cases: [(Script, &str, FailureClass); 6] = [
        (
            || Reply::new("404 Not Found", &[], b""),
            "answered 404",
            FailureClass::HeadersNotFound,
        ),
        (
            || Reply::new("410 Gone", &[], b""),
            "answered 410",
            FailureClass::HeadersNotFound,
        ),
        (
            || Reply::new("403 Forbidden", &[], b""),
            "answered 403",
            FailureClass::Download,
        ),
        (
            || Reply::ok(PAGE),
            "is an HTML page, not a Debian package",
            FailureClass::Download,
        ),
        (
            || Reply::ok(&[7; 600]),
            "is not a Debian package",
            FailureClass::Download,
        ),
        (
            || Reply::new("200 OK", &[("content-length", "99999999")], b"!<arch>\n"),
            "is larger than the limit of 1048576 bytes",
            FailureClass::Download,
        ),
    ];
    for (reply, text, class) in cases {
        let server = Server::start(move |_| reply()).await;
        let setup = Setup::new(|_| {});
        let wanted = request(&[server.url("a.deb")]);
        let error = setup.fetch(&wanted).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} {text}", wanted.candidates[0])
        );
        assert_eq!(error.failure().class, class, "{text}");
        assert_eq!(server.count(), 1, "{text}");
    }
}

#[tokio::test]
async fn an_endless_redirect_ends() {
    let server = Server::start(|_| Reply::new("302 Found", &[("location", "/again")], b"")).await;
    let setup = Setup::new(|_| {});
    let answer = setup.answer(&request(&[server.url("a")])).await;
    assert!(matches!(answer, Answer::Redirect(_)), "{answer}");
    assert_eq!(server.count(), 11);
}

#[tokio::test]
async fn redirects_are_followed() {
    let server = Server::start(|number| match number {
        0 => Reply::new("302 Found", &[("location", "/there?a=%2B")], b""),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    setup.fetch(&request(&[server.url("a")])).await.unwrap();
    assert!(server.requests.lock().unwrap()[1].starts_with("GET /there?a=%2B "));
}

#[tokio::test]
async fn more_than_was_promised_is_not_believed() {
    // The promised length is short, the body is whole: what the length covers is a broken package.
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
async fn a_body_without_length_is_measured() {
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
async fn another_content_is_refused() {
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
async fn a_broken_body_is_continued() {
    const ETAG: (&str, &str) = ("etag", "\"one\"");
    const DATE: (&str, &str) = ("last-modified", "Mon, 23 Nov 2026 10:00:00 GMT");
    // What the server says of the content, and what the rest is made to depend on.
    let cases: [(Headers, Option<&str>); 4] = [
        (&[ETAG, DATE], Some("\"one\"")),
        (&[DATE], Some(DATE.1)),
        (&[("etag", "W/\"weak\""), DATE], Some(DATE.1)),
        // Only the digest can tell whether it fits.
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
async fn wrong_continuations_are_thrown_away() {
    const ONE: &[(&str, &str)] = &[("etag", "\"one\"")];
    const TWO: &[(&str, &str)] = &[("etag", "\"two\"")];
    // Whether a third request has to be made.
    let cases: [(Script, usize); 5] = [
        // The whole file anew, since it has changed: taken as it is.
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
async fn pieces_of_different_files_are_fetched_once_more() {
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
async fn a_slow_drip_is_waited_for_unless_it_is_next_to_nothing() {
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
    // Remembered under the address itself, whatever the mirrors are next time.
    let later = Fetcher::new(Arc::clone(&setup.store), settings());
    assert_eq!(
        later.known(&candidates, None).unwrap().sha256,
        fetched.sha256
    );

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
async fn local_files_are_fetched_and_noticed_when_changed() {
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
async fn indexes_are_read_with_the_same_patience_and_not_kept_where_they_are_too_large() {
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
async fn an_address_that_may_give_another_file_is_asked_for_a_newer_one() {
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
    // What it gave counts no more when it cannot be asked.
    renew(&fetcher).await.unwrap_err();
    assert!(fetcher.has_earlier(&url) && content(&fetcher).is_none());

    // A place that is not the one that gave it is not told the other's tag.
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
    // Nobody is answered before there are two.
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
