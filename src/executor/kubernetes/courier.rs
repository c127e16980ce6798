//! Transfers inputs to the pods and results back: through the input server, or through a bucket if pods cannot reach
//! this program.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::archive::Archive;
use super::bucket::Bucket;
use super::server::{InputServer, Registration};
use super::watch::Followed;
use crate::digest::Sha256;
use crate::executor::ExecutorError;

/// The placeholder for the digest of the result in its URL; `pod/deliver.sh` replaces it.
const DIGEST: &str = "{sha256}";

/// Receives a result, or the error that prevented it.
pub(super) type Arrival = oneshot::Receiver<Result<File, ExecutorError>>;

/// The transport between the pods and this program.
pub(super) enum Courier {
    /// Pods connect to the server of this process.
    Server(InputServer),
    /// Pods and this program both connect to a bucket.
    Bucket(Arc<Bucket>),
}

/// A job whose result is awaited until this is dropped.
pub(super) struct Expected {
    /// The URL to which the pod sends its result, possibly with the placeholder [`DIGEST`].
    pub(super) result_url: String,
    /// The token that authenticates the pod; empty if the URL is sufficient.
    pub(super) token: String,
    /// Receives the result.
    pub(super) result: Arrival,
    kept: Kept,
}

enum Kept {
    Registration(Registration),
    /// Waits until the pod reports that the result is in the bucket.
    Waiting {
        _task: AbortOnDropHandle<()>,
    },
}

impl Courier {
    /// Makes an archive available to pods.
    pub(super) async fn offer(&self, archive: &Archive) -> Result<(), ExecutorError> {
        match self {
            Self::Server(server) => {
                server.offer(archive.facts.sha256, &archive.path);
                Ok(())
            }
            Self::Bucket(bucket) => bucket.offer(archive).await,
        }
    }

    /// Waits up to `lifetime` for the result of a job, and writes it to an unnamed file in `folder`.
    pub(super) async fn expect(
        &self,
        job: &str,
        folder: &Path,
        lifetime: Duration,
        followed: &Followed,
    ) -> Result<Expected, ExecutorError> {
        match self {
            Self::Server(server) => {
                let (registration, result) = server.expect(job, folder)?;
                Ok(Expected {
                    result_url: format!("{}/result/{DIGEST}", registration.url),
                    token: registration.token.clone(),
                    result,
                    kept: Kept::Registration(registration),
                })
            }
            Self::Bucket(bucket) => {
                let (sender, result) = oneshot::channel();
                let result_url = bucket.result_url(job, lifetime).await?;
                let mut delivered = followed.delivered.clone();
                let (bucket, job, folder) = (bucket.clone(), job.to_owned(), folder.to_owned());
                let task = tokio::spawn(async move {
                    let told = delivered.wait_for(Option::is_some).await;
                    let Some(digest) = told.ok().and_then(|digest| *digest) else {
                        return;
                    };
                    let taken = bucket.take(&job, digest, &folder).await;
                    drop(sender.send(taken));
                });
                Ok(Expected {
                    result_url,
                    token: String::new(),
                    result,
                    kept: Kept::Waiting {
                        _task: AbortOnDropHandle::new(task),
                    },
                })
            }
        }
    }

    /// Returns the URL from which the pod of the job downloads an archive.
    pub(super) async fn input_url(
        &self,
        expected: &Expected,
        archive: Sha256,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        match (self, &expected.kept) {
            (Self::Bucket(bucket), _) => bucket.input_url(archive, lifetime).await,
            (Self::Server(_), Kept::Registration(registration)) => {
                Ok(format!("{}/inputs/{archive}", registration.url))
            }
            (Self::Server(_), Kept::Waiting { .. }) => Err(ExecutorError::infrastructure(
                "the server of inputs does not know the job",
            )),
        }
    }

    /// Returns the certificates that pods must trust, in PEM, if the usual ones are not sufficient.
    pub(super) fn authority(&self) -> Option<&str> {
        match self {
            Self::Server(server) => server.authority.as_deref(),
            Self::Bucket(_) => None,
        }
    }
}
