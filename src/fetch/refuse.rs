//! Downloaded files that cannot be used: their records are removed, and other places are tried.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::address::Address;
use super::fetcher::{name, tried};
use super::record::Record;
use super::{Answer, FetchError, Fetcher};
use crate::digest::Sha256;
use crate::fs::FileError;

/// A place that returned this many unusable files is not requested again by this fetcher.
const MOST_REFUSALS: usize = 2;

/// A file that cannot be used, and the place that returned it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The name of the place; `None` for an entry that refuses the digest alone.
    place: Option<String>,
    sha256: Sha256,
    why: String,
}

impl Fetcher {
    /// Removes the records of these URLs for the file with this digest, because it cannot be used.
    /// The next request tries other places first, then the same place once more.
    pub fn refuse(
        &self,
        candidates: &[Arc<str>],
        sha256: Sha256,
        why: &str,
    ) -> Result<(), FileError> {
        let refusal = |place| Refusal {
            place,
            sha256,
            why: why.to_owned(),
        };
        let mut refused = vec![refusal(None)];
        for url in candidates {
            let record = self.record(url);
            // Another build may have refused the file already, and fetched it again.
            if let Some(record) = record.filter(|record| record.sha256 == sha256) {
                record.remove(&self.store)?;
                refused.push(refusal(self.place_name(record.place())));
            }
        }
        self.refusals().extend(refused);
        self.flights.forget(|fetched| fetched.sha256 == sha256);
        Ok(())
    }

    /// Makes the next request query the URLs again, whatever they returned earlier. Offline, the earlier content
    /// is still used.
    pub fn distrust(&self, candidates: &[Arc<str>]) {
        if self.is_offline() {
            return;
        }
        let names = candidates.iter().filter_map(|url| self.place_name(url));
        self.distrusted().extend(names);
    }

    /// Whether all of the URLs have to be requested again.
    pub fn is_distrusted(&self, candidates: &[Arc<str>]) -> bool {
        let distrusted = self.distrusted();
        let mut names = candidates.iter().map(|url| self.place_name(url));
        names.all(|name| name.is_some_and(|name| distrusted.contains(&name)))
    }

    /// Whether two places returned the file with this digest for one of the URLs, so that a fresh
    /// download would not differ.
    pub fn is_agreed(&self, candidates: &[Arc<str>], sha256: Sha256) -> bool {
        let mut records = candidates.iter().filter_map(|url| self.record(url));
        records.any(|record| record.is_agreed && record.sha256 == sha256)
    }

    /// The digest of the file that a URL returned last, if the store has it.
    pub fn last_given(&self, url: &str) -> Option<Sha256> {
        let record = self.record(url)?;
        self.store.has_blob(record.sha256).then_some(record.sha256)
    }

    /// Whether a URL returned another file than `known`, or two places agree on its file. A cheap
    /// first check of many URLs.
    pub fn has_news(&self, url: &str, known: Option<Sha256>) -> bool {
        let is_new = |record: Record| record.is_agreed || Some(record.sha256) != known;
        self.record(url).is_some_and(is_new)
    }

    /// Whether another place than `place` returned the file in `record`.
    pub(super) fn agrees(&self, record: &Record, place: &str) -> bool {
        let own = self.place_name(place);
        let is_same = |earlier: &Record| {
            let is_other = self.place_name(earlier.place()) != own;
            earlier.sha256 == record.sha256 && (earlier.is_agreed || is_other)
        };
        let refusals = self.refusals();
        let is_refusal = |refusal: &Refusal| {
            let is_other = refusal.place.is_some() && refusal.place != own;
            refusal.sha256 == record.sha256 && is_other
        };
        Record::find(&self.store, &record.url).is_some_and(|earlier| is_same(&earlier))
            || refusals.iter().any(is_refusal)
    }

