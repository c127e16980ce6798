//! Removes Jobs whose owner is dead.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;

use super::connection::failure;
use super::manifest::{MANAGED_BY, MANAGED_BY_LABEL, OWNER_ANNOTATION};
use super::request::remove;
use crate::executor::ExecutorError;
use crate::executor::owner::is_abandoned;

pub(super) async fn sweep(jobs: &Api<Job>) -> Result<usize, ExecutorError> {
    let now = Timestamp::now();
    let labels = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
    let found = jobs
        .list(&ListParams::default().labels(&labels))
        .await
        .map_err(|error| failure("list Jobs", error))?;
    let mut removed = 0;
    for job in found.items {
        let owner = job
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(OWNER_ANNOTATION));
        let created = job.metadata.creation_timestamp.map(|time| time.0);
        if let Some(name) = job.metadata.name
            && is_abandoned(owner, created, now)
        {
            remove(jobs, &name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}
