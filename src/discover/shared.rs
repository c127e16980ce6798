//! Shares lists between `[[target]]`s: each list is downloaded and parsed once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::DiscoverError;
use super::listed::Listed;
use crate::fetch::FetchError;
use crate::kernel::Architecture;
use crate::matrix::{ListPlace, SourceKind, TargetEntry};

type Name = (Architecture, String);

/// Lists that several `[[target]]`s read.
#[derive(Debug, Default)]
pub struct SharedLists {
    /// How many further requests are expected for each list.
    wanted: Mutex<HashMap<Name, usize>>,
    read: Mutex<HashMap<Name, Arc<Listed>>>,
    /// Lists that could not be downloaded. Further requests get the same error.
    failed: Mutex<HashMap<Name, FetchError>>,
    turns: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

impl SharedLists {
    /// Creates the collection for these entries. Each source of an entry requests its lists once.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a TargetEntry>) -> Self {
        let mut wanted: HashMap<Name, usize> = HashMap::new();
        for entry in entries {
            for source in &entry.kernels.get_ref().sources {
                let SourceKind::Crawler(places) = &source.get_ref().kind else {
                    continue;
                };
                for (architecture, place) in places {
                    if entry.architectures.contains(architecture) {
                        *wanted
                            .entry(name(*architecture, place.get_ref()))
                            .or_default() += 1;
                    }
                }
            }
        }
        Self {
            wanted: Mutex::new(wanted),
            ..Self::default()
        }
    }

    /// Returns the list if it was read before. The last expected request removes it.
    pub(super) fn find(
        &self,
        architecture: Architecture,
        place: &ListPlace,
    ) -> Option<Arc<Listed>> {
        let name = name(architecture, place);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_last(&name) {
            read.remove(&name)
        } else {
            read.get(&name).map(Arc::clone)
        }
    }

    /// Returns the lock that a caller holds while it requests a list.
    pub(super) fn turn(
        &self,
        architecture: Architecture,
        place: &ListPlace,
    ) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(name(architecture, place)).or_default())
    }

    /// Returns why the list could not be downloaded.
    pub(super) fn failed(
        &self,
        architecture: Architecture,
        place: &ListPlace,
    ) -> Option<FetchError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(&name(architecture, place)).cloned()
    }

    /// Records why the list could not be downloaded.
    pub(super) fn fail(
        &self,
        architecture: Architecture,
        place: &ListPlace,
        error: &DiscoverError,
    ) {
        if let Some(cause) = error.fetch_error() {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.insert(name(architecture, place), cause.clone());
        }
    }

    /// Keeps a new list if further requests for it are expected.
    pub(super) fn keep(
        &self,
        architecture: Architecture,
        place: &ListPlace,
        list: Listed,
    ) -> Arc<Listed> {
        let name = name(architecture, place);
        let list = Arc::new(list);
        if self.is_wanted(&name) {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(name, Arc::clone(&list));
        }
        list
    }

    /// Counts a request, and returns whether it is the last expected one for the list.
    fn is_last(&self, name: &Name) -> bool {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match wanted.get_mut(name) {
            Some(count) => {
                *count = count.saturating_sub(1);
                *count == 0
            }
            None => true,
        }
    }

    fn is_wanted(&self, name: &Name) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get(name).is_some_and(|count| *count > 0)
    }
}

fn name(architecture: Architecture, place: &ListPlace) -> Name {
    let place = if place.is_remote() {
        place.written.clone()
    } else {
        place.path().to_string_lossy().into_owned()
    };
    (architecture, place)
}
