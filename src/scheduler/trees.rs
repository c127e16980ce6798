//! The trees that a run uses, and whether they are what their digests say.
//!
//! A tree of an earlier run is looked through once before it is used: by modes and times, which costs some milliseconds
//! and shows whatever the file system knows of. One that was written to is read whole; it is used if its digest is right
//! after all, and thrown away if not. Before a failure is kept, the trees that it came of are read whole as well: failures
//! are rare. What neither sees is a disk that returns other bytes than were written, while what came of it is a success:
//! for that there is `cache verify`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::pipeline::Pipeline;
use super::step::Halt;
use super::work::Work;
use crate::cache::StepResult;
use crate::digest::Sha256;
use crate::executor::Mount;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::FileError;
use crate::store::{FoundTree, Store};
use crate::unpack::{UnpackError, tree_digest_of_folder};

/// The trees that were looked through in this run.
#[derive(Default)]
pub(super) struct CheckedTrees {
    known: Mutex<HashMap<Sha256, Arc<Mutex<bool>>>>,
}

impl CheckedTrees {
    fn of(&self, tree: Sha256) -> Arc<Mutex<bool>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(tree).or_default().clone()
    }
}

impl Pipeline {
    /// Whether the tree is in the store and may be used; one that is damaged is thrown away.
    pub(super) fn has_tree(&self, tree: Sha256) -> Result<bool, FileError> {
        let checked = self.checked_trees.of(tree);
        let mut is_checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = self.store.find_tree(tree) else {
            return Ok(false);
        };
        if !*is_checked {
            let is_whole =
                self.store.is_untouched(&found)? || has_digest(&self.store, &found, tree)?;
            if !is_whole {
                self.store.discard_tree(&found)?;
                return Ok(false);
            }
            *is_checked = true;
        }
        self.store.touch_tree(tree);
        Ok(true)
    }

    /// A failure of a step itself as its outcome, if the trees that the step used are what their digests say.
    pub(super) fn own_failure(
        &self,
        trees: impl IntoIterator<Item = Sha256>,
        halt: Halt,
    ) -> Result<Work, Halt> {
        let failed = match halt {
            Halt::Failed(failed) if failed.failure.class.is_deterministic() => failed,
            halt => return Err(halt),
        };
        let result = self.confirmed(trees, StepResult::Failure(failed.failure))?;
        Ok(Work {
            log: failed.log,
            ..Work::plain(result)
        })
    }

    /// What a job gave. A failure is believed only if what the job was shown is what the digests say.
    pub(super) fn confirmed_job(
        &self,
        mounts: &[Mount],
        result: StepResult,
    ) -> Result<StepResult, Halt> {
        let trees = mounts.iter();
        let trees = trees.filter_map(|mount| self.store.tree_of(&mount.source));
        self.confirmed(trees, result)
    }

    fn confirmed(
        &self,
        trees: impl IntoIterator<Item = Sha256>,
        result: StepResult,
    ) -> Result<StepResult, Halt> {
        let phase = match &result {
            StepResult::Failure(failure) if failure.class.is_deterministic() => failure.phase,
            _ => return Ok(result),
        };
        for tree in trees {
            self.confirm(tree, phase)?;
        }
        Ok(result)
    }

    fn confirm(&self, tree: Sha256, phase: Phase) -> Result<(), Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, phase);
        let checked = self.checked_trees.of(tree);
        let mut is_checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.store.find_tree(tree) {
            if has_digest(&self.store, &found, tree).map_err(stored)? {
                return Ok(());
            }
            self.store.discard_tree(&found).map_err(stored)?;
        }
        *is_checked = false;
        let message = format!(
            "the tree {tree} in the cache was damaged on disk; it was removed, and the next run makes it again"
        );
        Err(Failure::new(FailureClass::Infrastructure, phase, message).into())
    }
}

/// Reads a tree whole; one that is right gets the modes and times of a tree that nobody wrote to.
fn has_digest(store: &Store, found: &FoundTree, tree: Sha256) -> Result<bool, FileError> {
    match tree_digest_of_folder(found.path()) {
        Ok(digest) if digest == tree => store.seal_tree(found).map(|()| true),
        // Another job found it damaged at the same time.
        Err(UnpackError::File(error)) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(false),
    }
}
