//! Determines the state of a job from the status of its pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::manifest::{BUILD, DELIVER, PULL, TOO_MANY_FILES};
use crate::digest::Sha256;

/// The state of a job's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PodState {
    /// The pod does not exist yet.
    Absent,
    /// The pod waits for a node, its image or its inputs.
    Waiting {
        /// The reason, as far as the cluster reports it.
        reason: Option<String>,
    },
    /// The script runs.
    Running,
    /// The script has ended.
    Ended {
        /// The exit code.
        code: i32,
        /// Whether the kernel killed the script, or a part of it, because of the memory limit.
        is_out_of_memory: bool,
        /// Why the result cannot arrive any more, if known.
        undelivered: Option<String>,
    },
    /// The pod exceeded the deadline of its Job.
    TimedOut,
    /// The kubelet ended the pod because a volume or a container exceeded its size limit, or `deliver` counted too many
    /// files.
    TooMuchOutput,
    /// The image is not available.
    NoImage(String),
    /// The node was lost or the cluster ended the pod; the same pod may succeed elsewhere.
    Lost(String),
    /// Another failure that the script did not cause.
    Broken(String),
    /// The pod existed and is being removed, or is gone.
    Removed {
        /// Whether the script had started.
        had_started: bool,
        /// What the pod was waiting for if the script had not started.
        reason: Option<String>,
    },
}

impl PodState {
    /// Whether the state of the pod is final.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Absent | Self::Waiting { .. } | Self::Running => false,
            Self::Ended { undelivered, .. } => undelivered.is_some(),
            _ => true,
        }
    }

    /// Returns the state after the removal of the pod.
    pub(super) fn after_removal(self) -> Self {
        match self {
            Self::Absent => Self::Removed {
                had_started: false,
                reason: None,
            },
            Self::Waiting { reason } => Self::Removed {
                had_started: false,
                reason,
            },
            Self::Running => Self::Removed {
                had_started: true,
                reason: None,
            },
            other => other,
        }
    }
}

const IMAGE_REASONS: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
];

const BROKEN_REASONS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PostStartHookError",
];

/// Reasons for the end of a container that its program did not cause.
const NOT_STARTED: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// Reads a pod's status.
pub(super) fn read(pod: &Pod) -> PodState {
    let Some(status) = &pod.status else {
        return PodState::Waiting { reason: None };
    };
    let disruption = disruption(status);
    if let Some(state) = failed_early(status) {
        return state;
    }
    if disruption.as_deref().is_some_and(exceeds_own_limit) || has_too_many_files(status) {
        return PodState::TooMuchOutput;
    }
    let build = container(status.container_statuses.as_deref(), BUILD);
    let state = build.and_then(|found| ended(found, status));
    if let Some(reason) = disruption
        && !matches!(state, Some(PodState::Ended { code: 0, .. }))
    {
        return PodState::Lost(reason);
    }
    let is_phase = |phase: &str| status.phase.as_deref() == Some(phase);
    let state = state.unwrap_or_else(|| {
        let is_running = build
            .and_then(|found| found.state.as_ref())
            .is_some_and(|state| state.running.is_some());
        match (is_running, is_phase("Failed")) {
            // No container ran, or no trace of it is left.
            (false, true) => {
                PodState::Lost(words(status.reason.as_deref(), status.message.as_deref()))
            }
            (true, _) => PodState::Running,
            (false, false) => PodState::Waiting {
                reason: waiting_for(status),
            },
        }
    });
    if pod.metadata.deletion_timestamp.is_some() {
        match state {
            // The removal of the pod ended the script.
            PodState::Ended {
                code: 137 | 143,
                is_out_of_memory: false,
                ..
            } => PodState::Removed {
                had_started: true,
                reason: None,
            },
            other => other.after_removal(),
        }
    } else {
        state
    }
}

/// Returns the digest of the result once `deliver` has sent it.
pub(super) fn delivered(pod: &Pod) -> Option<Sha256> {
    let all = pod.status.as_ref()?.container_statuses.as_deref();
    let end = container(all, DELIVER)?
        .state
        .as_ref()?
        .terminated
        .as_ref()?;
    let said = end.message.as_deref().filter(|_| end.exit_code == 0)?;
    said.trim().parse().ok()
}

fn container<'a>(found: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    found?.iter().find(|container| container.name == name)
}

