//! A running Job: determines how it ended, from the state of its pod and of the cluster.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use super::KubernetesExecutor;
use super::courier::Arrival;
use super::job::cancelled;
use super::pod_state::PodState;
use super::request;
use super::result::{self, Status};
use super::watch::Followed;
use crate::executor::{Completion, ExecutorError, Exit, Job, LogSink, Resources};

/// The time after which the reason for a missing pod is queried, once.
const POD_EXPECTED_WITHIN: Duration = Duration::from_secs(10);

/// The maximum time between the end of a container and its result. `deliver` retries for a long time on a busy node,
/// and reports when it gives up.
const RESULT_EXPECTED_WITHIN: Duration = Duration::from_mins(5);

/// The same if the pod is being removed: it is killed after a short grace period.
const LAST_WORDS_EXPECTED_WITHIN: Duration = Duration::from_secs(30);

/// How long after a failure the cluster may take to report whether the job ran out of memory.
const REASON_EXPECTED_WITHIN: Duration = Duration::from_secs(15);

/// How often and at what interval a Job is polled for the reason its pod was removed.
const CONDITION_ATTEMPTS: u32 = 20;
const CONDITION_INTERVAL: Duration = Duration::from_millis(500);

/// How long after its deadline a Job may stay silent.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_mins(2);

/// A Job that has been created and is awaited.
pub(super) struct Attempt<'a> {
    pub(super) executor: &'a KubernetesExecutor,
    pub(super) job: &'a Job,
    pub(super) name: &'a str,
    pub(super) followed: Followed,
    pub(super) started: Instant,
}

impl Attempt<'_> {
    /// Waits until it is known how a Job ended, and collects its result.
    pub(super) async fn supervise(
        &mut self,
        arrival: &mut Arrival,
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
                    let Ok(came) = sent else {
                        return Err(ExecutorError::infrastructure("the receiver of results has stopped"));
                    };
                    let status = result::take(came?, self.job, log).await?;
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
                        "no news of Job {} until its deadline: {state:?}",
                        self.name
                    )));
                }
            }
        }
    }

    /// Handles a result that arrived before the end of the pod. A success needs no confirmation; a failure may have a
    /// reason that only the cluster knows.
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

    /// Handles a pod that ended before its result arrived; the result may be on its way.
    async fn conclude(
        &mut self,
        state: PodState,
        had_started: bool,
        arrival: &mut Arrival,
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
                Some(came) => status = result::take(came?, self.job, log).await?,
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

    /// Determines how a job ended from everything that is known about it.
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
            PodState::TooMuchOutput => Ok(self.completion(Exit::TooMuchOutput, status)),
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

    /// Queries the Job for the reason its pod was removed.
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
        let waited = reason.unwrap_or_else(|| "no reason reported".to_owned());
        match (is_late, had_started) {
            (true, true) => Ok(self.completion(Exit::TimedOut, status)),
            (true, false) => Err(ExecutorError::infrastructure(format!(
                "the pod of Job {} did not start in time ({waited}); see --kubernetes-start-timeout",
                self.name
            ))),
            (false, _) => Err(ExecutorError::Lost {
                message: format!("the pod of Job {} was removed by another client", self.name),
            }),
        }
    }

    /// Returns the conditions of the Job once there are any. Its controller may remove the pod before it reports the
    /// reason.
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

    /// Queries the reason for a Job without a pod: a quota, PodSecurity or an admission hook rejects the pod, or the
    /// cluster is slow.
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
                "the cluster rejects the pod of Job {}: {message}",
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
        _ => "no result arrived in time",
    };
    ExecutorError::infrastructure(format!(
        "a pod could not send its result ({why}); check that pods can reach the program or the bucket, see --kubernetes-address"
    ))
}
