//! Header packages behind a subscription: the distribution's own package manager downloads them, in a job over the
//! image that the user brings. That job alone has the network, and is root.
//!
//! What it leaves are packages like any other: kept by their digests, unpacked once, looked into. The key holds the
//! image, the commands (which hold the release) and the variables that the matrix gives the build.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checks::script_failure;
use super::job::JobRequest;
use super::kernel_inputs::Input;
use super::pipeline::Pipeline;
use super::step::{Failed, Halt, Mode};
use super::toolchain::Toolchains;
use super::work::{Work, unexpected};
use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::executor::{Exit, Network, Toolchain};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::Fetched;
use crate::fs::{FileError, ForeignFolder};
use crate::plan::Build;
use crate::script::{self, DownloadSettings};
use crate::target::{PackageFormat, SubscribedPackage, Subscription, WantedPackage};

/// More than any package of a distribution has.
const MOST_PACKAGE_BYTES: u64 = 4 << 30;

/// How packages are downloaded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Download {
    /// The build that wants them first.
    build: Build,
    /// The user's image.
    toolchain: Toolchain,
    subscription: Subscription,
    script: String,
}

/// A package that was downloaded; its content is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Downloaded {
    file: String,
    sha256: Sha256,
    size_bytes: u64,
}

impl Pipeline {
    /// The packages of a build's kernel out of a subscription, unpacked.
    pub(super) async fn subscribed_inputs(
        &self,
        build: &Build,
        subscription: Subscription,
        mode: Mode,
    ) -> Result<Vec<Input>, Halt> {
        let download = Arc::new(self.download(build, subscription, mode).await?);
        let work = self.download_now(&download);
        let key = download.key();
        let done = self.steps.step(mode, Phase::Fetch, key, work).await?;
        let files: Vec<Downloaded> = done.facts(Phase::Fetch)?;
        let inputs = files.into_iter().map(async |file| {
            let package = download.package(&file);
            let fetched = Fetched {
                sha256: file.sha256,
                size_bytes: file.size_bytes,
                url: package.url().to_string(),
            };
            let download = Some(download.clone());
            let unpacked = self.unpack(&package, &fetched, download.as_deref(), mode);
            let tree = match unpacked.await {
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Unpack => {
                    // The next run downloads it again.
                    let forgotten = self.steps.outcomes().remove(done.key);
                    forgotten.map_err(|error| self.steps.storage_failure(&error, Phase::Fetch))?;
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
        let image = match &self.toolchains {
            Toolchains::Images(images) => images.named(build),
            Toolchains::Host { .. } => None,
        };
        let Some(image) = image else {
            let message = format!(
                "its packages are behind a subscription: name an image of yours that has access to them, with \
                 `image = \"...\"` in the matrix or `--builderimage`, or name the packages with `headers` ({} would \
                 be asked for {})",
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
            toolchain: self.named_image(image, mode).await?,
            subscription,
            script,
        })
    }

    /// Runs the package manager and keeps its packages.
    async fn download_now(&self, download: &Download) -> Result<Work, Halt> {
        self.may_begin(Mode::Run)?;
        let Download {
            build,
            toolchain,
            subscription,
            script,
        } = download;
        let failed = |class, message: String| Failure::new(class, Phase::Fetch, message);
        if self.fetcher.is_offline() {
            let message = format!(
                "offline: {} of {} has not been downloaded with {} yet",
                subscription.names().join(" and "),
                build.kernel,
                subscription.manager.as_str()
            );
            return Err(failed(FailureClass::Download, message).into());
        }
        let request = JobRequest {
            phase: Phase::Fetch,
            toolchain: toolchain.clone(),
            script: script.clone(),
            mounts: Vec::new(),
            network: Network::Host,
        };
        let result = self.run_job(build, &request).await?;
        if let Some(failure) = &result.failure {
            // Whatever a package manager says, it may say otherwise tomorrow: nothing of it is kept.
            let failure = match result.completion.exit {
                Exit::Code(code) => Failure {
                    exit_code: Some(code),
                    ..failed(class_of(code), download.message(code))
                },
                _ => failure.clone(),
            };
            return Err(Halt::Failed(Box::new(Failed {
                failure,
                log: Some(result.log),
                is_cached: false,
            })));
        }
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Fetch);
        let mut files = Vec::new();
        let output = ForeignFolder::open(result.output.path()).map_err(stored)?;
        for SubscribedPackage { file, .. } in &subscription.packages {
            let opened = output.open_file(Path::new(file), MOST_PACKAGE_BYTES);
            let opened = opened.map_err(|error| match error.machine_failure() {
                Some(error) => self.steps.storage_failure(error, Phase::Fetch),
                None => failed(
                    FailureClass::Download,
                    format!("{} left no package: {error}", subscription.manager.as_str()),
                )
                .into(),
            })?;
            let (sha256, size_bytes) = self.store.put_blob(opened).map_err(stored)?;
            files.push(Downloaded {
                file: file.clone(),
                sha256,
                size_bytes,
            });
        }
        Ok(result.work(Work::of_facts(&files, Phase::Fetch)?.result))
    }

    /// Downloads packages again whose content was cleaned away.
    pub(super) async fn download_again(
        &self,
        download: &Download,
        wanted: Sha256,
    ) -> Result<(), Halt> {
        let work = Box::pin(self.download_now(download)).await?;
        match work.result {
            StepResult::Facts(_) if self.store.has_blob(wanted) => Ok(()),
            StepResult::Facts(_) => {
                let forgotten = self.steps.outcomes().remove(download.key().key());
                forgotten.map_err(|error| self.steps.storage_failure(&error, Phase::Fetch))?;
                let message = format!(
                    "{} gives another {} than before; the next run takes it",
                    download.subscription.manager.as_str(),
                    download.subscription.names().join(" or ")
                );
                Err(Failure::new(FailureClass::Checksum, Phase::Fetch, message).into())
            }
            other => Err(unexpected(&other, Phase::Fetch)),
        }
    }
}

fn class_of(exit_code: i32) -> FailureClass {
    if exit_code == script::NO_SUCH_PACKAGE {
        FailureClass::HeadersNotFound
    } else {
        FailureClass::Download
    }
}

impl Download {
    fn message(&self, exit_code: i32) -> String {
        let what = match class_of(exit_code) {
            FailureClass::HeadersNotFound => "does not know",
            _ => "failed to download",
        };
        format!(
            "{} of image {} {what} {}; its log says more",
            self.subscription.manager.as_str(),
            image_name(&self.toolchain),
            self.subscription.names().join(" and ")
        )
    }

    fn key(&self) -> KeyBuilder {
        let key = KeyBuilder::new("download", 1)
            .field("image", self.toolchain.identity())
            .field("script", Sha256::of(&self.script));
        let variables = self.build.settings.environment.iter();
        variables.fold(key, |key, (name, value)| {
            key.field(format!("variable {name}"), value)
        })
    }

    /// A downloaded file in the place of a package with addresses: it is called after who downloaded it.
    fn package(&self, file: &Downloaded) -> WantedPackage {
        let name = format!("{}:{}", self.subscription.manager.as_str(), file.file);
        WantedPackage {
            sha256: Some(file.sha256),
            is_noted: false,
            size_bytes: Some(file.size_bytes),
            candidates: vec![name.into()],
            format: PackageFormat::Rpm,
        }
    }
}

fn image_name(toolchain: &Toolchain) -> &str {
    match toolchain {
        Toolchain::Image { name, .. } => name,
        Toolchain::Host { .. } => "of this machine",
    }
}