/// Returns the reason and message of the condition if the cluster is ending the pod for a reason of its own.
fn disruption(status: &PodStatus) -> Option<String> {
    let evicted = [
        "Evicted",
        "NodeLost",
        "NodeShutdown",
        "Shutdown",
        "Terminated",
        "Preempting",
    ];
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    if let Some(condition) = condition {
        return Some(words(
            condition.reason.as_deref(),
            condition.message.as_deref(),
        ));
    }
    let reason = status.reason.as_deref()?;
    evicted
        .contains(&reason)
        .then(|| words(Some(reason), status.message.as_deref()))
}

/// Whether a pod was evicted because of its own disk usage, not because of the node. The kubelet's messages are: `Usage
/// of EmptyDir volume "job" exceeds the limit "1Gi".`, `Container build exceeded its local ephemeral storage limit
/// "1Gi".`, and `Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.`
fn exceeds_own_limit(reason: &str) -> bool {
    let is_volume = reason.contains("EmptyDir volume") && reason.contains("exceeds the limit");
    let is_storage = reason.contains("local ephemeral storage limit")
        || reason.contains("ephemeral local storage usage exceeds");
    is_volume || is_storage
}

/// Returns the state of a job that ended before its script did.
fn failed_early(status: &PodStatus) -> Option<PodState> {
    if status.reason.as_deref() == Some("DeadlineExceeded") {
        return Some(PodState::TimedOut);
    }
    let inits = status.init_container_statuses.iter().flatten();
    let all = inits.chain(status.container_statuses.iter().flatten());
    for found in all {
        let Some(state) = &found.state else { continue };
        if let Some(waiting) = &state.waiting {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let text = words(Some(reason), waiting.message.as_deref());
            if IMAGE_REASONS.contains(&reason) {
                return Some(PodState::NoImage(text));
            }
            if BROKEN_REASONS.contains(&reason) {
                return Some(PodState::Broken(text));
            }
        }
        if let Some(end) = &state.terminated
            && found.name == PULL
            && end.exit_code != 0
        {
            let said = words(end.reason.as_deref(), end.message.as_deref());
            let text = format!("failed to transfer the inputs to the pod: {said}");
            return Some(PodState::Broken(text));
        }
    }
    None
}

/// Returns how the script's container ended, if it has ended.
fn ended(found: &ContainerStatus, status: &PodStatus) -> Option<PodState> {
    let end = found.state.as_ref()?.terminated.as_ref()?;
    let reason = end.reason.as_deref().unwrap_or_default();
    if reason == "ContainerStatusUnknown" {
        let text = words(Some(reason), end.message.as_deref());
        return Some(PodState::Lost(text));
    }
    if NOT_STARTED.contains(&reason) {
        let text = words(Some(reason), end.message.as_deref());
        return Some(PodState::Broken(text));
    }
    if end.exit_code == super::manifest::TREE_MISSING {
        let text = end.message.clone().unwrap_or_default();
        return Some(PodState::Broken(text.trim().to_owned()));
    }
    let deliver = container(status.container_statuses.as_deref(), DELIVER)
        .and_then(|found| found.state.as_ref()?.terminated.as_ref());
    let undelivered = deliver
        .filter(|end| end.exit_code != 0)
        .map(|end| words(end.reason.as_deref(), end.message.as_deref()));
    Some(PodState::Ended {
        code: end.exit_code,
        is_out_of_memory: reason == "OOMKilled",
        undelivered,
    })
}

/// Whether `deliver` found more files than the job may create. The script may still be running.
fn has_too_many_files(status: &PodStatus) -> bool {
    container(status.container_statuses.as_deref(), DELIVER)
        .and_then(|found| found.state.as_ref()?.terminated.as_ref())
        .is_some_and(|end| end.exit_code == TOO_MANY_FILES)
}

fn waiting_for(status: &PodStatus) -> Option<String> {
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = scheduled {
        return Some(words(
            condition.reason.as_deref(),
            condition.message.as_deref(),
        ));
    }
    let inits = status.init_container_statuses.iter().flatten();
    let mut waiting = inits
        .chain(status.container_statuses.iter().flatten())
        .filter_map(|found| found.state.as_ref()?.waiting.as_ref());
    let found = waiting.next()?;
    Some(words(found.reason.as_deref(), found.message.as_deref()))
}

/// Returns `Reason: message`, or the part of it that exists.
fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let parts: Vec<&str> = [reason, message]
        .into_iter()
        .flatten()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if parts.is_empty() {
        "no reason reported".to_owned()
    } else {
        parts.join(": ")
    }
}

#[cfg(test)]
mod tests;
