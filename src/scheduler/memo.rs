//! What a run remembers while it lasts, for whichever of its builds asks next.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::failure::Failure;
use crate::plan::BuildId;

/// Remembers values for the length of a run.
pub(super) struct Memo<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    pub(super) fn put(&self, key: K, value: V) {
        self.lock().insert(key, value);
    }

    pub(super) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures that were tried again, by build.
#[derive(Default)]
pub(super) struct Retries(Mutex<HashMap<BuildId, Vec<Failure>>>);

impl Retries {
    pub(super) fn push(&self, build: BuildId, failure: Failure) {
        self.lock().entry(build).or_default().push(failure);
    }

    pub(super) fn take(&self, build: &BuildId) -> Vec<Failure> {
        self.lock().remove(build).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BuildId, Vec<Failure>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
