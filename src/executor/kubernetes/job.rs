//! One job as one Job, from its creation to its removal.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::manifest::{self, Described, PlacedTree};
use super::pod_state::PodState;
use super::request;
use super::result::{self, Status};
use super::settings::CacheVolume;
use super::watch::Followed;
use super::{KubernetesExecutor, Session};
use crate::executor::{
    Completion, ExecutorError, Exit, Job, LogSink, Resources, Toolchain, output, sandbox,
};

/// A Job without a pod after this time is asked why, once.
const POD_EXPECTED_WITHIN: Duration = Duration::from_secs(10);

/// How long the end of a container and its result may be apart: `deliver` tries for long, on a node that has much
/// else to do, and says when it gives up.
const RESULT_EXPECTED_WITHIN: Duration = Duration::from_mins(5);

/// The same where the pod is being removed: it is killed after a short time of grace.
const LAST_WORDS_EXPECTED_WITHIN: Duration = Duration::from_secs(30);

/// How long after a bad end the cluster may take to say whether memory was the reason.
const REASON_EXPECTED_WITHIN: Duration = Duration::from_secs(15);

/// How often, and at which distance, a Job is asked why its pod was removed.
const CONDITION_ATTEMPTS: u32 = 20;
const CONDITION_INTERVAL: Duration = Duration::from_millis(500);

/// How long after its deadline a Job may be unheard of.
const SILENCE_LIMIT: Duration = Duration::from_mins(2);

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
        let Some((session, trees)) = prepared.transpose()? else {
            return Ok(cancelled());
        };
        let name = self.next_name(job);
        let mut expected = session.server.expect(&name, &job.output)?;
        let (must_pull, known) = self.must_pull(&trees).await;
        let batch = manifest::describe(&Described {
            settings: &self.settings,
            name: &name,
            job,
            image,
            command,
            trees: &trees,
            must_pull,
            url: &expected.url,
            token: &expected.token,
            authority: session.server.authority.as_deref(),
            executor: &self.id,
            epoch: self.epoch.load(Ordering::Relaxed),
            owner: &self.owner.to_string(),
            store: &self.home.name,
        });
        let followed = session.watcher.follow(&name);
        if cancel.run_until_cancelled(self.pace.wait()).await.is_none() {
            return Ok(cancelled());
        }
        // Not interrupted: a request that is given up may still make a Job.
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
        // Also after a failure: whoever tries again must find nothing of this attempt.
        let removed = guard.remove().await;
        if !must_pull && matches!(ended, Err(ExecutorError::Infrastructure { .. })) {
            // What was taken for granted may be the reason.
            self.forget(&known).await;
        } else if ended.as_ref().is_ok_and(|done| done.exit == Exit::Code(0)) {
            self.remember(known).await;
        }
        let mut completion = ended?;
        if let Err(error) = removed {
            // It ends by its deadline and goes by its time to live.
            tracing::warn!("Job {name} could not be removed: {error}");
        }
        output::accept(&job.output, &mut completion.resources)?;
        Ok(completion)
    }

    fn image(&self, toolchain: &Toolchain) -> Result<String, ExecutorError> {
        match toolchain {
            Toolchain::Image { name, .. } => Ok(format!("{}{name}", self.settings.image_prefix)),
            Toolchain::Host { .. } => Err(ExecutorError::infrastructure(
                "the compilers of this machine cannot be used by executor `kubernetes`; take `--toolchain image`",
            )),
        }
    }

    async fn prepare(&self, job: &Job) -> Result<(&Session, Vec<PlacedTree>), ExecutorError> {
        let session = self.session().await?;
        let mut trees = Vec::with_capacity(job.mounts.len());
        for mount in &job.mounts {
            let archive = self.archives.of(&mount.source).await?;
            session.server.offer(archive.facts.sha256, &archive.path);
            let target = mount.target.to_str().ok_or_else(|| {
                let path = mount.target.display();
                ExecutorError::infrastructure(format!("path {path} is not UTF-8"))
            })?;
            trees.push(PlacedTree {
                archive,
                target: target.to_owned(),
            });
        }
        Ok((session, trees))
    }

    /// Whether some tree may not be where pods find it, and the trees' names. A claim is the same volume for all
    /// pods; what one pod of this run has found there is there for the next.
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

/// A Job that is being waited for.
struct Attempt<'a> {
    executor: &'a KubernetesExecutor,
    job: &'a Job,
    name: &'a str,
    followed: Followed,
    started: Instant,
}

