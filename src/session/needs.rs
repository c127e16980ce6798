//! The files that a plan needs, and those of them that are not available.

use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::fetch::{Fetcher, Request};
use crate::kernel::{Architecture, Kernel};
use crate::recipe::image_request;
use crate::remote::Remote;
use crate::resolve::Planned;
use crate::run::{Need, needs};
use crate::store::Shared as _;

/// The maximum number of files that are fetched concurrently.
const AT_ONCE: usize = 8;

/// The maximum number of further URLs of a missing file that are shown.
const SHOWN: usize = 2;

/// Returns the files that the plan needs, including those named by a distribution's list in the store.
pub(super) fn all_needs(fetcher: &Fetcher, planned: &Planned) -> Vec<Need> {
    let text_of = |request: &Request| {
        let known = fetcher.known(&request.candidates, None)?;
        crate::fs::read_to_string(&fetcher.store().blob_path(known.sha256)).ok()
    };
    let image_of = |kernel: &Kernel, headers: &[Request]| {
        // Of several URLs, the one that has the headers is known once they are fetched.
        let headers = headers
            .iter()
            .filter_map(|request| match &*request.candidates {
                [url] => Some(Arc::clone(url)),
                all => Some(fetcher.known(all, request.sha256)?.url.into()),
            });
        let headers: Vec<Arc<str>> = headers.collect();
        image_request(kernel, &headers, fetcher)
    };
    needs(&planned.plan, Architecture::of_host(), text_of, image_of)
}

/// The files that were brought into the store for a bundle.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The request that finds each file in the store.
    pub requests: Vec<Request>,
    /// The files that differ from the digest in a lock.
    pub replaced: Vec<String>,
    /// The files that are not available, with the reason.
    pub missing: Vec<String>,
}

/// Fetches all files into the store.
pub async fn fetch_all(fetcher: &Fetcher, planned: &Planned) -> Gathered {
    let mut gathered = Gathered::default();
    // Repeat once for files named by a list, or by the URL of headers, that was not available in the first pass.
    for _ in 0..2 {
        gathered.requests.clear();
        gathered.missing.clear();
        let needs = all_needs(fetcher, planned).into_iter();
        let mut fetched = futures_util::stream::iter(needs)
            .map(|need| fetch_need(fetcher, need))
            .buffered(AT_ONCE);
        while let Some(need) = fetched.next().await {
            match need {
                Ok((request, replaced)) => {
                    gathered.requests.push(request);
                    let is_new = |text: &String| !gathered.replaced.contains(text);
                    gathered.replaced.extend(replaced.filter(is_new));
                }
                Err(problem) => gathered.missing.push(problem),
            }
        }
    }
    gathered
}

/// The result of uploading files to the shared store.
#[derive(Debug, Default)]
pub struct Archived {
    /// The number of files that the plan needs.
    pub files: usize,
    /// The number of files that were already in the shared store.
    pub known: usize,
    /// The files that are not available, with the reason.
    pub missing: Vec<String>,
}

/// Adds all files to the shared store; files that it already has are not fetched.
pub async fn archive(fetcher: &Fetcher, planned: &Planned, remote: &Remote) -> Archived {
    let mut archived = Archived::default();
    // Repeat once for files named by a list that was not available in the first pass.
    for _ in 0..2 {
        archived = Archived::default();
        let needs = all_needs(fetcher, planned);
        archived.files = needs.len();
        let is_known = |need: &Need| {
            let request = &need.request;
            let recorded = || fetcher.known_anywhere(&request.candidates);
            let sha256 = request
                .sha256
                .or_else(|| recorded().map(|known| known.sha256));
            sha256.is_some_and(|sha256| remote.has(sha256))
        };
        let (known, wanted): (Vec<Need>, Vec<Need>) = needs.into_iter().partition(is_known);
        archived.known = known.len();
        let mut fetched = futures_util::stream::iter(wanted)
            .map(|need| fetch_need(fetcher, need))
            .buffered(AT_ONCE);
        while let Some(need) = fetched.next().await {
            match need {
                Ok((request, _)) => {
                    let fetched = fetcher.known(&request.candidates, request.sha256);
                    if let Some(fetched) = fetched {
                        remote.note_content(fetched.sha256);
                    }
                }
                Err(problem) => archived.missing.push(problem),
            }
        }
    }
    archived
}

/// Fetches a file into the store. If the digest in the lock was not published by an index and the servers now deliver a
/// different file, that file is accepted, and the second value reports it.
async fn fetch_need(fetcher: &Fetcher, need: Need) -> Result<(Request, Option<String>), String> {
    let Need {
        request,
        is_noted,
        wanted_by,
    } = need;
    let Err(error) = fetcher.fetch(&request).await else {
        return Ok((request, None));
    };
    let noted = request.sha256.filter(|_| is_noted);
    if let Some(noted) = noted {
        let anew = Request {
            sha256: None,
            size_bytes: None,
            ..request
        };
        if let Ok(fetched) = fetcher.fetch(&anew).await {
            let message = format!(
                "{} has SHA-256 {}, but a lock has the unpublished digest {noted}: the bundle contains the file as it is \
                 now; the next run that unpacks it corrects the lock",
                fetched.url, fetched.sha256
            );
            return Ok((anew, Some(message)));
        }
    }
    Err(format!("missing for {wanted_by}: {error}"))
}

/// Returns the files that an offline run lacks: those that are neither in the store nor at a location that may be
/// accessed.
pub fn out_of_reach(fetcher: &Fetcher, planned: &Planned) -> Vec<String> {
    let needs = all_needs(fetcher, planned);
    let missing = needs
        .iter()
        .filter(|need| fetcher.is_out_of_reach(&need.request))
        // If no server can be queried, what a URL delivered before overrides an unpublished digest in the lock.
        .filter(|need| !need.is_noted || fetcher.known(&need.request.candidates, None).is_none());
    missing
        .map(|need| {
            let places = places(&need.request.candidates);
            format!("missing for {}: {places}", need.wanted_by)
        })
        .collect()
}

/// Lists the URLs of a file. Only the first are shown: there can be thirty guesses.
pub fn places(candidates: &[Arc<str>]) -> String {
    match candidates {
        [first, others @ ..] if others.len() > SHOWN => format!(
            "{first} or one of {} other URLs, which `kernels --headers` lists",
            others.len()
        ),
        all => all.join(" or "),
    }
}
