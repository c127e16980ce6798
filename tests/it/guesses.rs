//! Tests of guessed URLs: all are checked, one is downloaded.

use std::sync::Arc;
use std::time::Duration;

use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::fetch::{ContentKind, Fetcher, Request, Settings};
use driverkit_matrix::store::Store;
use httptest::matchers::{all_of, contains, key, not, request};
use httptest::responders::{delay_and_then, status_code};
use httptest::{Expectation, Server};

/// The delay of an answer: long enough that all other requests have been sent, since the first file found ends the
/// search.
const LATER: Duration = Duration::from_millis(500);

const RPM: &[u8] = b"\xed\xab\xee\xdb\x03\x00 the rest of a package";

struct Setup {
    _folder: tempfile::TempDir,
    fetcher: Fetcher,
    server: Server,
}

impl Setup {
    fn new() -> Self {
        Self::with_connections(Settings::default().connections_per_host)
    }

    fn with_connections(connections_per_host: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "test").unwrap();
        let settings = Settings {
            retries: 0,
            connections_per_host,
            ..Settings::default()
        };
        Self {
            fetcher: Fetcher::new(Arc::new(store), settings),
            server: Server::run(),
            _folder: folder,
        }
    }

    /// Expects `times` requests for `path` with `method`, and sets the response.
    fn on(
        &self,
        method: &'static str,
        path: &'static str,
        times: usize,
        status: u16,
        body: &'static [u8],
    ) {
        let matcher = all_of![
            request::method(method),
            request::path(path),
            request::headers(not(contains(key("range"))))
        ];
        let answer = status_code(status).body(body);
        self.server.expect(
            Expectation::matching(matcher)
                .times(times)
                .respond_with(answer),
        );
    }

    /// Expects HEAD requests, which are answered after [`LATER`].
    fn on_head_later(&self, path: &'static str, times: usize, status: u16) {
        let asked = Expectation::matching(request::method_path("HEAD", path)).times(times);
        let answer = delay_and_then(LATER, status_code(status));
        self.server.expect(asked.respond_with(answer));
    }

    fn request(&self, paths: &[&str]) -> Request {
        Request {
            candidates: paths
                .iter()
                .map(|path| self.server.url_str(path).into())
                .collect(),
            sha256: None,
            size_bytes: None,
            kind: ContentKind::Rpm,
        }
    }
}

#[tokio::test]
async fn the_first_url_in_order_that_has_the_file_is_downloaded() {
    let setup = Setup::new();
    setup.on("HEAD", "/a", 1, 404, b"");
    // The server refuses HEAD but answers a GET for the first byte.
    setup.on("HEAD", "/b", 1, 405, b"");
    let first_byte = all_of![
        request::method_path("GET", "/b"),
        request::headers(contains(("range", "bytes=0-0")))
    ];
    let answer = status_code(206)
        .append_header("content-range", "bytes 0-0/30")
        .body("\u{7f}");
    setup.server.expect(
        Expectation::matching(first_byte)
            .times(1)
            .respond_with(delay_and_then(LATER, answer)),
    );
    setup.on("GET", "/b", 1, 200, RPM);
    setup.on("HEAD", "/c", 1, 200, b"");
    let wanted = setup.request(&["/a", "/b", "/c"]);
    let fetched = setup.fetcher.fetch(&wanted).await.unwrap();
    assert_eq!(fetched.url, setup.server.url_str("/b"));
    // The file is in the cache now, so no request is sent.
    assert_eq!(setup.fetcher.fetch(&wanted).await.unwrap(), fetched);
}

#[tokio::test]
async fn a_waiting_check_does_not_block_the_connection_of_the_download() {
    let setup = Setup::with_connections(1);
    setup.on("HEAD", "/a", 1, 200, b"");
    setup.on("GET", "/a", 1, 200, RPM);
    let others = all_of![
        request::method("HEAD"),
        request::path(not(httptest::matchers::eq("/a")))
    ];
    let others = Expectation::matching(others).times(0..);
    setup.server.expect(others.respond_with(status_code(404)));
    let wanted = setup.request(&["/a", "/b", "/c", "/d"]);
    // This waited forever once.
    let fetched = tokio::time::timeout(Duration::from_mins(1), setup.fetcher.fetch(&wanted)).await;
    assert_eq!(fetched.unwrap().unwrap().url, setup.server.url_str("/a"));
}

#[tokio::test]
async fn all_tried_urls_are_named_with_their_answers() {
    let setup = Setup::new();
    for path in ["/a", "/b", "/c", "/d"] {
        setup.on("HEAD", path, 1, 404, b"");
    }
    let wanted = setup.request(&["/a", "/b", "/c", "/d"]);
    let error = setup.fetcher.fetch(&wanted).await.unwrap_err();
    assert_eq!(error.failure().class, FailureClass::HeadersNotFound);
    let urls: Vec<_> = error.tried.iter().map(|tried| tried.url.as_str()).collect();
    let expected: Vec<_> = wanted.candidates.iter().map(|url| &**url).collect();
    assert_eq!(urls, expected);
    assert!(error.to_string().contains("/d answered 404"), "{error}");
}

#[tokio::test]
async fn a_url_that_returns_a_web_page_is_skipped() {
    let setup = Setup::new();
    setup.on_head_later("/a", 1, 200);
    setup.on("GET", "/a", 1, 200, b"<!DOCTYPE html><html>not here");
    // The URLs after it are checked again.
    setup.on_head_later("/b", 2, 200);
    setup.on("GET", "/b", 1, 200, RPM);
    setup.on("HEAD", "/c", 2, 404, b"");
    let wanted = setup.request(&["/a", "/b", "/c"]);
    let fetched = setup.fetcher.fetch(&wanted).await.unwrap();
    assert_eq!(fetched.url, setup.server.url_str("/b"));
}

#[tokio::test]
async fn a_url_with_a_transient_error_is_tried_last() {
    let setup = Setup::new();
    setup.on("HEAD", "/a", 1, 503, b"");
    let first_byte = all_of![
        request::method_path("GET", "/a"),
        request::headers(contains(("range", "bytes=0-0")))
    ];
    setup.server.expect(
        Expectation::matching(first_byte)
            .times(1)
            .respond_with(status_code(503)),
    );
    setup.on("HEAD", "/b", 1, 404, b"");
    setup.on("HEAD", "/c", 1, 404, b"");
    setup.on("GET", "/a", 1, 200, RPM);
    let wanted = setup.request(&["/a", "/b", "/c"]);
    let fetched = setup.fetcher.fetch(&wanted).await.unwrap();
    assert_eq!(fetched.url, setup.server.url_str("/a"));
}
