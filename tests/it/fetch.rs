//! Tests of downloads from a server that misbehaves in the ways that real servers do.

mod answers;
mod bodies;
mod places;

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

/// The reply of the server to one request.
struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    Close,
    /// Keeps the connection open and sends nothing.
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

    /// Announces the length of the whole body and sends only the first `sent` bytes.
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

/// A server whose reply to each request is `script` of its number; it records the requests.
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
                    // The client may have closed the connection; some tests do this on purpose.
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

    /// Returns every file of the store that is neither a record nor a lock.
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
            Err(_) => assert_eq!(
                self.files(),
                [""; 0],
                "the store keeps files of a failed download"
            ),
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
async fn many_callers_cause_one_request_and_later_runs_cause_none() {
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
    assert_eq!(fetched.size_bytes, deb().len() as u64);
    // The query is hidden, since it may be a signature.
    assert_eq!(fetched.url, *server.url("a%2Bb~c+d.deb?..."));
    // Another URL with the same digest needs no request.
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
async fn requests_for_one_digest_share_a_download_and_add_their_own_urls() {
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
