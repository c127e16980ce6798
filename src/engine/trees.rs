//! The trees that a run uses, and checks that they match their digests.
//!
//! A tree of an earlier run is checked once before it is used, by modes and times, which takes some milliseconds and
//! detects every change known to the file system. A tree that was written to is read completely: it is used if its
//! digest still matches, and discarded otherwise. Before a failure is cached, the trees that led to it are read
//! completely as well, since failures are rare. Neither check detects a disk that returns other bytes than were written
//! while the step succeeds; `cache verify` detects that.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::halt::{Halt, Mode};
use crate::engine::step::StepRunner;
use crate::engine::work::Work;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::SingleFlight;
use crate::fs::{FileError, blocking};
use crate::store::{FoundTree, Store};
use crate::unpack::{Limits, UnpackError, tree_digest_of_folder, unpack_into_store};

/// The trees of the store that a run uses.
pub(crate) struct Trees {
    store: Arc<Store>,
    steps: Arc<StepRunner>,
    /// Steps whose trees are being rebuilt.
    flights: SingleFlight<Sha256, (), Halt>,
    /// The result of the check of each tree in this run.
    checked: Mutex<HashMap<Sha256, Arc<Mutex<bool>>>>,
}

impl Trees {
    /// Returns the trees of this store.
    pub(crate) fn new(store: Arc<Store>, steps: Arc<StepRunner>) -> Self {
        Self {
            store,
            steps,
            flights: SingleFlight::default(),
            checked: Mutex::default(),
        }
    }

    fn checked(&self, tree: Sha256) -> Arc<Mutex<bool>> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.entry(tree).or_default().clone()
    }

    /// Makes sure that trees made by a step are in the store. If one does not exist, or is damaged and therefore
    /// removed, `make` repeats the step's work: once at a time in this process, and among the processes that share the
    /// store. `whose` names what the trees were made from.
    pub(crate) async fn ensure(
        &self,
        wanted: &[Sha256],
        step: &KeyBuilder,
        phase: Phase,
        whose: impl Display + Send,
        make: BoxFuture<'_, Result<Work, Halt>>,
    ) -> Result<(), Halt> {
        if self.has_all(wanted, phase).await? {
            return Ok(());
        }
        let key = step.key();
        let again = async || {
            self.steps.may_begin(Mode::Run)?;
            let _lock = self.steps.lock(step, phase).await?;
            // Another process may have made the trees in the meantime.
            if self.has_all(wanted, phase).await? {
                return Ok(());
            }
            self.fetch_packed(wanted).await;
            if !self.has_all(wanted, phase).await? {
                tracing::debug!(step = step.step(), %key, "making trees again that are not in the store");
                make.await.map_err(Halt::of_inputs)?;
            }
            Ok(())
        };
        let made = Box::pin(self.flights.run(key, again)).await;
        // Allow another rebuild, because the tree may disappear again.
        self.flights.remove(&key);
        made?;
        if self.has_all(wanted, phase).await? {
            return Ok(());
        }
        let message = format!(
            "{whose} gave a different tree than before: it changed during the run, or the cache is damaged; run \
             `driverkit-matrix cache verify`"
        );
        Err(Failure::new(FailureClass::Infrastructure, phase, message).into())
    }

    /// Downloads trees from the shared store. A tree that is unavailable or has another digest is rebuilt.
    async fn fetch_packed(&self, wanted: &[Sha256]) {
        let Some(shared) = self.store.shared() else {
            return;
        };
        for &tree in wanted.iter().filter(|tree| !self.store.has_tree(**tree)) {
            let Some(content) = shared.packed_tree(tree) else {
                continue;
            };
            if !self.store.fetch_shared(content).await {
                continue;
            }
            let store = Arc::clone(&self.store);
            let unpacked = blocking(move || {
                let unpacked = unpack_into_store(&store, content, &Limits::default());
                // Only the tree is kept, not the archive.
                drop(crate::fs::remove_file(&store.blob_path(content)));
                unpacked
            });
            match unpacked.await {
                Ok(found) if found.sha256 == tree => {}
                Ok(found) => tracing::warn!("the packed tree {tree} contains {}", found.sha256),
                Err(error) => tracing::warn!("the packed tree {tree} cannot be used: {error}"),
            }
        }
    }

    async fn has_all(&self, wanted: &[Sha256], phase: Phase) -> Result<bool, Halt> {
        let mut is_there = true;
        for &tree in wanted {
            is_there &= self.has(tree, phase).await?;
        }
        Ok(is_there)
    }

    /// Whether the tree is in the store and may be used; a damaged one is removed.
    pub(crate) async fn has(&self, tree: Sha256, phase: Phase) -> Result<bool, Halt> {
        let (store, checked) = (self.store.clone(), self.checked(tree));
        blocking(move || look_through(&store, &checked, tree))
            .await
            .map_err(self.steps.stored(phase))
    }

    /// Returns the result of work, with a failure of the step itself as its outcome. A deterministic failure is trusted
    /// only if the trees that the step saw match their digests.
    pub(crate) async fn settle(&self, work: Result<Work, Halt>) -> Result<Work, Halt> {
        let mut failed = match work {
            Err(Halt::Failed(failed)) => failed,
            work => return work,
        };
        let Some(own) = failed.own.take() else {
            return Err(Halt::Failed(failed));
        };
        if failed.failure.class.is_deterministic() {
            for tree in own.trees {
                self.confirm(tree, failed.failure.phase).await?;
            }
        }
        Ok(Work {
            result: StepResult::Failure(failed.failure),
            log: failed.log,
            used: own.used,
        })
    }

    async fn confirm(&self, tree: Sha256, phase: Phase) -> Result<(), Halt> {
        let (store, checked) = (self.store.clone(), self.checked(tree));
        let is_right = blocking(move || read_whole(&store, &checked, tree)).await;
        if is_right.map_err(self.steps.stored(phase))? {
            return Ok(());
        }
        let message = format!(
            "the tree {tree} in the cache was damaged on disk; it was removed, and the next run creates it again"
        );
        Err(Failure::new(FailureClass::Infrastructure, phase, message).into())
    }
}

/// Whether the tree exists and is unmodified, or still has its digest; a tree with another digest is discarded.
fn look_through(store: &Store, checked: &Mutex<bool>, tree: Sha256) -> Result<bool, FileError> {
    let mut is_checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(found) = store.find_tree(tree) else {
        return Ok(false);
    };
    if !*is_checked {
        let is_whole = store.is_untouched(&found)? || has_digest(store, &found, tree)?;
        if !is_whole {
            tracing::debug!(%tree, "removing a damaged tree");
            store.discard_tree(&found)?;
            return Ok(false);
        }
        *is_checked = true;
    }
    store.touch_tree(tree);
    Ok(true)
}

/// Whether the tree exists with its digest; a tree with another digest is removed.
fn read_whole(store: &Store, checked: &Mutex<bool>, tree: Sha256) -> Result<bool, FileError> {
    let mut is_checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = store.find_tree(tree) {
        if has_digest(store, &found, tree)? {
            return Ok(true);
        }
        store.discard_tree(&found)?;
    }
    *is_checked = false;
    Ok(false)
}

/// Reads a tree completely. If its digest matches, the tree gets the modes and times of an unmodified tree.
fn has_digest(store: &Store, found: &FoundTree, tree: Sha256) -> Result<bool, FileError> {
    match tree_digest_of_folder(found.path()) {
        Ok(digest) if digest == tree => store.seal_tree(found).map(|()| true),
        // Another job may have found the damage at the same time.
        Err(UnpackError::File(error)) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(false),
    }
}
