//! Files that came and could not be used: forgotten, and asked for elsewhere.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::address::Address;
use super::fetcher::{name, tried};
use super::record::Record;
use super::{Answer, FetchError, Fetcher};
use crate::digest::Sha256;
use crate::fs::FileError;

/// A place that gave unusable files so often is not queried again by this fetcher.
const MOST_REFUSALS: usize = 2;

/// A file of a place that could not be used.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The place, as it is remembered; `None` if only a digest is refused that no server sent.
    place: Option<String>,
    sha256: Sha256,
    why: String,
}

impl Fetcher {
    /// Forgets that one of the addresses gave the file with this digest, because it cannot be used. Whoever asks for
    /// them next is given what another place has, else what the same place gives the second time.
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
            // Another build may have refused it already, and fetched it again.
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
    /// counts.
    pub fn distrust(&self, candidates: &[Arc<str>]) {
        if self.is_offline() {
            return;
        }
        let names = candidates.iter().filter_map(|url| self.place_name(url));
        self.distrusted().extend(names);
    }

    /// Whether all of the addresses have to be queried again.
    pub fn is_distrusted(&self, candidates: &[Arc<str>]) -> bool {
        let distrusted = self.distrusted();
        let mut names = candidates.iter().map(|url| self.place_name(url));
        names.all(|name| name.is_some_and(|name| distrusted.contains(&name)))
    }

    /// Whether two places gave the file with this digest for one of the addresses: then it is what they have.
    pub fn is_agreed(&self, candidates: &[Arc<str>], sha256: Sha256) -> bool {
        let mut records = candidates.iter().filter_map(|url| self.record(url));
        records.any(|record| record.is_agreed && record.sha256 == sha256)
    }

    /// What an address gave last, if the store holds it: its digest, and whether another place gave the same.
    pub fn last_given(&self, url: &str) -> Option<Sha256> {
        let record = self.record(url)?;
        self.store.has_blob(record.sha256).then_some(record.sha256)
    }

    /// Whether an address gave something else than `known`, or another place gave the same: a first look at many
    /// addresses, few of which say anything new.
    pub fn has_news(&self, url: &str, known: Option<Sha256>) -> bool {
        let is_new = |record: Record| record.is_agreed || Some(record.sha256) != known;
        self.record(url).is_some_and(is_new)
    }

    /// Whether another place than `place` gave what is in `record`.
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

    /// Notes that a place of the address `name` has other bytes than those that two places gave earlier.
    pub(super) fn no_longer_agreed(&self, name: &str) {
        if let Some(mut record) = Record::find(&self.store, name).filter(|record| record.is_agreed)
        {
            record.is_agreed = false;
            // One that stays agreed costs a download that is refused.
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

    /// What places of these addresses gave that could not be used and is not what was `taken` in the end, for a person.
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
                    format!("{place} gave a file that cannot be used (SHA-256 {sha256}): {why}")
                })
            })
            .collect()
    }

    /// Whether nothing but a single file of this machine can be read, so that asking again gives the same.
    pub fn is_one_local_file(&self, candidates: &[Arc<str>]) -> bool {
        let mut places = candidates
            .iter()
            .flat_map(|url| self.settings.mirrors.candidates(url));
        let is_local = |place: &String| matches!(self.address(place), Ok(Address::Local(_)));
        places.next().as_ref().is_some_and(is_local) && places.next().is_none()
    }

    /// Whether `url` may still be had from `place`. Offline, the earlier content counts.
    pub(super) fn is_candidate(&self, url: &str, place: &str) -> bool {
        let mirrors = &self.settings.mirrors;
        let place = self.place_name(place);
        let mut candidates = mirrors.candidates(url).into_iter();
        mirrors.is_offline || candidates.any(|candidate| self.place_name(&candidate) == place)
    }

    /// Where to ask for `url`: those first that gave nothing unusable yet. Why one is not asked any more is noted in
    /// `error`.
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

    /// What a place is called in records and refusals.
    fn place_name(&self, place: &str) -> Option<String> {
        self.address(place).ok().as_ref().map(name)
    }

    fn refusals(&self) -> MutexGuard<'_, Vec<Refusal>> {
        // Whole after every statement, so a panic elsewhere cannot have torn it.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
