//! The last steps of a build: compiling the module or the probe, checking it, keeping it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::checks::{Answers, kernel_settings, script_failure};
use super::driver_inputs::DriverInputs;
use super::job::{JobRequest, JobResult};
use super::kernel_inputs::KernelInputs;
use super::pipeline::Pipeline;
use super::step::{Halt, Mode};
use super::toolchain::ChosenToolchain;
use super::work::Done;
use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::executor::Network;
use crate::failure::{Failure, FailureClass, Phase, printable};
use crate::fs::FileError;
use crate::kernel::Architecture;
use crate::plan::Build;
use crate::script::{self, KnownAnswer, ModuleSettings, ProbeSettings};
use crate::verify;

/// Everything that an artifact is made from.
pub(super) struct Ingredients<'a> {
    pub(super) build: &'a Build,
    pub(super) kernel: &'a KernelInputs,
    pub(super) toolchain: &'a ChosenToolchain,
    pub(super) driver: &'a DriverInputs,
    pub(super) answers: &'a Answers,
}

impl Pipeline {
    /// Makes one artifact, or finds it. A failure is an outcome like any other.
    pub(super) async fn artifact(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
    ) -> Result<Done, Halt> {
        let phase = phase_of(artifact);
        let script = render(artifact, ingredients, self.host)?;
        let inputs = key_of(artifact, ingredients, &script);
        let work = async {
            let Ingredients {
                build,
                kernel,
                toolchain,
                driver,
                ..
            } = ingredients;
            self.materialise_kernel(build, kernel).await?;
            let mut mounts = self.kernel_mounts(kernel);
            mounts.push(self.driver_mount(build, driver).await?);
            let request = JobRequest {
                phase,
                toolchain: toolchain.toolchain.clone(),
                network: Network::None,
                script,
                mounts,
            };
            let result = self.run_job(build, &request).await?;
            let judged = if let Some(failure) = &result.failure {
                StepResult::Failure(failure.clone())
            } else {
                let judged = self.judge(artifact, ingredients, &result)?;
                self.confirmed_job(&request.mounts, judged)?
            };
            Ok(result.work(judged))
        };
        self.steps.step(mode, phase, inputs, work).await
    }

    /// What a job that ended well means: an artifact that was checked and is in the store, or a failure.
    fn judge(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        result: &JobResult,
    ) -> Result<StepResult, Halt> {
        let phase = phase_of(artifact);
        let Ingredients {
            build,
            kernel,
            driver,
            ..
        } = ingredients;
        let settings = &build.settings;
        let (name, setting, limit_bytes) = match artifact {
            Artifact::Module => (script::MODULE_FILE, "module_size", settings.module_bytes),
            Artifact::Probe => (script::PROBE_FILE, "probe_size", settings.probe_bytes),
        };
        let path = result.output.path().join(name);
        if !path.is_file() {
            let message = format!("the script ended well but left no {name}");
            return Ok(StepResult::Failure(Failure::new(
                FailureClass::OutputMissing,
                phase,
                message,
            )));
        }
        let stored =
            |error: crate::fs::FileError| self.steps.storage_failure(&error, Phase::Verify);
        let Some(bytes) = read_at_most(&path, limit_bytes).map_err(stored)? else {
            let message = format!(
                "{name} is larger than {} MiB; raise `{setting}` in the matrix",
                limit_bytes >> 20
            );
            return Ok(StepResult::Failure(Failure::new(
                FailureClass::TooMuchOutput,
                phase,
                message,
            )));
        };
        let symvers = self.symvers(kernel)?;
        let verified = match artifact {
            Artifact::Module => verify::verify_module(
                &bytes,
                &verify::ExpectedModule {
                    name: &driver.facts.module_name,
                    architecture: build.kernel.architecture,
                    tree: &kernel.inspection.facts,
                    symvers: symvers.as_deref(),
                },
            ),
            Artifact::Probe => verify::verify_probe(&bytes),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(defects) => {
                let message = defects.to_string();
                return Ok(StepResult::Failure(Failure::new(
                    FailureClass::OutputInvalid,
                    Phase::Verify,
                    message,
                )));
            }
        };
        let (sha256, size_bytes) = self.store.put_blob(bytes.as_slice()).map_err(stored)?;
        Ok(StepResult::Artifact(ArtifactFacts {
            sha256,
            size_bytes,
            vermagic: verified.vermagic.as_deref().map(printable),
            srcversion: verified.srcversion.as_deref().map(printable),
        }))
    }
}

/// The content of a file; none where it is longer than that.
fn read_at_most(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let mut file = File::open(path)?;
        let size_bytes = file.metadata()?.len();
        if size_bytes > limit_bytes {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
        file.by_ref().take(limit_bytes).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    read().map_err(FileError::of("read", path))
}

pub(super) fn phase_of(artifact: Artifact) -> Phase {
    match artifact {
        Artifact::Module => Phase::Module,
        Artifact::Probe => Phase::Probe,
    }
}

fn render(
    artifact: Artifact,
    ingredients: &Ingredients<'_>,
    host: Architecture,
) -> Result<String, Halt> {
    let mut kernel = kernel_settings(ingredients.kernel, ingredients.toolchain);
    if artifact == Artifact::Module {
        let of = &ingredients.build.kernel;
        let target = crate::target::find(&of.target);
        let variables = target.map(|target| target.make_variables(of, host));
        kernel
            .compilers
            .make_variables
            .extend(variables.unwrap_or_default());
    }
    let answers = ingredients
        .answers
        .configure
        .iter()
        .filter(|(check, _)| check.artifact == artifact)
        .map(|(check, passed)| KnownAnswer {
            folder: check.folder.clone(),
            status: i32::from(!passed),
        })
        .collect();
    let rendered = match artifact {
        Artifact::Module => script::render_module(&ModuleSettings {
            kernel: &kernel,
            module_name: ingredients.driver.facts.module_name.clone(),
            answers,
        }),
        Artifact::Probe => script::render_probe(&ProbeSettings {
            kernel: &kernel,
            answers,
        }),
    };
    rendered.map_err(|error| script_failure(&error))
}

/// Everything that can change the artifact. The script holds the compilers, the names and the checks' answers.
fn key_of(artifact: Artifact, ingredients: &Ingredients<'_>, script: &str) -> KeyBuilder {
    let mut key = KeyBuilder::new(artifact.as_str(), 1)
        .field("architecture", ingredients.build.kernel.architecture)
        .field("toolchain", ingredients.toolchain.toolchain.identity())
        .field("compiler", &ingredients.toolchain.compilers.compiler)
        .field("module name", &ingredients.driver.facts.module_name)
        .field("driver tree", ingredients.driver.tree)
        .field("output checks", verify::VERSION);
    key = ingredients.kernel.add_to_key(key);
    for (name, value) in &ingredients.build.settings.environment {
        key = key.field(format!("environment {name}"), value);
    }
    for (check, passed) in &ingredients.answers.configure {
        if check.artifact == artifact {
            key = key.field(format!("check {}", check.name), passed);
        }
    }
    key.field("script", Sha256::of(script))
}
