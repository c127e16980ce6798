//! Files whose content changes under the same URL, such as the archive of a branch.

use std::sync::PoisonError;

use super::body::Wanted;
use super::fetcher::{name, tried};
use super::record::Record;
use super::{ContentKind, FetchError, Fetcher};

/// The result of renewing a file whose content may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The store has the current content of the URL.
    Current,
    /// Offline: the store has the earlier content of the URL, or nothing.
    NotAsked,
}

impl Fetcher {
    /// Fetches the current content of `url`, by a conditional request if the store has an earlier
    /// one. After a failure this fetcher no longer uses the earlier content.
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

    /// Whether the store has a file that the URL returned earlier.
    pub fn has_earlier(&self, url: &str) -> bool {
        self.address(url)
            .ok()
            .and_then(|address| Record::find(&self.store, &name(&address)))
            .is_some_and(|record| self.store.has_blob(record.sha256))
    }

    /// Names of URLs whose records are not used until they are requested again.
    pub(super) fn distrusted(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashSet<String>> {
        // The set is consistent after every statement, so a panic elsewhere cannot have left it half changed.
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
