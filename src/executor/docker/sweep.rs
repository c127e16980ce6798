//! Removes containers and volumes whose owner is dead.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use jiff::Timestamp;

use super::super::ExecutorError;
use super::super::owner::{Liveness, Owner};
use super::connection::failure;
use super::{OWNER_LABEL, container, volume};

/// After this time a thing is taken for abandoned when its owner cannot be seen from here; no job takes as long.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

pub(super) async fn sweep(docker: &Docker) -> Result<usize, ExecutorError> {
    let now = Timestamp::now();
    let labelled = HashMap::from([("label", vec![OWNER_LABEL])]);
    let mut removed = 0;

    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&labelled)
        .build();
    let containers = docker
        .list_containers(Some(options))
        .await
        .map_err(|error| failure("list containers", error))?;
    for found in containers {
        let created = found
            .created
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        let labels = found.labels.unwrap_or_default();
        if let Some(id) = found.id
            && is_abandoned(labels.get(OWNER_LABEL), created, now)
        {
            container::remove(docker, &id, None).await?;
            removed += 1;
        }
    }

    let options = ListVolumesOptionsBuilder::new().filters(&labelled).build();
    let volumes = docker
        .list_volumes(Some(options))
        .await
        .map_err(|error| failure("list volumes", error))?;
    for found in volumes.volumes.unwrap_or_default() {
        let created = found.created_at.and_then(|text| text.parse().ok());
        if is_abandoned(found.labels.get(OWNER_LABEL), created, now) {
            volume::remove(docker, &found.name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_abandoned(owner: Option<&String>, created: Option<Timestamp>, now: Timestamp) -> bool {
    let liveness = owner
        .and_then(|text| text.parse().ok())
        .map_or(Liveness::Unknown, |owner: Owner| owner.liveness());
    match liveness {
        Liveness::Alive => false,
        Liveness::Dead => true,
        Liveness::Unknown => created.is_some_and(|created| {
            Duration::try_from(now.duration_since(created)).is_ok_and(|age| age > ABANDONED_AFTER)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_cannot_be_seen_have_a_day() {
        let now = Timestamp::now();
        let hours = |hours| Some(now - Duration::from_hours(hours));
        let here = Owner::this_process().unwrap().to_string();
        let elsewhere = "other-boot.1.1.1".to_owned();
        assert!(!is_abandoned(Some(&here), hours(100), now));
        assert!(!is_abandoned(Some(&elsewhere), hours(23), now));
        assert!(is_abandoned(Some(&elsewhere), hours(25), now));
        assert!(!is_abandoned(None, None, now));
    }
}
