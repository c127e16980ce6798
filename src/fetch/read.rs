//! Reads files into memory: indexes and lists.

use std::sync::Arc;

use super::address::{Address, recorded};
use super::body::{Body, Wanted};
use super::fetcher::tried;
use super::record::{Record, Validators};
use super::{Answer, ContentKind, FetchError, Fetcher, Request, local};
use crate::fs::blocking;

impl Fetcher {
    /// Fetches a file into the store, unless the store has it, and returns its content.
    pub async fn fetch_bytes(&self, request: &Request) -> Result<Vec<u8>, FetchError> {
        let fetched = self.fetch(request).await?;
        let path = self.store.blob_path(fetched.sha256);
        let read = move || crate::fs::read(&path).map_err(|error| Answer::Store(error.to_string()));
        blocking(read).await.map_err(|answer| FetchError {
            tried: vec![tried(&fetched.url, answer)],
        })
    }

    /// Returns the content of an index or list, of at most `limit_bytes`. The content is cached,
    /// and revalidated by a conditional request.
    pub async fn get_index(&self, url: &str, limit_bytes: u64) -> Result<Vec<u8>, FetchError> {
        let wanted = Wanted {
            kind: ContentKind::Any,
            sha256: None,
            size_bytes: None,
            limit_bytes,
        };
        let mut error = FetchError { tried: Vec::new() };
        for place in self.places(url, &mut error) {
            match self.revalidate(&place, wanted.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(answer) => error.tried.push(tried(&place, answer)),
            }
        }
        Err(error)
    }

    async fn revalidate(&self, place: &str, wanted: Wanted) -> Result<Vec<u8>, Answer> {
        let Address::Remote(url) = Address::parse(place, &self.settings.base_folder)? else {
            return self.get_place(place, wanted).await;
        };
        let name = recorded(url.as_str());
        let (store, record_name) = (Arc::clone(&self.store), name.clone());
        let kept = blocking(move || {
            let record = Record::find(&store, &record_name).filter(|record| {
                record.validators != Validators::default()
                    && store.has_whole_blob(record.sha256).unwrap_or_default()
            });
            Ok(record)
        })
        .await?;
        let mut body = Body::in_memory(wanted);
        let known = kept.as_ref().map(|record| &record.validators);
        let complete = self.download_if_changed(&url, &mut body, known).await?;
        let store = Arc::clone(&self.store);
        if let (true, Some(record)) = (complete.is_unchanged, kept) {
            let read = move || {
                crate::fs::read(&store.blob_path(record.sha256))
                    .map_err(|error| Answer::Store(error.to_string()))
            };
            return blocking(read).await;
        }
        let bytes = body.into_memory()?;
        blocking(move || {
            let keep = |error: crate::fs::FileError| Answer::Store(error.to_string());
            let (sha256, size_bytes) = store.put_blob(bytes.as_slice()).map_err(keep)?;
            let record = Record::new(name, sha256, size_bytes, complete.validators);
            record.keep(&store).map_err(keep)?;
            Ok(bytes)
        })
        .await
    }

    async fn get_place(&self, place: &str, wanted: Wanted) -> Result<Vec<u8>, Answer> {
        let mut body = Body::in_memory(wanted);
        match Address::parse(place, &self.settings.base_folder)? {
            Address::Remote(url) => {
                self.download(&url, &mut body).await?;
            }
            Address::Local(path) => {
                body = blocking(move || local::read(&path, &mut body).map(|()| body)).await?;
            }
        }
        body.into_memory()
    }
}
