//! Configurations of kernels whose header trees are prepared from a kernel source.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::work::Work;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::ContentKind;
use crate::fs::{self, blocking};
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::recipe::files::{Files, request_for_text};
use crate::recipe::kernel::tree::ConfigurationFacts;
use crate::script;
use crate::target::Target;
use crate::unpack::{UnpackError, tree_digest_of_folder};
use crate::verify;

/// Reads configurations and provides them to jobs.
pub(super) struct Configurations {
    engine: Arc<Engine>,
    files: Arc<Files>,
}

impl Configurations {
    pub(super) fn new(engine: Arc<Engine>, files: Arc<Files>) -> Self {
        Self { engine, files }
    }

    /// Returns the digest of a kernel's configuration: from the plan, or else from the distribution.
    pub(super) async fn digest(
        &self,
        target: &dyn Target,
        kernel: &Kernel,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        if let Some(known) = kernel.config_sha256 {
            return Ok(known);
        }
        let Some(published) = target.published_config(kernel) else {
            let message = format!(
                "kernel {kernel} is made from a kernel source, and its configuration is not known: write \
                 `config = \"FILE\"` beside its release, with the content of /proc/config.gz or /boot/config-* of a \
                 machine with this kernel"
            );
            return Err(Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message).into());
        };
        let request = request_for_text(&published, ContentKind::Configuration);
        Ok(self.files.fetch_unless_known(&request, mode).await?.sha256)
    }

    pub(super) async fn facts(
        &self,
        kernel: &Kernel,
        sha256: Sha256,
        mode: Mode,
    ) -> Result<ConfigurationFacts, Halt> {
        let inputs = KeyBuilder::new("read configuration", 2).field("configuration", sha256);
        let work = async {
            let text = self.text(kernel, sha256).await?;
            let text = String::from_utf8_lossy(&text);
            let facts = ConfigurationFacts {
                gcc_version: verify::gcc_of_configuration(&text),
                clang_version: verify::clang_of_configuration(&text),
            };
            Work::of_facts(&facts, Phase::Fetch)
        };
        let done = self
            .engine
            .step(mode, Phase::Fetch, inputs, Box::pin(work))
            .await?;
        done.facts(Phase::Fetch)
    }

    /// Returns the content of a configuration, which has been in the store since the plan was made.
    async fn text(&self, kernel: &Kernel, sha256: Sha256) -> Result<Vec<u8>, Halt> {
        let path = self.engine.store.blob_path(sha256);
        match blocking(move || fs::read(&path)).await {
            Ok(text) if Sha256::of(&text) == sha256 => Ok(text),
            Ok(_) => {
                let message = format!(
                    "the configuration {sha256} of kernel {kernel} was damaged in the cache; the next run reads it again"
                );
                Err(Failure::new(FailureClass::Infrastructure, Phase::Fetch, message).into())
            }
            Err(error) if error.is_not_found() => {
                let message = format!(
                    "the configuration {sha256} of kernel {kernel} is neither in the store nor beside the lock; run \
                     `driverkit-matrix lock`, or name its file with `config = \"FILE\"`"
                );
                Err(Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message).into())
            }
            Err(error) => Err(self.engine.steps.storage_failure(&error, Phase::Fetch)),
        }
    }

    /// Returns a directory of the store with only the configuration, to mount into a job.
    pub(super) async fn tree(&self, build: &Build, sha256: Sha256) -> Result<PathBuf, Halt> {
        let text = self.text(&build.kernel, sha256).await?;
        let store = self.engine.store.clone();
        let write = move || -> Result<_, UnpackError> {
            let work = store.temporary_folder()?;
            let folder = work.path().join("configuration");
            fs::write(&folder.join(script::CONFIGURATION_FILE), text)?;
            let tree = tree_digest_of_folder(&folder)?;
            Ok((work, folder, tree))
        };
        let (work, folder, tree) = blocking(write).await.map_err(|error| match error {
            UnpackError::File(error) => self.engine.stored(Phase::Prepare)(error),
            error => {
                let class = FailureClass::Infrastructure;
                Failure::new(class, Phase::Prepare, error.to_string()).into()
            }
        })?;
        if !self.engine.trees.has(tree, Phase::Prepare).await? {
            let store = self.engine.store.clone();
            let put = blocking(move || store.put_tree(&folder, tree)).await;
            put.map_err(self.engine.stored(Phase::Prepare))?;
        }
        drop(work);
        Ok(self.engine.store.tree_path(tree))
    }
}
