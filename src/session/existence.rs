//! Checks with their servers whether the files of a plan exist, which a run would otherwise find out one failure at a
//! time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::needs::all_needs;
use crate::fetch::{Existence, Fetcher, KnownAnswers, NotedAnswer};
use crate::fs::FileError;
use crate::resolve::{Context, Planned, said_while_waiting};
use crate::run::Need;
use crate::text::{count, separated};

/// The maximum number of concurrent requests; each server has fewer connections.
const AT_ONCE: usize = 64;

/// The number of files after which results are saved, so that an interrupted check can resume.
const KEPT_AFTER: usize = 1_000;

/// The files of a plan.
#[derive(Debug, Default)]
pub struct CheckedFiles {
    /// The files that servers were queried for.
    pub asked: Vec<CheckedFile>,
    /// The number of files that are in the cache.
    pub stored: usize,
    /// The number of files whose digest an index or a lock names.
    pub listed: usize,
}

/// A file, and whether it exists according to its servers.
#[derive(Debug)]
pub struct CheckedFile {
    /// The file.
    pub need: Need,
    /// The answer of the servers.
    pub existence: Existence,
    /// When the servers answered, if the answer comes from an earlier check.
    pub earlier: Option<Timestamp>,
}

/// Checks the files of a plan that only a rule, a list or the matrix names. Results of earlier checks are reused for
/// `max_age`.
pub async fn check_files(
    context: &Context,
    fetcher: &Fetcher,
    planned: &Planned,
    max_age: Duration,
) -> Result<CheckedFiles, FileError> {
    let mut checked = CheckedFiles::default();
    let mut wanted = Vec::new();
    for need in all_needs(fetcher, planned) {
        let request = &need.request;
        let published = request.sha256.filter(|_| !need.is_noted);
        if fetcher.known(&request.candidates, published).is_some() {
            checked.stored += 1;
        } else if published.is_some() {
            checked.listed += 1;
        } else {
            wanted.push(need);
        }
    }
    let known = KnownAnswers::read(fetcher.store().root());
    let now = Timestamp::now();
    let (done, total) = (AtomicUsize::new(0), wanted.len());
    let progress = || {
        let done = separated(done.load(Ordering::Relaxed));
        let files = count(total, "file");
        let asking = fetcher.activity().line()?;
        Some(format!("{done} of {files} checked; {asking}"))
    };
    let mut wanted = wanted.into_iter();
    loop {
        let part: Vec<Need> = wanted.by_ref().take(KEPT_AFTER).collect();
        if part.is_empty() {
            return Ok(checked);
        }
        let asked = futures_util::stream::iter(part)
            .map(|need| async {
                let question = fetcher.question(&need.request);
                let noted = known.find(question, max_age, now);
                let (existence, earlier) = match noted {
                    Some(noted) => (noted.existence(), Some(noted.at)),
                    None => (fetcher.exists(&need.request).await, None),
                };
                done.fetch_add(1, Ordering::Relaxed);
                let checked = CheckedFile {
                    need,
                    existence,
                    earlier,
                };
                (question, checked)
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>();
        let asked = said_while_waiting(context, progress, asked).await;
        let at = Timestamp::now();
        let new = asked
            .iter()
            .filter(|(_, one)| one.earlier.is_none())
            .filter_map(|(question, one)| {
                let url = match &one.existence {
                    Existence::Exists(url) => Some(url.clone()),
                    Existence::Missing => None,
                    Existence::Unknown(_) => return None,
                };
                Some((*question, NotedAnswer { at, url }))
            });
        known.keep(new, at)?;
        checked.asked.extend(asked.into_iter().map(|(_, one)| one));
    }
}
