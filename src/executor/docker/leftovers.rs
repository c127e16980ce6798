//! Containers and volumes of jobs, and their removal: what could not be removed yet, and removals that are under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder};
use tokio_util::task::TaskTracker;

use super::super::ExecutorError;
use super::connection::{failure, has_status};

/// How long to wait for background removals at the end of a run.
const END: Duration = Duration::from_secs(10);

/// A volume for the outputs of one job, and the container that keeps it alive.
#[derive(Clone)]
pub(super) struct OutputVolume {
    pub(super) name: String,
    pub(super) holder: String,
}

impl OutputVolume {
    /// Removes the container and the volume. It is not an error if they no longer exist.
    pub(super) async fn remove(&self, docker: &Docker) -> Result<(), ExecutorError> {
        remove_container(docker, &self.holder, None).await?;
        remove_volume(docker, &self.name).await
    }
}

/// A container, and the volume that received its output.
struct Leftover {
    id: String,
    output_volume: Option<OutputVolume>,
}

/// The leftovers of one daemon. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Leftovers {
    list: Arc<Mutex<Vec<Leftover>>>,
    background: TaskTracker,
}

impl Leftovers {
    /// Removes a container and its volume. On failure they stay in the list.
    async fn remove(&self, docker: &Docker, leftover: Leftover) -> Result<(), ExecutorError> {
        let volume = leftover.output_volume.as_ref();
        let removed = remove_container(docker, &leftover.id, volume).await;
        if removed.is_err() {
            self.lock().push(leftover);
        }
        removed
    }

    /// Removes the container of a job that was dropped, in the background.
    fn remove_later(&self, docker: &Docker, leftover: Leftover) {
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

/// A created container. It is removed with its output volume when this is dropped, if not before.
pub(super) struct Created {
    docker: Docker,
    leftovers: Leftovers,
    id: Option<String>,
    pub(super) output_volume: Option<OutputVolume>,
}

impl Created {
    pub(super) fn new(
        docker: Docker,
        leftovers: Leftovers,
        id: String,
        output_volume: Option<OutputVolume>,
    ) -> Self {
        Self {
            docker,
            leftovers,
            id: Some(id),
            output_volume,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(super) async fn remove(mut self) -> Result<(), ExecutorError> {
        let leftover = Leftover {
            id: self.id().to_owned(),
            output_volume: self.output_volume.clone(),
        };
        let removed = self.leftovers.remove(&self.docker, leftover).await;
        // Cleared only now: if this future is dropped earlier, `drop` removes the container in the background.
        self.id = None;
        removed
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let output_volume = self.output_volume.take();
            let leftover = Leftover { id, output_volume };
            self.leftovers.remove_later(&self.docker, leftover);
        }
    }
}

/// Kills and removes a container with its anonymous volumes and its output volume. It is not an error if one is
/// already removed or being removed.
pub(super) async fn remove_container(
    docker: &Docker,
    id: &str,
    output_volume: Option<&OutputVolume>,
) -> Result<(), ExecutorError> {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    match docker.remove_container(id, Some(options)).await {
        Err(error) if !has_status(&error, 404) && !has_status(&error, 409) => {
            Err(failure("remove a container", error))
        }
        _ => match output_volume {
            Some(output) => Box::pin(output.remove(docker)).await,
            None => Ok(()),
        },
    }
}

/// Removes a volume. It is not an error if it does not exist.
pub(super) async fn remove_volume(docker: &Docker, name: &str) -> Result<(), ExecutorError> {
    let options = RemoveVolumeOptionsBuilder::new().force(true).build();
    match docker.remove_volume(name, Some(options)).await {
        Err(error) if !has_status(&error, 404) => {
            Err(failure(&format!("remove volume {name}"), error))
        }
        _ => Ok(()),
    }
}