impl Attempt<'_> {
    /// Stays with a Job until it is known how it ended, and takes over what it left.
    async fn supervise(
        &mut self,
        arrival: &mut oneshot::Receiver<std::fs::File>,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        let timeout = self.job.limits.timeout + self.executor.settings.start_timeout;
        let silence = tokio::time::sleep(timeout + SILENCE_LIMIT);
        tokio::pin!(silence);
        let pod_expected = tokio::time::sleep(POD_EXPECTED_WITHIN);
        tokio::pin!(pod_expected);
        let mut is_asked = false;
        let mut had_started = false;
        loop {
            let state = self.followed.state.borrow_and_update().clone();
            had_started |= matches!(state, PodState::Running | PodState::Ended { .. });
            if state.is_final() || matches!(state, PodState::Ended { .. }) {
                return self.conclude(state, had_started, arrival, log).await;
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(cancelled()),
                sent = &mut *arrival => {
                    let Ok(file) = sent else {
                        return Err(ExecutorError::infrastructure("the server of inputs has ended"));
                    };
                    let status = result::take(file, &self.job.output, log).await?;
                    return self.explain(status).await;
                }
                _ = self.followed.state.changed() => {}
                () = &mut pod_expected, if !is_asked => {
                    is_asked = true;
                    if state == PodState::Absent {
                        self.ask_why_there_is_no_pod().await?;
                    }
                }
                () = &mut silence => {
                    return Err(ExecutorError::infrastructure(format!(
                        "nothing was heard of Job {} until its deadline: {state:?}",
                        self.name
                    )));
                }
            }
        }
    }

    /// The result came first. A good end needs no confirmation; a bad one may have a reason that only the cluster
    /// knows.
    async fn explain(&mut self, status: Option<Status>) -> Result<Completion, ExecutorError> {
        let state = match status {
            Some(status) if !matches!(status.exit, Exit::Code(code) if code != 0) => {
                return Ok(self.completion(status.exit, Some(status)));
            }
            _ => {
                let is_known =
                    |state: &PodState| state.is_final() || matches!(state, PodState::Ended { .. });
                let known = self.followed.state.wait_for(is_known);
                match tokio::time::timeout(REASON_EXPECTED_WITHIN, known).await {
                    Ok(Ok(state)) => state.clone(),
                    _ => PodState::Running,
                }
            }
        };
        self.judge(state, true, status).await
    }

    /// The pod's end came first; the result may be on its way.
    async fn conclude(
        &mut self,
        state: PodState,
        had_started: bool,
        arrival: &mut oneshot::Receiver<std::fs::File>,
        log: &mut dyn LogSink,
    ) -> Result<Completion, ExecutorError> {
        let mut status = None;
        if had_started || matches!(state, PodState::TimedOut) {
            let known = self.followed.state.wait_for(|state| {
                !matches!(
                    state,
                    PodState::Ended {
                        undelivered: None,
                        ..
                    } | PodState::Removed { .. }
                )
            });
            let patience = match state {
                PodState::Ended { .. } => RESULT_EXPECTED_WITHIN,
                _ => LAST_WORDS_EXPECTED_WITHIN,
            };
            let came = tokio::select! {
                biased;
                came = arrival => came.ok(),
                // `deliver` gave up.
                _ = known => None,
                () = tokio::time::sleep(patience) => None,
            };
            match came {
                Some(file) => status = result::take(file, &self.job.output, log).await?,
                None => {
                    if let PodState::Ended {
                        is_out_of_memory: false,
                        ..
                    } = state
                    {
                        let state = self.followed.state.borrow().clone();
                        return Err(undelivered(&state));
                    }
                }
            }
        }
        self.judge(state, had_started, status).await
    }

    /// The end of a job from all that is known of it.
    async fn judge(
        &self,
        state: PodState,
        had_started: bool,
        status: Option<Status>,
    ) -> Result<Completion, ExecutorError> {
        let image = || self.executor.image(&self.job.toolchain).unwrap_or_default();
        match state {
            PodState::Ended {
                is_out_of_memory: true,
                code,
                ..
            } if code != 0 => Ok(self.completion(Exit::OutOfMemory, status)),
            PodState::TimedOut => Ok(self.completion(Exit::TimedOut, status)),
            PodState::NoImage(message) => Err(ExecutorError::Image {
                image: image(),
                message,
            }),
            PodState::Lost(message) => Err(ExecutorError::Lost {
                message: format!("the cluster ended the pod of Job {}: {message}", self.name),
            }),
            PodState::Broken(message) => Err(ExecutorError::infrastructure(message)),
            PodState::Ended { .. } if status.is_some() => {
                let exit = status.map_or(Exit::Code(-1), |status| status.exit);
                Ok(self.completion(exit, status))
            }
            PodState::Ended { code, .. } => Ok(self.completion(Exit::Code(code), None)),
            PodState::Removed {
                had_started: had,
                reason,
            } => self.why_removed(had || had_started, reason, status).await,
            PodState::Absent | PodState::Waiting { .. } | PodState::Running => match status {
                Some(status) => Ok(self.completion(status.exit, Some(status))),
                None => Err(undelivered(&state)),
            },
        }
    }

    /// Asks the Job why its pod was taken away.
    async fn why_removed(
        &self,
        had_started: bool,
        reason: Option<String>,
        status: Option<Status>,
    ) -> Result<Completion, ExecutorError> {
        let is_late = self
            .conditions_of_job()
            .await?
            .iter()
            .any(|condition| condition.reason.as_deref() == Some("DeadlineExceeded"));
        let waited = reason.unwrap_or_else(|| "no reason is given".to_owned());
        match (is_late, had_started) {
            (true, true) => Ok(self.completion(Exit::TimedOut, status)),
            (true, false) => Err(ExecutorError::infrastructure(format!(
                "the pod of Job {} did not start in time ({waited}); see --kubernetes-start-timeout",
                self.name
            ))),
            (false, _) => Err(ExecutorError::Lost {
                message: format!("the pod of Job {} was removed by somebody else", self.name),
            }),
        }
    }

    /// The conditions of the Job, once there are any; its controller may take the pod away before it says why.
    async fn conditions_of_job(&self) -> Result<Vec<JobCondition>, ExecutorError> {
        let jobs = self.executor.jobs();
        for _ in 0..CONDITION_ATTEMPTS {
            let Some(found) = request::get(&jobs, self.name).await? else {
                break;
            };
            let conditions = found.status.and_then(|status| status.conditions);
            if let Some(conditions) = conditions.filter(|all| !all.is_empty()) {
                return Ok(conditions);
            }
            tokio::time::sleep(CONDITION_INTERVAL).await;
        }
        Ok(Vec::new())
    }

    /// A Job without a pod: a quota, PodSecurity or an admission hook refuses it, or the cluster is slow.
    async fn ask_why_there_is_no_pod(&self) -> Result<(), ExecutorError> {
        let events: Api<Event> =
            Api::namespaced(self.executor.client.clone(), &self.executor.namespace);
        let of_job = format!(
            "involvedObject.kind=Job,involvedObject.name={},reason=FailedCreate",
            self.name
        );
        let Ok(found) = events.list(&ListParams::default().fields(&of_job)).await else {
            // The Job's deadline ends it in any case.
            return Ok(());
        };
        let said = found
            .items
            .into_iter()
            .rev()
            .find_map(|event| event.message);
        match said {
            Some(message) => Err(ExecutorError::infrastructure(format!(
                "the cluster refuses the pod of Job {}: {message}",
                self.name
            ))),
            None => Ok(()),
        }
    }

    fn completion(&self, exit: Exit, status: Option<Status>) -> Completion {
        Completion {
            exit,
            resources: Resources {
                wall: status.map_or_else(|| self.started.elapsed(), |status| status.wall),
                ..Resources::default()
            },
        }
    }
}

fn undelivered(state: &PodState) -> ExecutorError {
    let why = match state {
        PodState::Ended {
            undelivered: Some(why),
            ..
        } => why.as_str(),
        _ => "nothing came in time",
    };
    ExecutorError::infrastructure(format!(
        "a pod could not send its result to the server of inputs ({why}); can pods reach it? See --kubernetes-address"
    ))
}

fn cancelled() -> Completion {
    Completion {
        exit: Exit::Cancelled,
        resources: Resources::default(),
    }
}

/// A Job that is removed at the latest when this is dropped.
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
            // Nobody is left to tell; what stays ends by its deadline and goes by its time to live.
            runtime.spawn(async move { drop(request::remove(&jobs, &name).await) });
        }
    }
}
