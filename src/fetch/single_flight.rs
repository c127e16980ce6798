//! Runs work once for all concurrent callers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

type Cell<V, E> = Arc<OnceCell<Result<V, E>>>;

/// Runs a piece of work once for each key.
///
/// The first caller with a key does the work; the others wait and get a clone of its result. A value is kept
/// as long as this object exists. An error is returned to all waiting callers and then forgotten, so that a later
/// caller tries again. If the caller that does the work is cancelled (its future is dropped), a waiting caller takes
/// over.
pub struct SingleFlight<K, V, E> {
    cells: Mutex<HashMap<K, Cell<V, E>>>,
}

impl<K, V, E> Default for SingleFlight<K, V, E> {
    fn default() -> Self {
        Self {
            cells: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> SingleFlight<K, V, E> {
    /// Returns the value of `key`: an existing one, the result of work under way, or the result of
    /// `work`.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = Arc::clone(self.lock().entry(key.clone()).or_default());
        let result = cell.get_or_init(work).await.clone();
        if result.is_err() {
            let mut cells = self.lock();
            // A later caller may have started a new cell meanwhile; that one stays.
            if cells.get(&key).is_some_and(|held| Arc::ptr_eq(held, &cell)) {
                cells.remove(&key);
            }
        }
        result
    }

    /// The value of `key`, if it exists.
    pub fn get(&self, key: &K) -> Option<V> {
        let cell = Arc::clone(self.lock().get(key)?);
        cell.get()?.as_ref().ok().cloned()
    }

    /// Forgets the result of `key`, so that the next caller does the work again.
    pub fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Removes the values for which `is_meant` returns true, so that the next caller does the work
    /// again.
    pub fn forget(&self, is_meant: impl Fn(&V) -> bool) {
        self.lock()
            .retain(|_, cell| !matches!(cell.get(), Some(Ok(value)) if is_meant(value)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Cell<V, E>>> {
        // The map is consistent after every statement, so a panic elsewhere cannot have left it half changed.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn work_is_done_once_and_its_value_kept() {
        let flight = SingleFlight::<_, _, ()>::default();
        let count = AtomicU32::new(0);
        let work = || async {
            tokio::task::yield_now().await;
            Ok(count.fetch_add(1, Ordering::Relaxed))
        };
        let all = join_all((0..10).map(|_| flight.run("key", work))).await;
        assert_eq!(all, [Ok(0); 10]);
        assert_eq!(flight.get(&"key"), Some(0));
        assert_eq!(flight.get(&"other"), None);
        assert_eq!(flight.run("other", work).await, Ok(1));
    }

    #[tokio::test]
    async fn an_error_goes_to_all_who_wait_and_is_then_forgotten() {
        let flight = SingleFlight::<_, u32, _>::default();
        let count = AtomicU32::new(0);
        let fail = || async {
            tokio::task::yield_now().await;
            Err(count.fetch_add(1, Ordering::Relaxed))
        };
        let all = join_all((0..10).map(|_| flight.run("key", fail))).await;
        assert_eq!(all, [Err(0); 10]);
        assert_eq!(flight.run("key", || async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_cancelled_worker_is_replaced() {
        let flight = Arc::new(SingleFlight::<_, _, ()>::default());
        let begun = Arc::new(Notify::new());
        let first = tokio::spawn({
            let (flight, begun) = (Arc::clone(&flight), Arc::clone(&begun));
            async move {
                let work = || async {
                    begun.notify_one();
                    std::future::pending().await
                };
                flight.run("key", work).await
            }
        });
        begun.notified().await;
        let mut second = Box::pin(flight.run("key", || async { Ok(2) }));
        assert!(futures_util::poll!(&mut second).is_pending());
        first.abort();
        assert_eq!(second.await, Ok(2));
    }
}
