//! A bucket for transfers between this program and the pods.
//!
//! Archives of trees are uploaded to `inputs/` once each, and stay. A result stays in `results/` from its upload by the
//! pod until it is downloaded. Pods get URLs that are signed for one object and a limited time, but never credentials.

use std::collections::HashMap;
use std::fs::File;
use std::io::Seek as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tokio::sync::{Mutex, OnceCell};

use super::KubernetesError;
use super::archive::Archive;
use crate::bucket::{BucketError, BucketFault, BucketSettings, PutOptions};
use crate::digest::{HashingWriter, Sha256};
use crate::executor::ExecutorError;
use crate::fs::FileError;

/// Larger than the output of any build.
const RESULT_LIMIT_BYTES: u64 = 4 << 30;

/// The maximum lifetime of a signed URL in S3.
const LONGEST_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The object that is written first, to test whether the bucket is writable.
const MARK: &str = "driverkit-matrix";

/// A writable bucket.
pub(super) struct Bucket {
    bucket: crate::bucket::Bucket,
    /// Archives that have been uploaded or are being uploaded.
    uploads: Mutex<HashMap<Sha256, Arc<OnceCell<()>>>>,
}

impl Bucket {
    /// Reads the settings and tests the bucket.
    pub(super) async fn connect(settings: &BucketSettings) -> Result<Self, KubernetesError> {
        let unusable = |error: BucketError| {
            let help = error.help.unwrap_or_else(|| {
                "see docs/kubernetes.md for the variables that configure the bucket".to_owned()
            });
            KubernetesError::input(
                format!("the bucket cannot be used: {}", error.message),
                help,
            )
        };
        if settings.url.directory().is_some() {
            return Err(KubernetesError::input(
                format!("pods cannot reach {settings}"),
                "use a bucket that pods can reach: s3://, gs:// or az://",
            ));
        }
        let bucket = crate::bucket::Bucket::open(settings).map_err(unusable)?;
        let mark = "Written by driverkit-matrix.\n";
        bucket
            .put(MARK, mark, PutOptions::default())
            .await
            .map_err(unusable)?;
        Ok(Self {
            bucket,
            uploads: Mutex::default(),
        })
    }

    /// Uploads the archive unless it is in the bucket already; concurrent callers wait for the upload.
    pub(super) async fn offer(&self, archive: &Archive) -> Result<(), ExecutorError> {
        let sha256 = archive.facts.sha256;
        let cell = Arc::clone(self.uploads.lock().await.entry(sha256).or_default());
        cell.get_or_try_init(|| self.upload(archive)).await.copied()
    }

    async fn upload(&self, archive: &Archive) -> Result<(), ExecutorError> {
        let name = input(archive.facts.sha256);
        // An object is either complete or absent.
        let found = self.bucket.head(&name).await.map_err(failure)?;
        if found.is_some_and(|found| found.size_bytes == archive.facts.size_bytes) {
            return Ok(());
        }
        let put = self
            .bucket
            .put_file(&name, &archive.path, PutOptions::default());
        put.await.map(drop).map_err(failure)
    }

    /// Returns the URL from which a pod downloads an archive.
    pub(super) async fn input_url(
        &self,
        archive: Sha256,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        self.signed(Method::GET, &input(archive), lifetime).await
    }

    /// Returns the URL to which the pod of the job uploads its result.
    pub(super) async fn result_url(
        &self,
        job: &str,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        self.signed(Method::PUT, &result(job), lifetime).await
    }

    async fn signed(
        &self,
        method: Method,
        name: &str,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        let url = self.bucket.signed_url(method, name, lifetime).await;
        url.map_err(failure)
    }

    /// Moves the result of a job from the bucket to an unnamed file in `folder`; its digest must match.
    pub(super) async fn take(
        &self,
        job: &str,
        digest: Sha256,
        folder: &Path,
    ) -> Result<File, ExecutorError> {
        let name = result(job);
        let taken = self.read(&name, digest, folder).await;
        if let Err(error) = self.bucket.delete([name.as_str()]).await {
            tracing::warn!("failed to remove a result from the bucket: {error}");
        }
        taken
    }

    async fn read(&self, name: &str, digest: Sha256, folder: &Path) -> Result<File, ExecutorError> {
        let file = tempfile::tempfile_in(folder).map_err(FileError::of("write in", folder))?;
        let mut writer = HashingWriter::new(file);
        let read = self.bucket.get_to(name, RESULT_LIMIT_BYTES, &mut writer);
        if !read.await.map_err(failure)? {
            let message = format!("{}: {name} does not exist", self.bucket.url());
            return Err(ExecutorError::infrastructure(message));
        }
        let (found, _, mut file) = writer.finish();
        if found != digest {
            return Err(ExecutorError::infrastructure(format!(
                "a result in {} has SHA-256 {found}, but its pod reported {digest}",
                self.bucket.url()
            )));
        }
        file.rewind().map_err(FileError::of("read in", folder))?;
        Ok(file)
    }
}

fn input(archive: Sha256) -> String {
    format!("inputs/{archive}")
}

fn result(job: &str) -> String {
    format!("results/{job}")
}

fn failure(error: BucketError) -> ExecutorError {
    debug_assert_ne!(error.fault, BucketFault::Settings);
    ExecutorError::caused_by("the bucket failed", error)
}
