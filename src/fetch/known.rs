//! Files that the store has, by digest or by the record of an earlier download.

use std::sync::Arc;

use super::address::Address;
use super::fetcher::{Fetched, Fetcher, name};
use super::local;
use super::record::Record;
use crate::digest::Sha256;
use crate::redact;

impl Fetcher {
    /// Returns the file if the store has it, without a connection: it is found by its digest, or by
    /// the record of one of its URLs.
    pub fn known(&self, candidates: &[Arc<str>], expected: Option<Sha256>) -> Option<Fetched> {
        if let Some(sha256) = expected {
            let metadata = std::fs::metadata(self.store.blob_path(sha256)).ok()?;
            let url = candidates.first().map_or("", |url| url);
            return Some(Fetched {
                sha256,
                size_bytes: metadata.len(),
                url: redact::url(url).into_owned(),
            });
        }
        if self.settings.refresh {
            return None;
        }
        self.recorded(candidates, |sha256| self.store.has_blob(sha256))
    }

    /// Like `known`, for callers that need only the digest: the content may also be in the shared
    /// store.
    pub fn known_anywhere(&self, candidates: &[Arc<str>]) -> Option<Fetched> {
        if self.settings.refresh {
            return None;
        }
        self.recorded(candidates, |sha256| self.store.knows_blob(sha256))
    }

    fn recorded(
        &self,
        candidates: &[Arc<str>],
        is_there: impl Fn(Sha256) -> bool,
    ) -> Option<Fetched> {
        candidates.iter().find_map(|url| {
            let address = Address::parse(url, &self.settings.base_folder).ok()?;
            let record = Record::find(&self.store, &name(&address))?;
            if self.distrusted().contains(&record.url) || !self.is_candidate(url, record.place()) {
                return None;
            }
            let is_same = match &address {
                Address::Remote(_) => true,
                Address::Local(path) => {
                    local::validators(path).ok()? == (record.size_bytes, record.validators.clone())
                }
            };
            (is_same && is_there(record.sha256)).then_some(Fetched {
                sha256: record.sha256,
                size_bytes: record.size_bytes,
                url: redact::url(&record.url).into_owned(),
            })
        })
    }
}
