//! An S3-compatible bucket between this program and the pods.
//!
//! Archives of trees go to `inputs/`, once each, and stay; a result is in `results/` from the moment when its pod sent
//! it until it is taken. Pods get addresses that are signed for one object and a limited time, and never a credential.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::signer::Signer as _;
use object_store::{ObjectStoreExt as _, PutPayload};
use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, OnceCell};

use super::KubernetesError;
use super::archive::Archive;
use super::settings::BucketSettings;
use crate::digest::{HashingWriter, Sha256};
use crate::error::chain;
use crate::executor::ExecutorError;
use crate::fs::FileError;

/// More than any build leaves.
const RESULT_LIMIT_BYTES: u64 = 4 << 30;

/// The longest time for which S3 signs an address.
const LONGEST_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Written first, to see whether the bucket takes anything.
const MARK: &str = "driverkit-matrix";

/// A bucket that can be written to.
pub(super) struct Bucket {
    store: AmazonS3,
    /// How a person names it.
    name: String,
    prefix: String,
    /// Archives that are there, or on their way.
    uploads: Mutex<HashMap<Sha256, Arc<OnceCell<()>>>>,
}

impl Bucket {
    /// Reads the settings and tries the bucket.
    pub(super) async fn connect(settings: &BucketSettings) -> Result<Self, KubernetesError> {
        // Fails when one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let name = settings.to_string();
        let unusable = |what: &str, error: &object_store::Error| {
            KubernetesError::input(
                format!("bucket {name} {what}: {}", chain(error)),
                "the AWS_ variables say where it is and who may use it, see docs/kubernetes.md",
            )
        };
        let mut builder = AmazonS3Builder::new().with_bucket_name(&settings.bucket);
        for (variable, value) in &settings.variables {
            if let Ok(key) = variable.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .build()
            .map_err(|error| unusable("cannot be used", &error))?;
        let bucket = Self {
            store,
            prefix: settings.prefix.clone(),
            uploads: Mutex::default(),
            name: name.clone(),
        };
        let mark = PutPayload::from_static(b"Written by driverkit-matrix.\n");
        bucket
            .store
            .put(&bucket.key(&[MARK]), mark)
            .await
            .map_err(|error| unusable("cannot be written", &error))?;
        Ok(bucket)
    }

    fn key(&self, parts: &[&str]) -> Key {
        let all = self.prefix.split('/').chain(parts.iter().copied());
        all.filter(|part| !part.is_empty()).collect()
    }

    /// Makes sure that the archive is there; whoever asks while it is sent waits for that.
    pub(super) async fn offer(&self, archive: &Archive) -> Result<(), ExecutorError> {
        let sha256 = archive.facts.sha256;
        let cell = Arc::clone(self.uploads.lock().await.entry(sha256).or_default());
        cell.get_or_try_init(|| self.upload(archive)).await.copied()
    }

    async fn upload(&self, archive: &Archive) -> Result<(), ExecutorError> {
        let key = self.key(&["inputs", &archive.facts.sha256.to_string()]);
        let failed = |error| self.failure("take an input", error);
        match self.store.head(&key).await {
            // An object appears whole or not at all.
            Ok(found) if found.size == archive.facts.size_bytes => return Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        let mut file = tokio::fs::File::open(&archive.path)
            .await
            .map_err(FileError::of("read", &archive.path))?;
        let store = Arc::new(self.store.clone());
        let mut writer = BufWriter::new(store, key);
        let sent = async {
            tokio::io::copy(&mut file, &mut writer).await?;
            writer.shutdown().await
        };
        sent.await.map_err(|error| {
            let what = format!("bucket {} failed to take an input", self.name);
            ExecutorError::caused_by(what, error)
        })
    }

    /// Where a pod fetches an archive.
    pub(super) async fn input_url(
        &self,
        archive: Sha256,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        let key = self.key(&["inputs", &archive.to_string()]);
        self.signed(Method::GET, &key, lifetime).await
    }

    /// Where the pod of that job sends its result.
    pub(super) async fn result_url(
        &self,
        job: &str,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        let key = self.key(&["results", job]);
        self.signed(Method::PUT, &key, lifetime).await
    }

    async fn signed(
        &self,
        method: Method,
        key: &Key,
        lifetime: Duration,
    ) -> Result<String, ExecutorError> {
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        let url = self.store.signed_url(method, key, lifetime).await;
        url.map(String::from)
            .map_err(|error| self.failure("sign an address", error))
    }

    /// Takes the result of a job out of the bucket into an unnamed file in `folder`; it must have this digest.
    pub(super) async fn take(
        &self,
        job: &str,
        digest: Sha256,
        folder: &Path,
    ) -> Result<File, ExecutorError> {
        let key = self.key(&["results", job]);
        let taken = self.read(&key, digest, folder).await;
        if let Err(error) = self.store.delete(&key).await {
            tracing::warn!("a result stays in bucket {}: {}", self.name, chain(&error));
        }
        taken
    }

    async fn read(&self, key: &Key, digest: Sha256, folder: &Path) -> Result<File, ExecutorError> {
        let failed = |error| self.failure("give a result", error);
        let file = tempfile::tempfile_in(folder).map_err(FileError::of("write in", folder))?;
        let mut writer = HashingWriter::new(file);
        let mut left_bytes = RESULT_LIMIT_BYTES;
        let mut content = self.store.get(key).await.map_err(failed)?.into_stream();
        while let Some(part) = content.try_next().await.map_err(failed)? {
            left_bytes = left_bytes
                .checked_sub(part.len() as u64)
                .ok_or_else(|| ExecutorError::infrastructure("a result is too large"))?;
            writer
                .write_all(&part)
                .map_err(FileError::of("write in", folder))?;
        }
        let (found, _, mut file) = writer.finish();
        if found != digest {
            return Err(ExecutorError::infrastructure(format!(
                "a result in bucket {} has SHA-256 {found}, not {digest} as its pod says",
                self.name
            )));
        }
        file.rewind().map_err(FileError::of("read in", folder))?;
        Ok(file)
    }

    fn failure(&self, what: &str, error: object_store::Error) -> ExecutorError {
        let what = format!("bucket {} failed to {what}", self.name);
        ExecutorError::caused_by(what, error)
    }
}
