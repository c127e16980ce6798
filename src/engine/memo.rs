//! What a run remembers while it lasts, for whichever of its builds asks next.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::failure::Failure;
use crate::plan::BuildId;

/// Remembers values for the length of a run.
pub(crate) struct Memo<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    pub(crate) fn put(&self, key: K, value: V) {
        self.lock().insert(key, value);
    }

    pub(crate) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures that were tried again, by build.
#[derive(Default)]
pub(crate) struct Retries(Mutex<HashMap<BuildId, Vec<Failure>>>);

impl Retries {
    pub(crate) fn push(&self, build: BuildId, failure: Failure) {
        self.lock().entry(build).or_default().push(failure);
    }

    pub(crate) fn take(&self, build: &BuildId) -> Vec<Failure> {
        self.lock().remove(build).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BuildId, Vec<Failure>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
