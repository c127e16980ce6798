//! The single watch of a run: it covers all pods of the run, by label, and resumes after an interruption.
//!
//! Input: the cluster. Output: changes of the pod state of each followed job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::pod_state::{self, PodState};
use crate::digest::Sha256;
use crate::error::chain;

/// The label with the Job's name that Kubernetes puts on its pods.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// The time after which the API server ends a watch, in seconds; the watch is then resumed.
const WATCH_SECONDS: u32 = 290;

/// The time without any event after which a watch has lost its API server: longer than a watch can last.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Follows pods until it is dropped.
pub(super) struct Watcher {
    jobs: Arc<Jobs>,
    _watching: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Jobs(Mutex<HashMap<String, Told>>);

/// The senders for changes of a job's pod.
#[derive(Clone)]
struct Told {
    state: watch::Sender<PodState>,
    delivered: watch::Sender<Option<Sha256>>,
}

/// The state of one job's pod, followed until this is dropped.
pub(super) struct Followed {
    name: String,
    jobs: Arc<Jobs>,
    pub(super) state: watch::Receiver<PodState>,
    /// The digest of the result, once the pod has delivered it.
    pub(super) delivered: watch::Receiver<Option<Sha256>>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.jobs.locked().remove(&self.name);
    }
}

impl Watcher {
    /// Follows the pods of the namespace of `pods` that match `labels`.
    pub(super) fn start(pods: Api<Pod>, labels: String) -> Self {
        let jobs = Arc::new(Jobs::default());
        let watching = tokio::spawn(follow(pods, labels, jobs.clone()));
        Self {
            jobs,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    /// Follows the pod of a Job; must be called before the Job is created.
    pub(super) fn follow(&self, name: &str) -> Followed {
        let (state_sender, state) = watch::channel(PodState::Absent);
        let (delivered_sender, delivered) = watch::channel(None);
        let told = Told {
            state: state_sender,
            delivered: delivered_sender,
        };
        self.jobs.locked().insert(name.to_owned(), told);
        Followed {
            name: name.to_owned(),
            jobs: self.jobs.clone(),
            state,
            delivered,
        }
    }
}

impl Jobs {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, pod: &Pod, state: PodState) {
        if let Some(told) = job_of(pod).and_then(|name| self.locked().get(name).cloned()) {
            if let Some(digest) = pod_state::delivered(pod) {
                told.delivered.send_replace(Some(digest));
            }
            told.state.send_if_modified(|old| {
                // The state of a pod that is gone is final: a Job with backoffLimit 0 gets no second pod.
                let is_news = *old != state && !old.is_final();
                if is_news {
                    *old = state;
                }
                is_news
            });
        }
    }

    fn remove(&self, pod: &Pod) {
        let state = pod_state::read(pod).after_removal();
        self.set(pod, state);
    }

    /// Applies a new list: earlier pods that are not in the list are gone.
    fn replace(&self, pods: &[Pod]) {
        for pod in pods {
            self.set(pod, pod_state::read(pod));
        }
        let listed: Vec<&str> = pods.iter().filter_map(job_of).collect();
        for (name, told) in self.locked().iter() {
            if !listed.contains(&name.as_str()) {
                told.state.send_if_modified(|state| {
                    let is_gone = *state != PodState::Absent && !state.is_final();
                    if is_gone {
                        *state = state.clone().after_removal();
                    }
                    is_gone
                });
            }
        }
    }
}

fn job_of(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(JOB_NAME).map(String::as_str)
}

async fn follow(pods: Api<Pod>, labels: String, jobs: Arc<Jobs>) {
    let mut version = None;
    let mut pause = FIRST_PAUSE;
    loop {
        match follow_once(&pods, &labels, &jobs, &mut version).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::debug!(
                    "the watch of pods was interrupted and is restarted: {}",
                    chain(&error)
                );
                if is_gone(&error) {
                    version = None;
                    continue;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether the requested version is older than the history of the API server.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// Lists the pods if no version is known, then watches until the connection ends.
async fn follow_once(
    pods: &Api<Pod>,
    labels: &str,
    jobs: &Jobs,
    version: &mut Option<String>,
) -> Result<(), kube::Error> {
    let from = if let Some(version) = version {
        version.clone()
    } else {
        let list = pods.list(&ListParams::default().labels(labels)).await?;
        jobs.replace(&list.items);
        let found = list.metadata.resource_version.unwrap_or_default();
        version.insert(found).clone()
    };
    let parameters = WatchParams::default().labels(labels).timeout(WATCH_SECONDS);
    let stream = pods.watch(&parameters, &from).await?;
    futures_util::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        let seen = match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                jobs.set(&pod, pod_state::read(&pod));
                pod.metadata.resource_version
            }
            WatchEvent::Deleted(pod) => {
                jobs.remove(&pod);
                pod.metadata.resource_version
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        };
        if seen.is_some() {
            *version = seen;
        }
    }
    Ok(())
}
