//! Runs one job as one Kubernetes Job, from its creation to its removal.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, SILENCE_LIMIT};
use super::manifest::{self, Described, PlacedTree};
use super::request;
use super::settings::CacheVolume;
use super::{KubernetesExecutor, Session};
use crate::error::chain;
use crate::executor::{
    Completion, ExecutorError, Exit, Job, LogSink, Resources, Toolchain, output, sandbox,
};

impl KubernetesExecutor {
    /// Runs one job, see [`crate::executor::Executor::run`].
    pub(super) async fn run_job(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        job.without_network("kubernetes")?;
        let image = self.image(&job.toolchain)?;
        let command = sandbox::command(job)?;
        let prepared = cancel.run_until_cancelled(self.prepare(job)).await;
        let Some((session, mut trees)) = prepared.transpose()? else {
            return Ok(cancelled());
        };
        let name = self.next_name(job);
        let followed = session.watcher.follow(&name);
        let lifetime = job.limits.timeout + self.settings.start_timeout + SILENCE_LIMIT;
        let courier = &session.courier;
        let mut expected = courier
            .expect(&name, &job.output, lifetime, &followed)
            .await?;
        let (must_pull, known) = self.must_pull(&trees).await;
        if must_pull {
            for tree in &mut trees {
                let archive = tree.archive.facts.sha256;
                tree.url = courier.input_url(&expected, archive, lifetime).await?;
            }
        }
        let batch = manifest::describe(&Described {
            settings: &self.settings,
            name: &name,
            job,
            image,
            command,
            trees: &trees,
            must_pull,
            result_url: &expected.result_url,
            token: &expected.token,
            authority: courier.authority(),
            executor: &self.id,
            epoch: self.epoch.load(Ordering::Relaxed),
            owner: &self.owner.to_string(),
            store: &self.home.name,
        });
        if cancel.run_until_cancelled(self.pace.wait()).await.is_none() {
            return Ok(cancelled());
        }
        // Not cancellable: an abandoned request may still create a Job.
        let created = request::create(&self.jobs(), &batch).await;
        let guard = RemovedLater::new(self, &name);
        created?;
        let mut attempt = Attempt {
            executor: self,
            job,
            name: &name,
            followed,
            started: Instant::now(),
        };
        let ended = attempt.supervise(&mut expected.result, log, cancel).await;
        // Also after a failure: a retry must not find anything of this attempt.
        let removed = guard.remove().await;
        if !must_pull && matches!(ended, Err(ExecutorError::Infrastructure { .. })) {
            // A tree that was assumed to be on the volume may be the reason.
            self.forget(&known).await;
        } else if ended.as_ref().is_ok_and(|done| done.exit == Exit::Code(0)) {
            self.remember(known).await;
        }
        let completion = ended?;
        if let Err(error) = removed {
            // The Job ends at its deadline, and its time to live removes it.
            tracing::warn!("failed to remove Job {name}: {}", chain(&error));
        }
        Ok(output::take_over(job, completion)?)
    }

    pub(super) fn image(&self, toolchain: &Toolchain) -> Result<String, ExecutorError> {
        match toolchain {
            Toolchain::Image { name, .. } => Ok(format!("{}{name}", self.settings.image_prefix)),
            Toolchain::Host { .. } => Err(ExecutorError::infrastructure(
                "executor `kubernetes` cannot use the compilers of this machine; use `--toolchain image`",
            )),
        }
    }

    async fn prepare(&self, job: &Job) -> Result<(&Session, Vec<PlacedTree>), ExecutorError> {
        let session = self.session().await?;
        let mut trees = Vec::with_capacity(job.mounts.len());
        for mount in &job.mounts {
            let archive = self.archives.of(&mount.source).await?;
            session.courier.offer(&archive).await?;
            let target = mount.target.to_str().ok_or_else(|| {
                let path = mount.target.display();
                ExecutorError::infrastructure(format!("path {path} is not UTF-8"))
            })?;
            trees.push(PlacedTree {
                archive,
                target: target.to_owned(),
                url: String::new(),
            });
        }
        Ok((session, trees))
    }

    /// Returns whether a tree may be missing on the volume, and the names of all trees. A claim is the same volume for
    /// all pods: what one pod of this run has found there exists for the next one too.
    async fn must_pull(&self, trees: &[PlacedTree]) -> (bool, Vec<crate::digest::Sha256>) {
        let names: Vec<_> = trees
            .iter()
            .map(|tree| tree.archive.facts.content)
            .collect();
        if !matches!(self.settings.cache, CacheVolume::Claim(_)) {
            return (!trees.is_empty(), names);
        }
        let on_volume = self.on_volume.lock().await;
        let must_pull = names.iter().any(|name| !on_volume.contains(name));
        (must_pull, names)
    }

    async fn remember(&self, trees: Vec<crate::digest::Sha256>) {
        self.on_volume.lock().await.extend(trees);
    }

    async fn forget(&self, trees: &[crate::digest::Sha256]) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        let mut on_volume = self.on_volume.lock().await;
        for tree in trees {
            on_volume.remove(tree);
        }
    }
}

pub(super) fn cancelled() -> Completion {
    Completion {
        exit: Exit::Cancelled,
        resources: Resources::default(),
    }
}

/// A Job that is removed on drop at the latest.
struct RemovedLater<'a> {
    executor: &'a KubernetesExecutor,
    name: Option<String>,
}

impl<'a> RemovedLater<'a> {
    fn new(executor: &'a KubernetesExecutor, name: &str) -> Self {
        Self {
            executor,
            name: Some(name.to_owned()),
        }
    }

    async fn remove(mut self) -> Result<(), ExecutorError> {
        let name = self.name.clone().unwrap_or_default();
        let removed = request::remove(&self.executor.jobs(), &name).await;
        self.name = None;
        removed
    }
}

impl Drop for RemovedLater<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let jobs = self.executor.jobs();
            // Nobody is left to receive an error; a Job that remains ends at its deadline, and its time to live removes
            // it.
            runtime.spawn(async move { drop(request::remove(&jobs, &name).await) });
        }
    }
}
