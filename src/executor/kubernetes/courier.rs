//! How inputs reach the pods and results come back: by the server of inputs, or by a bucket where pods cannot reach
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

/// Stands for the digest of the result in its address; `pod/deliver.sh` puts it in.
const DIGEST: &str = "{sha256}";

/// A result, or why it could not be had.
pub(super) type Arrival = oneshot::Receiver<Result<File, ExecutorError>>;

/// The way between the pods and this program.
pub(super) enum Courier {
    /// Pods reach the server of this process.
    Server(InputServer),
    /// Both reach a bucket.
    Bucket(Arc<Bucket>),
}

/// A job whose result is waited for, until dropped.
pub(super) struct Expected {
    /// Where the pod sends its result, with [`DIGEST`] in it or not.
    pub(super) result_url: String,
    /// What the pod has to show; empty where the address itself is enough.
    pub(super) token: String,
    /// Brings the result.
    pub(super) result: Arrival,
    kept: Kept,
}

enum Kept {
    Registration(Registration),
    /// Waits for the pod to say that the result is in the bucket.
    Waiting {
        _task: AbortOnDropHandle<()>,
    },
}

impl Courier {
    /// Makes sure that pods can fetch an archive.
    pub(super) async fn offer(&self, archive: &Archive) -> Result<(), ExecutorError> {
        match self {
            Self::Server(server) => {
                server.offer(archive.facts.sha256, &archive.path);
                Ok(())
            }
            Self::Bucket(bucket) => bucket.offer(archive).await,
        }
    }

    /// Expects the result of a job for that long; it is written to an unnamed file in `folder`.
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

    /// Where the pod of that job fetches an archive.
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
                "a job is not known to the server of inputs",
            )),
        }
    }

    /// What pods have to trust, in PEM, where that is not what everybody trusts.
    pub(super) fn authority(&self) -> Option<&str> {
        match self {
            Self::Server(server) => server.authority.as_deref(),
            Self::Bucket(_) => None,
        }
    }
}
