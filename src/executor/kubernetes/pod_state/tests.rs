use serde_json::{Value, json};

use super::*;

fn state_of(status: Value) -> PodState {
    state_with(json!({}), status)
}

fn state_with(metadata: Value, status: Value) -> PodState {
    let parts = [("metadata", metadata), ("status", status)];
    let pod = parts.map(|(name, value)| (name.to_owned(), value));
    read(&serde_json::from_value(Value::from_iter(pod)).unwrap())
}

fn terminated(code: i32, reason: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [
        {"name": "deliver", "ready": true, "image": "i", "imageID": "", "restartCount": 0, "state": {"running": {}}},
        {"name": "build", "ready": false, "image": "i", "imageID": "", "restartCount": 0,
         "state": {"terminated": {"exitCode": code, "reason": reason, "message": "said at last"}}},
    ]})
}

fn waiting(container: &str, reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": container, "ready": false, "image": "i", "imageID": "", "restartCount": 0,
         "state": {"waiting": {"reason": reason, "message": "why"}}},
    ]})
}

fn ended(code: i32, is_out_of_memory: bool) -> PodState {
    PodState::Ended {
        code,
        is_out_of_memory,
        undelivered: None,
    }
}

#[test]
fn a_script_that_ends_gives_its_code_and_whether_memory_was_the_reason() {
    assert_eq!(state_of(terminated(0, "Completed")), ended(0, false));
    assert_eq!(state_of(terminated(2, "Error")), ended(2, false));
    assert_eq!(state_of(terminated(137, "OOMKilled")), ended(137, true));
    assert_eq!(state_of(terminated(2, "OOMKilled")), ended(2, true));
}

#[test]
fn a_result_that_cannot_come_any_more_is_known_as_such() {
    let mut status = terminated(0, "Completed");
    status["containerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "put: failed"}});
    let state = state_of(status);
    assert!(state.is_final());
    assert!(
        matches!(state, PodState::Ended { code: 0, undelivered: Some(why), .. } if why == "Error: put: failed")
    );
}

#[test]
fn images_that_cannot_be_had_are_told_from_containers_that_cannot_be_made() {
    for reason in IMAGE_REASONS {
        let state = state_of(waiting("build", reason));
        assert_eq!(state, PodState::NoImage(format!("{reason}: why")));
    }
    for reason in BROKEN_REASONS {
        let state = state_of(waiting("deliver", reason));
        assert_eq!(state, PodState::Broken(format!("{reason}: why")));
    }
    let state = state_of(waiting("build", "PodInitializing"));
    let reason = Some("PodInitializing: why".to_owned());
    assert_eq!(state, PodState::Waiting { reason });
}

#[test]
fn inputs_that_cannot_be_brought_end_the_job() {
    let status = json!({"phase": "Failed", "initContainerStatuses": [
        {"name": "pull", "ready": false, "image": "i", "imageID": "", "restartCount": 0,
         "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "get http://x: failed"}}},
    ]});
    let state = state_of(status);
    assert!(
        matches!(&state, PodState::Broken(text) if text.contains("get http://x: failed")),
        "{state:?}"
    );
    let missing = state_of(terminated(super::super::manifest::TREE_MISSING, "Error"));
    assert_eq!(missing, PodState::Broken("said at last".to_owned()));
    let not_started = state_of(terminated(128, "StartError"));
    assert_eq!(
        not_started,
        PodState::Broken("StartError: said at last".to_owned())
    );
}

#[test]
fn what_the_cluster_does_for_its_own_sake_is_no_fault_of_the_job() {
    let disruption = |reason: &str| json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "so"}]);
    for reason in [
        "EvictionByEvictionAPI",
        "DeletionByTaintManager",
        "PreemptionByScheduler",
    ] {
        let mut status = terminated(143, "Error");
        status["conditions"] = disruption(reason);
        assert_eq!(state_of(status), PodState::Lost(format!("{reason}: so")));
    }
    let mut done = terminated(0, "Completed");
    done["conditions"] = disruption("EvictionByEvictionAPI");
    assert_eq!(state_of(done), ended(0, false));

    for message in [
        "Usage of EmptyDir volume \"job\" exceeds the limit \"1Gi\". ",
        "Container build exceeded its local ephemeral storage limit \"1Gi\". ",
        "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
    ] {
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": message});
        assert_eq!(state_of(evicted), PodState::TooMuchOutput, "{message}");
    }
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    assert_eq!(
        state_of(evicted),
        PodState::Lost("Evicted: low on memory".to_owned())
    );
    let refused = json!({"phase": "Failed", "reason": "OutOfcpu", "message": "no room"});
    assert_eq!(
        state_of(refused),
        PodState::Lost("OutOfcpu: no room".to_owned())
    );
    let lost = state_of(terminated(137, "ContainerStatusUnknown"));
    assert!(matches!(lost, PodState::Lost(_)), "{lost:?}");
}

#[test]
fn files_that_are_too_many_end_a_job_that_still_runs() {
    let running = |code: i32| {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "build", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "deliver", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
             "state": {"terminated": {"exitCode": code, "reason": "Error"}}},
        ]})
    };
    assert_eq!(state_of(running(191)), PodState::TooMuchOutput);
    assert!(state_of(running(191)).is_final());
    assert_eq!(state_of(running(1)), PodState::Running);
}

#[test]
fn a_deadline_of_the_pod_is_a_timeout() {
    let status = json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "late"});
    assert_eq!(state_of(status), PodState::TimedOut);
}

#[test]
fn removal_remembers_how_far_the_pod_had_come() {
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let running = json!({"phase": "Running", "containerStatuses": [
        {"name": "build", "ready": true, "image": "i", "imageID": "", "restartCount": 0, "state": {"running": {}}},
    ]});
    assert_eq!(state_of(running.clone()), PodState::Running);
    let removed = |had_started, reason: Option<&str>| PodState::Removed {
        had_started,
        reason: reason.map(str::to_owned),
    };
    assert_eq!(state_with(deleted.clone(), running), removed(true, None));
    let ended_by_it = state_with(deleted.clone(), terminated(143, "Error"));
    assert_eq!(ended_by_it, removed(true, None));
    let ended_before = state_with(deleted.clone(), terminated(2, "Error"));
    assert_eq!(ended_before, ended(2, false));
    let unscheduled = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"},
    ]});
    let state = state_with(deleted, unscheduled);
    assert_eq!(state, removed(false, Some("Unschedulable: 0/1 nodes")));
}
