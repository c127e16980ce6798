//! Header packages behind a subscription: the distribution's own package manager downloads them, in a job with an image
//! that the user provides. Only this job has network access and runs as root.
//!
//! The results are packages like any other: stored by digest, unpacked once, inspected. The key covers the image, the
//! commands (which contain the release) and the variables that the matrix sets for the build.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::Fetched;
use crate::plan::Build;
use crate::recipe::downloads::{Download, Downloaded};
use crate::recipe::kernel::packages::{Input, Packages};
use crate::recipe::toolchain::ToolchainChooser;
use crate::script::{self, DownloadSettings};
use crate::target::{SubscribedPackage, Subscription};

/// Finds the packages of kernels that need a subscription.
pub(crate) struct Subscriptions {
    engine: Arc<Engine>,
    packages: Arc<Packages>,
    toolchains: Arc<ToolchainChooser>,
}

impl Subscriptions {
    pub(crate) fn new(
        engine: Arc<Engine>,
        packages: Arc<Packages>,
        toolchains: Arc<ToolchainChooser>,
    ) -> Self {
        Self {
            engine,
            packages,
            toolchains,
        }
    }

    /// Returns the packages of a build's kernel from a subscription, unpacked.
    pub(crate) async fn inputs(
        &self,
        build: &Build,
        subscription: Subscription,
        mode: Mode,
    ) -> Result<Vec<Input>, Halt> {
        let download = Arc::new(self.download(build, subscription, mode).await?);
        let work = self.packages.downloads().run(&download);
        let key = download.key();
        let done = self
            .engine
            .step(mode, Phase::Fetch, key, Box::pin(work))
            .await?;
        let files: Vec<Downloaded> = done.facts(Phase::Fetch)?;
        let inputs = files.into_iter().map(async |file| {
            let package = download.package(&file);
            let fetched = Fetched {
                sha256: file.sha256,
                size_bytes: file.size_bytes,
                url: package.url().to_string(),
            };
            let download = Some(download.clone());
            let unpacked = self
                .packages
                .unpack(&package, &fetched, download.as_deref(), mode);
            let tree = match unpacked.await {
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Unpack => {
                    // The next run downloads it again.
                    self.engine
                        .steps
                        .forget(done.key, mode, Phase::Fetch)
                        .await?;
                    let Failure { phase, message, .. } = failed.failure;
                    return Err(Failure::new(FailureClass::Download, phase, message).into());
                }
                unpacked => unpacked?,
            };
            Ok::<_, Halt>(Input {
                package,
                fetched,
                tree,
                download,
            })
        });
        futures_util::future::try_join_all(inputs).await
    }

    async fn download(
        &self,
        build: &Build,
        subscription: Subscription,
        mode: Mode,
    ) -> Result<Download, Halt> {
        let Some(image) = self.toolchains.image_of(build) else {
            let message = format!(
                "its packages need a subscription: set an image that has access to them (`image = \"...\"` in the \
                 matrix, or --builderimage), or list the packages with `headers` ({} would download {})",
                subscription.manager.as_str(),
                subscription.names().join(" and ")
            );
            return Err(Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message).into());
        };
        let packages = subscription.packages.iter();
        let packages = packages.map(|SubscribedPackage { name, file }| (&**name, &**file));
        let script = script::render_download(&DownloadSettings {
            manager: subscription.manager.as_str(),
            packages: packages.collect(),
        })
        .map_err(|error| script_failure(&error))?;
        Ok(Download {
            build: build.clone(),
            toolchain: self.toolchains.named_image(image, mode).await?,
            subscription,
            script,
        })
    }
}
