//! Files whose address stays while their content does not, as the archive of a branch.

use std::sync::PoisonError;

use super::body::Wanted;
use super::fetcher::{name, tried};
use super::record::Record;
use super::{ContentKind, FetchError, Fetcher};

/// What is known of a file whose address may give another one by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The store holds what the address gives now.
    Current,
    /// Offline: the store holds what the URL returned earlier, or nothing.
    NotAsked,
}

impl Fetcher {
    /// Asks `url` for what it gives now; a server that has nothing newer sends no more than that. Where this fails,
    /// what the address gave earlier does not count as known any more, for this fetcher.
    pub async fn renew(&self, url: &str, kind: ContentKind) -> Result<Renewed, FetchError> {
        let places = self.settings.mirrors.candidates(url);
        if places.is_empty() {
            return Ok(Renewed::NotAsked);
        }
        let mut error = FetchError { tried: Vec::new() };
        let name = match self.address(url) {
            Ok(address) => name(&address),
            Err(answer) => {
                error.tried.push(tried(url, answer));
                return Err(error);
            }
        };
        self.distrusted().insert(name.clone());
        let record =
            Record::find(&self.store, &name).filter(|record| self.store.has_blob(record.sha256));
        let wanted = Wanted {
            kind,
            sha256: None,
            size_bytes: None,
            limit_bytes: self.settings.limit_bytes,
        };
        for place in places {
            match self
                .fetch_place(url, &place, &wanted, record.as_ref())
                .await
            {
                Ok(_) => return Ok(Renewed::Current),
                Err(answer) => error.tried.push(tried(&place, answer)),
            }
        }
        Err(error)
    }

    /// Whether the address gave a file in an earlier run that the store still holds.
    pub fn has_earlier(&self, url: &str) -> bool {
        self.address(url)
            .ok()
            .and_then(|address| Record::find(&self.store, &name(&address)))
            .is_some_and(|record| self.store.has_blob(record.sha256))
    }

    /// Names of addresses that have to be asked before what they gave counts.
    pub(super) fn distrusted(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashSet<String>> {
        // Whole after every statement, so a panic elsewhere cannot have torn it.
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
