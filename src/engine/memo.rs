//! In-memory caches that builds share during a run.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Common;
use crate::failure::Failure;
use crate::plan::BuildId;

/// Caches values for the duration of a run.
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

/// The maximum number of owners whose values are cached at once.
const OWNERS: usize = 64;

/// Caches values of an owner, such as a kernel, that several consecutive builds request. The values are few, so the
/// search is linear.
pub(crate) struct OfOwner<O, K, V>(Mutex<HashMap<usize, Owned<O, K, V>>>);

struct Owned<O, K, V> {
    /// While the owner is held, no other value can have its address.
    _owner: Arc<O>,
    values: Vec<(K, V)>,
}

impl<O, K, V> Default for OfOwner<O, K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<O, K, V: Clone> OfOwner<O, K, V> {
    /// Returns the value of `owner` whose key satisfies `is`.
    pub(crate) fn get(&self, owner: &Arc<O>, is: impl Fn(&K) -> bool) -> Option<V> {
        let all = self.lock();
        let owned = all.get(&Arc::as_ptr(owner).addr())?;
        let found = owned.values.iter().find(|(key, _)| is(key))?;
        Some(found.1.clone())
    }

    pub(crate) fn put(&self, owner: &Arc<O>, key: K, value: V) {
        let mut all = self.lock();
        let address = Arc::as_ptr(owner).addr();
        if all.len() >= OWNERS && !all.contains_key(&address) {
            all.clear();
        }
        let owned = all.entry(address).or_insert_with(|| Owned {
            _owner: Arc::clone(owner),
            values: Vec::new(),
        });
        owned.values.push((key, value));
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Owned<O, K, V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores a single copy of equal values.
pub(crate) struct Alike<T>(Mutex<HashSet<Common<T>>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> Alike<T> {
    /// Returns the stored value that is equal to `value`.
    pub(crate) fn one(&self, value: T) -> Common<T> {
        let value = Common::from(value);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = all.get(&value) {
            return one.clone();
        }
        all.insert(value.clone());
        value
    }
}

/// Retried failures, by build.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_different_owners_are_separate() {
        let memo: OfOwner<String, u8, &str> = OfOwner::default();
        let [one, other] = ["kernel", "kernel"].map(|name| Arc::new(name.to_owned()));
        memo.put(&one, 1, "first");
        memo.put(&one, 2, "second");
        assert_eq!(memo.get(&one, |key| *key == 2), Some("second"));
        assert_eq!(memo.get(&one, |key| *key == 3), None);
        assert_eq!(memo.get(&other, |_| true), None);
        memo.clear();
        assert_eq!(memo.get(&one, |_| true), None);
    }

    #[test]
    fn the_oldest_owner_is_evicted() {
        let memo: OfOwner<usize, (), usize> = OfOwner::default();
        let owners: Vec<Arc<usize>> = (0..=OWNERS).map(Arc::new).collect();
        for owner in &owners {
            memo.put(owner, (), **owner);
        }
        assert_eq!(memo.get(&owners[0], |()| true), None);
        assert_eq!(memo.get(&owners[OWNERS], |()| true), Some(OWNERS));
    }

    #[test]
    fn equal_values_are_kept_once() {
        let alike: Alike<String> = Alike::default();
        let [one, equal, other] = ["a", "a", "b"].map(|text| alike.one(text.to_owned()));
        assert!(std::ptr::eq(&raw const *one, &raw const *equal));
        assert_eq!(*other, "b");
    }
}
