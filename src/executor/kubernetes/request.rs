//! Requests for Jobs, retried while the API server is unavailable.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::connection::{failure, is_passing};
use crate::error::chain;
use crate::executor::ExecutorError;

/// How long the API server may be unavailable before a request fails.
const UNREACHABLE_LIMIT: Duration = Duration::from_mins(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Creates a Job. If it exists already, a response was lost: no other Job has its name.
pub(super) async fn create(jobs: &Api<Job>, job: &Job) -> Result<(), ExecutorError> {
    let parameters = PostParams::default();
    match persist(|| jobs.create(&parameters, job)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(failure("create a Job", &error)),
    }
}

/// Removes a Job and its pod; succeeds if the Job is already gone.
pub(super) async fn remove(jobs: &Api<Job>, name: &str) -> Result<(), ExecutorError> {
    let parameters = DeleteParams::background();
    match persist(|| jobs.delete(name, &parameters)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failure("delete a Job", &error)),
    }
}

/// Returns the Job of that name, if it exists.
pub(super) async fn get(jobs: &Api<Job>, name: &str) -> Result<Option<Job>, ExecutorError> {
    persist(|| jobs.get_opt(name))
        .await
        .map_err(|error| failure("get a Job", &error))
}

async fn persist<T, Request>(mut request: impl FnMut() -> Request) -> Result<T, kube::Error>
where
    Request: Future<Output = Result<T, kube::Error>>,
{
    let start = tokio::time::Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match request().await {
            Err(error) if is_passing(&error) && start.elapsed() < UNREACHABLE_LIMIT => {
                tracing::debug!("retrying a request to the API server: {}", chain(&error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
}
