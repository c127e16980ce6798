//! Implements the interface of the local store to the remote one.

use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Remote, with_help};
use crate::cache::Outcome;
use crate::digest::Sha256;
use crate::remote::news::{Contents, New};
use crate::remote::{contents, trees};
use crate::store::{Claim, Shared, Store};

impl Shared for Remote {
    fn outcome(&self, key: Sha256) -> Option<Vec<u8>> {
        let news = self.news();
        if news.forgotten.contains(&key) {
            return None;
        }
        if let Some(new) = news.outcomes.get(&key).filter(|new| new.is_learned) {
            return Some(new.text.clone());
        }
        drop(news);
        self.found.index.outcome(key)
    }

    fn note_outcome(&self, key: Sha256, text: &[u8]) {
        if self.settings.is_read_only
            || self
                .news()
                .outcomes
                .get(&key)
                .is_some_and(|new| new.text == text)
        {
            return;
        }
        let is_known = |known: Vec<u8>| known.trim_ascii_end() == text.trim_ascii_end();
        if self.outcome(key).is_some_and(is_known) {
            return;
        }
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let Ok(outcome) = serde_json::from_slice::<Outcome>(line) else {
            return;
        };
        let Some(contents) = self.queue_contents(&outcome) else {
            return;
        };
        let new = New {
            text: text.to_owned(),
            needs: contents.needs.clone(),
            is_learned: false,
        };
        self.news().outcomes.insert(key, new);
        self.leases
            .done(key, self.done(text, contents), &self.queue);
    }

    fn forget_outcome(&self, key: Sha256) {
        let mut news = self.news();
        news.outcomes.remove(&key);
        news.forgotten.insert(key);
    }

    fn claim(&self, key: Sha256) -> BoxFuture<'_, Claim> {
        async move {
            // The outcome of another machine was unusable before.
            if self.news().forgotten.contains(&key) {
                return Claim::Granted;
            }
            self.leases.claim(key).await
        }
        .boxed()
    }

    fn wait_for(&self, key: Sha256) -> BoxFuture<'_, ()> {
        async move {
            let Some(learned) = self.leases.wait_for(key).await else {
                return;
            };
            let line = learned.text.split(|&byte| byte == b'\n').next();
            let outcome = serde_json::from_slice::<Outcome>(line.unwrap_or_default());
            let contents = outcome.ok();
            let contents = contents.and_then(|outcome| Contents::of(&outcome, self.settings.keep));
            let Some(contents) = contents else {
                return;
            };
            let new = New {
                text: learned.text,
                needs: contents.needs,
                is_learned: true,
            };
            let mut news = self.news();
            news.learned.extend(learned.contents);
            news.outcomes.insert(key, new);
        }
        .boxed()
    }

    fn release(&self, key: Sha256) {
        self.leases.release(key);
    }

    fn record(&self, url: &str) -> Option<Vec<u8>> {
        self.found.index.record(url)
    }

    fn note_record(&self, url: &str, text: &[u8], content: Sha256) {
        let keep = self.settings.keep;
        if self.settings.is_read_only || !keep.headers || !url.contains("://") {
            return;
        }
        if self.found.index.record(url).as_deref() == Some(text) {
            return;
        }
        self.note_content(content);
        self.news().records.insert(url.to_owned(), text.to_owned());
    }

    fn packed_tree(&self, tree: Sha256) -> Option<Sha256> {
        let record = self.found.index.record(&trees::record_of(tree))?;
        String::from_utf8(record).ok()?.trim().parse().ok()
    }

    fn has(&self, content: Sha256) -> bool {
        self.size_of(content).is_some()
    }

    fn fetch<'a>(
        &'a self,
        content: Sha256,
        store: &'a Arc<Store>,
    ) -> BoxFuture<'a, Result<bool, String>> {
        async move {
            let fetched = contents::fetch(&self.bucket, content, store).await;
            fetched.map_err(|error| {
                let why = with_help(&error);
                let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
                faults.insert(why.clone());
                why
            })
        }
        .boxed()
    }
}
