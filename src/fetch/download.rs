//! Downloads one file from one server: retries transient errors and resumes interrupted transfers.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::activity::Underway;
use super::body::Body;
use super::host::Host;
use super::record::Validators;
use super::{Answer, Settings};
use crate::error::causes;

/// The client, state and settings for one server.
pub(super) struct Server<'a> {
    pub(super) client: &'a Client,
    pub(super) host: Arc<Host>,
    pub(super) settings: &'a Settings,
}

/// A finished download.
pub(super) struct Complete {
    pub(super) validators: Validators,
    /// Whether it was joined from several responses, so that a wrong digest may come from mixed
    /// versions.
    pub(super) is_pieced: bool,
    /// Whether the server answered that the known content is unchanged, and sent no body.
    pub(super) is_unchanged: bool,
}

impl Server<'_> {
    /// Fetches `url` into `body`, unless its content still matches `known`.
    pub(super) async fn download(
        &self,
        url: &Url,
        body: &mut Body,
        known: Option<&Validators>,
    ) -> Result<Complete, Answer> {
        let settings = self.settings;
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(settings.first_delay)
            .with_max_delay(settings.longest_delay)
            .with_max_times(settings.retries)
            .with_jitter()
            .build();
        let mut complete = Complete {
            validators: Validators::default(),
            is_pieced: false,
            is_unchanged: false,
        };
        let underway = settings.activity.begin(url, settings.retries + 1);
        loop {
            underway.ask();
            let attempt = self.attempt(url, body, known, &mut complete, &underway);
            let answer = match attempt.await {
                Ok(()) => return Ok(complete),
                Err(answer) => answer,
            };
            let asked = match answer {
                Answer::Status { retry_after, .. } => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            match delays.next() {
                Some(delay)
                    if answer.is_transient()
                        && asked <= settings.longest_retry_after
                        && !self.host.is_away(settings) =>
                {
                    tracing::debug!(url = shown(url), %answer, "retrying");
                    underway.wait(&answer, delay.max(asked));
                    sleep(delay.max(asked)).await;
                }
                _ => return Err(answer),
            }
        }
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Answer> {
        self.host.may_ask(self.settings)?;
        let stall_timeout = self.settings.stall_timeout;
        let sent = timeout(stall_timeout, request.send()).await;
        let sent = sent.map_err(|_| Answer::Stalled(stall_timeout));
        match sent.and_then(|sent| sent.map_err(|error| send_answer(&error))) {
            Ok(response) => {
                self.host.has_answered();
                Ok(response)
            }
            Err(answer) => {
                self.host.has_failed(&answer);
                Err(answer)
            }
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        body: &mut Body,
        known: Option<&Validators>,
        complete: &mut Complete,
        underway: &Underway,
    ) -> Result<(), Answer> {
        // The semaphore is never closed.
        let _permit = self.host.connections.acquire().await.ok();
        let if_range = complete.validators.if_range().map(str::to_owned);
        // Without a validator only the digest shows whether the rest belongs to the same file as
        // the start.
        if if_range.is_none() && body.wanted().sha256.is_none() {
            body.reset()?;
        }
        let start_bytes = body.received_bytes();
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if start_bytes > 0 {
            request = request.header(RANGE, format!("bytes={start_bytes}-"));
            if let Some(validator) = if_range {
                request = request.header(IF_RANGE, validator);
            }
        }
        if start_bytes == 0
            && let Some(known) = known
        {
            let conditions = [
                (IF_NONE_MATCH, &known.etag),
                (IF_MODIFIED_SINCE, &known.last_modified),
            ];
            for (name, value) in conditions {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
        }
        tracing::trace!(url = shown(url), start_bytes, "requesting");
        let mut response = self.send(request).await?;
        tracing::trace!(url = shown(url), status = %response.status(), "answered");
        match response.status() {
            StatusCode::OK => {
                body.reset()?;
                complete.is_pieced = false;
                complete.validators = Validators::of(response.headers());
                if let Some(length) = response.content_length() {
                    body.wanted().check_size(length)?;
                }
            }
            StatusCode::NOT_MODIFIED if known.is_some() && start_bytes == 0 => {
                complete.is_unchanged = true;
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT if continues(&response, start_bytes, complete) => {
                complete.is_pieced = true;
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                body.reset()?;
                return Err(Answer::Truncated {
                    received_bytes: start_bytes,
                    cause: "the server cannot resume at this byte".to_owned(),
                });
            }
            status => {
                return Err(Answer::Status {
                    status: status.as_u16(),
                    retry_after: retry_after(response.headers()),
                });
            }
        }
        let is_length_known = response.content_length().is_some();
        self.receive(&mut response, body, underway).await?;
        match body.wanted().size_bytes {
            // A body that ends with its connection may have ended too early.
            Some(expected) if body.received_bytes() < expected && !is_length_known => {
                Err(Answer::Truncated {
                    received_bytes: body.received_bytes(),
                    cause: format!("expected {expected}"),
                })
            }
            _ => Ok(()),
        }
    }

    async fn receive(
        &self,
        response: &mut Response,
        body: &mut Body,
        underway: &Underway,
    ) -> Result<(), Answer> {
        let stall_timeout = self.settings.stall_timeout;
        let (mut window_start, mut window_bytes) = (Instant::now(), 0);
        loop {
            let chunk = timeout(stall_timeout, response.chunk())
                .await
                .map_err(|_| Answer::Stalled(stall_timeout))?
                .map_err(|error| Answer::Truncated {
                    received_bytes: body.received_bytes(),
                    cause: causes(&error.without_url()),
                })?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            body.write(&chunk)?;
            underway.receive(chunk.len() as u64);
            window_bytes += chunk.len() as u64;
            if window_start.elapsed() >= stall_timeout {
                if window_bytes < self.settings.stall_bytes {
                    return Err(Answer::Stalled(stall_timeout));
                }
                (window_start, window_bytes) = (Instant::now(), 0);
            }
        }
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        }
    }

    /// The validator for the header `If-Range`: a strong entity tag, or a date.
    fn if_range(&self) -> Option<&str> {
        let is_strong = |etag: &&String| !etag.starts_with("W/");
        let etag = self.etag.as_ref().filter(is_strong);
        etag.or(self.last_modified.as_ref()).map(String::as_str)
    }
}

/// Whether a partial response continues the received bytes: it starts where they end, and its
/// validators, if any, are the same.
fn continues(response: &Response, start_bytes: u64, complete: &Complete) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let found_start = range.and_then(|range| {
        let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
        start.parse::<u64>().ok()
    });
    let found = Validators::of(response.headers());
    let agrees = |found: Option<String>, expected: &Option<String>| {
        found.is_none() || expected.is_none() || &found == expected
    };
    start_bytes > 0
        && found_start == Some(start_bytes)
        && agrees(found.etag, &complete.validators.etag)
        && agrees(found.last_modified, &complete.validators.last_modified)
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = until.duration_since(jiff::Timestamp::now());
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

pub(super) fn send_answer(error: &reqwest::Error) -> Answer {
    let text = causes(error);
    if error.is_redirect() {
        Answer::Redirect(text)
    } else if error.is_builder() {
        Answer::Address(text)
    } else {
        Answer::Connection(text)
    }
}

fn shown(url: &Url) -> String {
    crate::redact::url(url.as_str()).into_owned()
}
