//! Counts the traffic of a bucket, and recognizes responses that no object store sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use reqwest::header::HeaderName;

use super::acl::{Acl, S3Signer, WithAcl};

/// The requests to a bucket including retries, and the size of the responses according to their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCount {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests that wrote or removed something.
    pub writes: u64,
    /// Bytes of responses.
    pub received_bytes: u64,
    /// Bytes of requests.
    pub sent_bytes: u64,
}

impl std::ops::Add for TrafficCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            writes: self.writes + other.writes,
            received_bytes: self.received_bytes + other.received_bytes,
            sent_bytes: self.sent_bytes + other.sent_bytes,
        }
    }
}

/// Counters that are updated during requests.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    requests: AtomicU64,
    writes: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn count(&self) -> TrafficCount {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        TrafficCount {
            requests: read(&self.requests),
            writes: read(&self.writes),
            received_bytes: read(&self.received_bytes),
            sent_bytes: read(&self.sent_bytes),
        }
    }

    /// Counts an operation on a directory as a request.
    pub(super) fn note(&self, is_write: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if is_write {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The cause of an error: the response came from a proxy, a portal or a web site instead of an object store.
#[derive(Debug, thiserror::Error)]
#[error("the response is an HTML page")]
pub(super) struct HtmlPage;

/// Creates clients that count requests, and set an ACL on written objects.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) traffic: Arc<Traffic>,
    pub(super) acl: Option<(Acl, HeaderName, Arc<S3Signer>)>,
}

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let client = match &self.acl {
            None => client,
            Some((acl, header, signer)) => HttpClient::new(WithAcl {
                client,
                header: header.clone(),
                acl: acl.clone(),
                signer: Arc::clone(signer),
            }),
        };
        Ok(HttpClient::new(Counted {
            client,
            traffic: Arc::clone(&self.traffic),
        }))
    }
}

#[derive(Debug)]
struct Counted {
    client: HttpClient,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.traffic.note(!request.method().is_safe());
        let sent = request.body().content_length() as u64;
        self.traffic.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        let response = self.client.execute(request).await?;
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text("content-length").and_then(|length| length.parse().ok());
        self.traffic
            .received_bytes
            .fetch_add(length.unwrap_or(0), Ordering::Relaxed);
        let is_html = text("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        let of_provider = ["x-amz-", "x-goog-", "x-guploader-", "x-ms-"];
        let is_of_provider = |name: &str| of_provider.iter().any(|start| name.starts_with(start));
        if response.status().is_success()
            && is_html
            && !headers.keys().any(|name| is_of_provider(name.as_str()))
        {
            return Err(HttpError::new(HttpErrorKind::Decode, HtmlPage));
        }
        Ok(response)
    }
}
