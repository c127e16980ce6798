//! Tests of responses: which ones are retried, and which ones are final.

use super::*;

#[tokio::test]
async fn transient_answers_are_retried() {
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
        // Without a validator or a digest, a download cannot be resumed.
        assert_eq!(server.header(1, "range"), None);
    }
}

impl Reply {
    /// Sends nothing, not even a status.
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
async fn retries_are_limited() {
    let server = Server::start(|_| Reply::new("503 Service Unavailable", &[], b"")).await;
    let setup = Setup::new(|_| {});
    let error = setup.fetch(&request(&[server.url("a")])).await.unwrap_err();
    assert_eq!(error.failure().class, FailureClass::Download);
    assert_eq!(server.count(), 4);
    // A failure is not cached.
    setup.fetch(&request(&[server.url("a")])).await.unwrap_err();
    assert_eq!(server.count(), 8);
}

#[tokio::test]
async fn a_retry_after_that_is_too_long_ends_the_retries() {
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
async fn a_refused_connection_is_a_transient_answer() {
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
async fn permanent_answers_are_not_retried() {
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
async fn an_endless_redirect_is_stopped() {
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

/// Closes the connection without a response.
fn hangs_up() -> Reply {
    Reply::ok(b"").cut(0)
}

#[tokio::test]
async fn a_server_that_stays_down_is_retried_only_after_a_pause() {
    // With no patience for outages, the first failure marks the server as down; the pause outlasts the test.
    let server = Server::start(|_| hangs_up()).await;
    let setup = Setup::new(|settings| settings.longest_outage = Duration::ZERO);
    let first = setup.answer(&request(&[server.url("a")])).await;
    assert!(matches!(first, Answer::Connection(_)), "{first}");
    let second = setup.answer(&request(&[server.url("b")])).await;
    assert_eq!(second, Answer::Away(first.to_string()));
    assert!(second.is_transient());
    assert_eq!(server.count(), 1);

    // Without a pause, the server is tried each time; any response, even a 503, restores the usual retries.
    let server = Server::start(|number| match number {
        0 | 1 => hangs_up(),
        2 | 3 => Reply::new("503 Service Unavailable", &[], b""),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|settings| {
        settings.longest_outage = Duration::ZERO;
        settings.outage_pause = Duration::ZERO;
    });
    for _ in 0..2 {
        let answer = setup.answer(&request(&[server.url("a")])).await;
        assert!(matches!(answer, Answer::Connection(_)), "{answer}");
    }
    setup.fetch(&request(&[server.url("a")])).await.unwrap();
    assert_eq!(server.count(), 5);
}

#[tokio::test]
async fn a_server_that_is_down_for_a_moment_is_retried() {
    let server = Server::start(|number| match number {
        0..3 => hangs_up(),
        _ => Reply::ok(&deb()),
    })
    .await;
    let setup = Setup::new(|_| {});
    setup.fetch(&request(&[server.url("a")])).await.unwrap();
    assert_eq!(server.count(), 4);
}
