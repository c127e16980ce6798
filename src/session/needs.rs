//! The files that a plan needs, and those of them that cannot be had.

use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::fetch::{Fetcher, Request};
use crate::kernel::Architecture;
use crate::remote::Remote;
use crate::resolve::Planned;
use crate::run::{Need, needs};
use crate::store::Shared as _;

/// So many files are fetched at once.
const AT_ONCE: usize = 8;

/// So many further addresses of a missing file are named.
const SHOWN: usize = 2;

/// The files that the plan needs, with those that are in a distribution's list that is in the store.
pub(super) fn all_needs(fetcher: &Fetcher, planned: &Planned) -> Vec<Need> {
    needs(&planned.plan, Architecture::of_host(), |request| {
        let known = fetcher.known(&request.candidates, None)?;
        crate::fs::read_to_string(&fetcher.store().blob_path(known.sha256)).ok()
    })
}

/// What was brought into the store for a bundle.
#[derive(Debug, Default)]
pub struct Gathered {
    /// How each file is found in the store.
    pub requests: Vec<Request>,
    /// What is another file than a lock notes.
    pub replaced: Vec<String>,
    /// What cannot be had, with the reason.
    pub missing: Vec<String>,
}

/// Brings all files into the store.
pub async fn fetch_all(fetcher: &Fetcher, planned: &Planned) -> Gathered {
    let mut gathered = Gathered::default();
    // Once more for what a list names that was not there the first time.
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

/// What was brought into the store that machines share.
#[derive(Debug, Default)]
pub struct Archived {
    /// Files that the plan needs.
    pub files: usize,
    /// Those that were there already.
    pub known: usize,
    /// What cannot be had, with the reason.
    pub missing: Vec<String>,
}

/// Has all files kept by the store that machines share; those that it has are not fetched.
pub async fn archive(fetcher: &Fetcher, planned: &Planned, remote: &Remote) -> Archived {
    let mut archived = Archived::default();
    // Once more for what a list names that was not there the first time.
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

/// Brings a file into the store. Where a lock only notes what it is and its servers have something else, that is taken;
/// the second value says so.
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
                "{} has SHA-256 {} and not {noted}, which a lock notes and no index published: what it has goes into the \
                 bundle; the next run that unpacks it corrects the lock",
                fetched.url, fetched.sha256
            );
            return Ok((anew, Some(message)));
        }
    }
    Err(format!("missing for {wanted_by}: {error}"))
}

/// The files that an offline run lacks: neither in the store nor at a place that may be asked.
pub fn out_of_reach(fetcher: &Fetcher, planned: &Planned) -> Vec<String> {
    let needs = all_needs(fetcher, planned);
    let missing = needs
        .iter()
        .filter(|need| fetcher.is_out_of_reach(&need.request))
        // What an address gave counts more than a note where nobody can be asked.
        .filter(|need| !need.is_noted || fetcher.known(&need.request.candidates, None).is_none());
    missing
        .map(|need| {
            let places = places(&need.request.candidates);
            format!("missing for {}: {places}", need.wanted_by)
        })
        .collect()
}

/// Where a file can be; of guesses, of which there can be thirty, the first.
pub fn places(candidates: &[Arc<str>]) -> String {
    match candidates {
        [first, others @ ..] if others.len() > SHOWN => format!(
            "{first} or one of {} other URLs, which `kernels --headers` lists",
            others.len()
        ),
        all => all.join(" or "),
    }
}
