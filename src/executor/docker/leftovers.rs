//! Containers and volumes that could not be removed yet, and removals that are under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use tokio_util::task::TaskTracker;

use super::super::ExecutorError;
use super::container;
use super::volume::OutputVolume;

/// How long to wait for background removals at the end of a run.
const END: Duration = Duration::from_secs(10);

/// A container, and the volume that received its output.
pub(super) struct Leftover {
    pub(super) id: String,
    pub(super) output_volume: Option<OutputVolume>,
}

/// The leftovers of one daemon. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Leftovers {
    list: Arc<Mutex<Vec<Leftover>>>,
    background: TaskTracker,
}

impl Leftovers {
    /// Removes a container and its volume. On failure they stay in the list.
    pub(super) async fn remove(
        &self,
        docker: &Docker,
        leftover: Leftover,
    ) -> Result<(), ExecutorError> {
        let volume = leftover.output_volume.as_ref();
        let removed = container::remove(docker, &leftover.id, volume).await;
        if removed.is_err() {
            self.lock().push(leftover);
        }
        removed
    }

    /// Removes the container of a job that was dropped, in the background.
    pub(super) fn remove_later(&self, docker: &Docker, leftover: Leftover) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (own, docker) = (self.clone(), docker.clone());
            let removal = async move {
                // No caller is left for the error; `remove_all` or the sweep of a later run removes the rest.
                drop(own.remove(&docker, leftover).await);
            };
            drop(self.background.spawn_on(removal, &runtime));
        }
    }

    /// Retries the removals that failed. Call this when the daemon is back and before it gets a job again: the
    /// previous attempt at the job may still run.
    pub(super) async fn remove_all(&self, docker: &Docker) -> Result<(), ExecutorError> {
        let left = std::mem::take(&mut *self.lock());
        let mut result = Ok(());
        for leftover in left {
            let removed = self.remove(docker, leftover).await;
            result = result.and(removed);
        }
        result
    }

    /// Waits for background removals, then retries the removals that failed.
    pub(super) async fn finish(&self, docker: &Docker) -> Result<(), ExecutorError> {
        self.background.close();
        let ended = tokio::time::timeout(END, self.background.wait()).await;
        // More jobs may come.
        self.background.reopen();
        // A later run sweeps what could not be removed in time.
        drop(ended);
        self.remove_all(docker).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Leftover>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