    /// Records that a place of the URL `name` has other bytes than those on which two places
    /// agreed.
    pub(super) fn no_longer_agreed(&self, name: &str) {
        if let Some(mut record) = Record::find(&self.store, name).filter(|record| record.is_agreed)
        {
            record.is_agreed = false;
            // Ignored: a record that stays agreed costs one rejected download.
            drop(record.keep(&self.store));
        }
    }

    fn record(&self, url: &str) -> Option<Record> {
        let address = self.address(url).ok()?;
        Record::find(&self.store, &name(&address))
    }

    /// Whether the file with this digest was refused.
    pub fn is_refused(&self, sha256: Sha256) -> bool {
        let refusals = self.refusals();
        refusals.iter().any(|refusal| refusal.sha256 == sha256)
    }

    /// Messages about unusable files from the places of these URLs, except about the file `taken`,
    /// which was used in the end.
    pub fn refused_of(&self, candidates: &[Arc<str>], taken: Sha256) -> Vec<String> {
        if self.refusals().is_empty() {
            return Vec::new();
        }
        let places = candidates
            .iter()
            .flat_map(|url| self.settings.mirrors.candidates(url));
        let places: Vec<_> = places.filter_map(|place| self.place_name(&place)).collect();
        let refusals = self.refusals();
        refusals
            .iter()
            .filter(|refusal| refusal.sha256 != taken)
            .filter_map(|refusal| {
                let place = refusal.place.as_ref()?;
                places.contains(place).then(|| {
                    let Refusal { sha256, why, .. } = refusal;
                    format!("{place} returned an unusable file (SHA-256 {sha256}): {why}")
                })
            })
            .collect()
    }

    /// Whether a single local file is the only place, so that reading it again would not help.
    pub fn is_one_local_file(&self, candidates: &[Arc<str>]) -> bool {
        let mut places = candidates
            .iter()
            .flat_map(|url| self.settings.mirrors.candidates(url));
        let is_local = |place: &String| matches!(self.address(place), Ok(Address::Local(_)));
        places.next().as_ref().is_some_and(is_local) && places.next().is_none()
    }

    /// Whether `place` is still a candidate for `url`. Always true offline, where the earlier
    /// content is used.
    pub(super) fn is_candidate(&self, url: &str, place: &str) -> bool {
        let mirrors = &self.settings.mirrors;
        let place = self.place_name(place);
        let mut candidates = mirrors.candidates(url).into_iter();
        mirrors.is_offline || candidates.any(|candidate| self.place_name(&candidate) == place)
    }

    /// The places to try for `url`, those with the fewest unusable files first. Places that are
    /// skipped are added to `error`.
    pub(super) fn places_by_trust(
        &self,
        url: &str,
        wanted: Option<Sha256>,
        error: &mut FetchError,
    ) -> Vec<String> {
        let mut places = self.places(url, error);
        let refusals = self.refusals();
        if wanted.is_some() || refusals.is_empty() {
            return places;
        }
        let of = |place: &str| {
            let place = self.place_name(place);
            let mut count = 0;
            let mut last = None;
            for refusal in refusals.iter().filter(|refusal| refusal.place == place) {
                count += 1;
                last = Some(refusal);
            }
            (count, last)
        };
        places.sort_by_cached_key(|place| of(place).0);
        places.retain(|place| match of(place) {
            (MOST_REFUSALS.., Some(Refusal { sha256, why, .. })) => {
                let answer = Answer::Unusable {
                    sha256: *sha256,
                    why: why.clone(),
                };
                error.tried.push(tried(place, answer));
                false
            }
            _ => true,
        });
        places
    }

    /// The name of a place in records and refusals.
    fn place_name(&self, place: &str) -> Option<String> {
        self.address(place).ok().as_ref().map(name)
    }

    fn refusals(&self) -> MutexGuard<'_, Vec<Refusal>> {
        // The list is consistent after every statement, so a panic elsewhere cannot have left it half changed.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
