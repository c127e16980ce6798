//! Removes containers and volumes whose owner is dead.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use jiff::Timestamp;

use super::super::ExecutorError;
use super::super::owner::is_abandoned;
use super::connection::failure;
use super::leftovers::{remove_container, remove_volume};

/// The label with the owner of a container or volume.
pub(super) const OWNER_LABEL: &str = "org.driverkit-matrix.owner";

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
            remove_container(docker, &id, None).await?;
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
            remove_volume(docker, &found.name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}
