//! Downloads by a distribution's package manager, in a job with an image that the user provides.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::JobRequest;
use crate::engine::work::{Work, unexpected};
use crate::executor::{Network, Toolchain};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::{ForeignError, ForeignFolder, blocking};
use crate::plan::Build;
use crate::script;
use crate::target::{PackageFormat, SubscribedPackage, Subscription, WantedPackage};

/// The maximum size of a package, larger than any package of a distribution.
const MOST_PACKAGE_BYTES: u64 = 4 << 30;

/// The inputs of a download by a package manager.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Download {
    /// The build that needs them first.
    pub(crate) build: Build,
    /// The user's image.
    pub(crate) toolchain: Toolchain,
    pub(crate) subscription: Subscription,
    pub(crate) script: String,
}

/// A package that was downloaded; its content is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Downloaded {
    pub(crate) file: String,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

/// Runs package managers.
pub(crate) struct Downloads {
    engine: Arc<Engine>,
}

impl Downloads {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Runs the package manager and stores the packages.
    pub(crate) async fn run(&self, download: &Download) -> Result<Work, Halt> {
        self.engine.may_begin(Mode::Run)?;
        let Download {
            build,
            toolchain,
            subscription,
            script,
        } = download;
        let failed = |class, message: String| Failure::new(class, Phase::Fetch, message);
        if self.engine.fetcher.is_offline() {
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
            kvm: false,
        };
        let result = match self.engine.jobs.run(build, &request).await {
            Err(Halt::Failed(mut told)) if told.own.is_some() => {
                // A package manager may succeed tomorrow, so the failure is not cached.
                told.own = None;
                if let Some(code) = told.failure.exit_code {
                    told.failure = Failure {
                        exit_code: Some(code),
                        ..failed(class_of(code), download.message(code))
                    };
                }
                return Err(Halt::Failed(told));
            }
            result => result?,
        };
        let mut files = Vec::new();
        for SubscribedPackage { file, .. } in &subscription.packages {
            let (store, name) = (self.engine.store.clone(), file.clone());
            let output = result.output.path().to_owned();
            let keep = move || -> Result<_, ForeignError> {
                let output = ForeignFolder::open(&output)?;
                Ok(store.put_blob(output.open_file(Path::new(&name), MOST_PACKAGE_BYTES)?)?)
            };
            let kept = blocking(keep)
                .await
                .map_err(|error| match error.machine_failure() {
                    Some(error) => self.engine.steps.storage_failure(error, Phase::Fetch),
                    None => failed(
                        FailureClass::Download,
                        format!(
                            "{} produced no package: {error}",
                            subscription.manager.as_str()
                        ),
                    )
                    .into(),
                });
            let (sha256, size_bytes) = kept?;
            files.push(Downloaded {
                file: file.clone(),
                sha256,
                size_bytes,
            });
        }
        Ok(result.work(Work::of_facts(&files, Phase::Fetch)?.result))
    }

    /// Downloads packages again after their content was removed from the store.
    pub(crate) async fn again(&self, download: &Download, wanted: Sha256) -> Result<(), Halt> {
        let work = Box::pin(self.run(download)).await?;
        match work.result {
            StepResult::Facts(_) if self.engine.store.has_blob(wanted) => Ok(()),
            StepResult::Facts(_) => {
                self.engine
                    .steps
                    .forget(download.key().key(), Mode::Run, Phase::Fetch)
                    .await?;
                let message = format!(
                    "{} provides a different {} than before; the next run uses it",
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
            FailureClass::HeadersNotFound => "does not have",
            _ => "failed to download",
        };
        format!(
            "{} of image {} {what} {}; see the log",
            self.subscription.manager.as_str(),
            image_name(&self.toolchain),
            self.subscription.names().join(" and ")
        )
    }

    /// The key over everything that can change the result.
    pub(crate) fn key(&self) -> KeyBuilder {
        let key = KeyBuilder::new("download", 1)
            .field("image", self.toolchain.identity())
            .field("script", Sha256::of(&self.script));
        let variables = self.build.settings.environment.iter();
        variables.fold(key, |key, (name, value)| {
            // The value may be a password, and outcomes store the fields of their keys.
            key.field(format!("variable {name}"), Sha256::of(value))
        })
    }

    /// Returns the downloaded file as a package without URLs, named after the package manager.
    pub(crate) fn package(&self, file: &Downloaded) -> WantedPackage {
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
