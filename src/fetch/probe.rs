//! Finds which of many possible URLs has a file, by concurrent requests without a download.

use std::sync::Arc;

use futures_util::StreamExt as _;
use reqwest::StatusCode;
use reqwest::header::RANGE;
use url::Url;

use super::address::Address;
use super::body::Wanted;
use super::download::{Server, retry_after};
use super::fetcher::tried;
use super::{Answer, FetchError, Fetched, Fetcher, Request};
use crate::digest::Sha256;
use crate::redact;

/// The number of candidates from which they are treated as guesses, most of them wrong.
const MANY: usize = 3;

/// The most probes under way at a time.
const AHEAD: usize = 16;

/// The answer of a URL to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The URL, without user name and password.
    pub url: String,
    /// `Ok` if the file exists, otherwise the answer.
    pub answer: Result<(), Answer>,
}

/// Whether a file exists, according to the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existence {
    /// The first candidate that has it, without user name and password.
    Exists(String),
    /// Every candidate answered that the file does not exist.
    Missing,
    /// No candidate is known to have it, and some gave no clear answer.
    Unknown(FetchError),
}

impl Request {
    /// Whether the candidates are probed before one is downloaded.
    pub(super) fn has_guesses(&self) -> bool {
        self.sha256.is_none() && self.candidates.len() >= MANY
    }
}

impl Fetcher {
    /// Downloads from the first candidate that has the file. Candidates whose probe failed with a
    /// transient error are tried last, with retries.
    pub(super) async fn fetch_guesses(
        &self,
        request: &Request,
        wanted: &Wanted,
    ) -> Result<Fetched, FetchError> {
        let mut error = FetchError { tried: Vec::new() };
        let mut unsure = Vec::new();
        let mut candidates = &request.candidates[..];
        while let Some(place) = self
            .first_to_have_it(candidates, &mut error, &mut unsure)
            .await
        {
            match self.fetch_shared(&candidates[place], wanted).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => error.tried.extend(failed.tried),
            }
            candidates = &candidates[place + 1..];
        }
        for url in unsure {
            match self.fetch_shared(&url, wanted).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => error.tried.extend(failed.tried),
            }
        }
        Err(error)
    }

    /// The index of the first candidate that has the file. No probe is under way after this
    /// returns: it would hold a connection that the download needs.
    async fn first_to_have_it(
        &self,
        candidates: &[Arc<str>],
        error: &mut FetchError,
        unsure: &mut Vec<Arc<str>>,
    ) -> Option<usize> {
        let candidates = candidates.iter().cloned().enumerate();
        let mut answers = futures_util::stream::iter(candidates)
            .map(|(place, url)| async move {
                let answer = self.probe(&url).await;
                (place, url, answer)
            })
            .buffered(AHEAD);
        while let Some((place, url, answer)) = answers.next().await {
            match answer {
                Ok(()) => return Some(place),
                Err(failed) if failed.tried.iter().any(|one| one.answer.is_transient()) => {
                    unsure.push(url);
                }
                Err(failed) => error.tried.extend(failed.tried),
            }
        }
        None
    }

    /// Probes `url` and its mirrors, in the order in which they would be tried. Nothing is
    /// downloaded.
    pub async fn ask(&self, url: &str) -> Vec<Probed> {
        let mut error = FetchError { tried: Vec::new() };
        let mut probed = Vec::new();
        for place in self.places(url, &mut error) {
            let answer = self.probe_place(&place).await;
            probed.push(Probed {
                url: redact::url(&place).into_owned(),
                answer,
            });
        }
        let unasked = error.tried.into_iter().map(|tried| Probed {
            url: tried.url,
            answer: Err(tried.answer),
        });
        probed.extend(unasked);
        probed
    }

    /// Whether one of the candidates of a request has the file. Nothing is downloaded.
    pub async fn exists(&self, request: &Request) -> Existence {
        let mut error = FetchError { tried: Vec::new() };
        let mut answers = futures_util::stream::iter(&request.candidates)
            .map(|url| async move {
                self.probe(url)
                    .await
                    .map(|()| redact::url(url).into_owned())
            })
            .buffered(AHEAD);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(url) => return Existence::Exists(url),
                Err(failed) => error.tried.extend(failed.tried),
            }
        }
        if error.tried.iter().all(|one| one.answer.is_not_there()) {
            Existence::Missing
        } else {
            Existence::Unknown(error)
        }
    }

    /// The key of a request in [`KnownAnswers`](super::KnownAnswers): equal for the same places.
    pub fn question(&self, request: &Request) -> Sha256 {
        let mut places = String::new();
        for url in &request.candidates {
            for place in self.settings.mirrors.candidates(url) {
                places += &place;
                places.push('\n');
            }
        }
        Sha256::of(places)
    }

    /// Whether `url` or one of its mirrors has a file.
    async fn probe(&self, url: &str) -> Result<(), FetchError> {
        let mut error = FetchError { tried: Vec::new() };
        for place in self.places(url, &mut error) {
            match self.probe_place(&place).await {
                Ok(()) => return Ok(()),
                Err(answer) => error.tried.push(tried(&place, answer)),
            }
        }
        Err(error)
    }

    async fn probe_place(&self, place: &str) -> Result<(), Answer> {
        match self.address(place)? {
            Address::Remote(url) => self.server(&url)?.probe(&url).await,
            Address::Local(path) if path.is_file() => Ok(()),
            Address::Local(_) => Err(Answer::NoFile),
        }
    }
}

impl Server<'_> {
    /// Probes for a file with HEAD or, if the server refuses HEAD, with a GET of the first byte.
    async fn probe(&self, url: &Url) -> Result<(), Answer> {
        // The semaphore is never closed.
        let _permit = self.host.connections.acquire().await.ok();
        let _underway = self.settings.activity.begin(url, 1);
        let head = self.status(self.client.head(url.clone())).await?;
        let refused = match head.0 {
            status if status.is_success() => return Ok(()),
            StatusCode::NOT_FOUND | StatusCode::GONE => head,
            _ => {
                self.status(self.client.get(url.clone()).header(RANGE, "bytes=0-0"))
                    .await?
            }
        };
        if refused.0.is_success() {
            return Ok(());
        }
        Err(Answer::Status {
            status: refused.0.as_u16(),
            retry_after: refused.1,
        })
    }

    async fn status(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Option<std::time::Duration>), Answer> {
        let response = self.send(request).await?;
        Ok((response.status(), retry_after(response.headers())))
    }
}
