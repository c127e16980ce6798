//! The last steps of a build: compiling the module or the probe, checking it, and storing it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::{JobRequest, JobResult};
use crate::engine::memo::OfOwner;
use crate::engine::work::Done;
use crate::executor::Network;
use crate::failure::{Failure, FailureClass, Phase, printable};
use crate::fs::{FileError, blocking};
use crate::kernel::Architecture;
use crate::plan::Build;
use crate::recipe::checks::{Answers, Subject};
use crate::recipe::driver::{DriverInputs, Drivers};
use crate::recipe::kernel::Kernels;
use crate::recipe::kernel::tree::KernelInputs;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script::{self, KnownAnswer, ModuleSettings, ProbeSettings};
use crate::source::ConfigureCheck;
use crate::store::Store;
use crate::verify;

/// All inputs of an artifact.
pub(crate) struct Ingredients<'a> {
    pub(crate) build: &'a Build,
    pub(crate) kernel: Arc<KernelInputs>,
    pub(crate) toolchain: Arc<ChosenToolchain>,
    pub(crate) driver: DriverInputs,
    pub(crate) answers: Answers,
}

impl Ingredients<'_> {
    /// Returns the subject of the configure checks.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            build: self.build,
            kernel: &self.kernel,
            toolchain: &self.toolchain,
            driver: &self.driver,
        }
    }

    /// Returns the job that builds the artifact with `script`.
    pub(crate) async fn job(
        &self,
        artifact: Artifact,
        script: String,
        kernels: &Kernels,
        drivers: &Drivers,
    ) -> Result<JobRequest, Halt> {
        let mut mounts = kernels.mounts(self.build, &self.kernel).await?;
        mounts.push(drivers.mount(self.build, &self.driver).await?);
        Ok(JobRequest {
            phase: phase_of(artifact),
            toolchain: self.toolchain.toolchain.clone(),
            network: Network::None,
            kvm: false,
            script,
            mounts,
        })
    }
}

/// Builds artifacts.
pub(crate) struct Artifacts {
    engine: Arc<Engine>,
    kernels: Arc<Kernels>,
    drivers: Arc<Drivers>,
    /// Scripts that driver versions share.
    scripts: OfOwner<KernelInputs, ScriptOf, Arc<Script>>,
}

/// The script of a job.
struct Script {
    text: String,
    sha256: Sha256,
}

/// The inputs of a script other than the kernel.
struct ScriptOf {
    artifact: Artifact,
    module_name: String,
    toolchain: Arc<ChosenToolchain>,
    answers: Arc<[(Arc<ConfigureCheck>, bool)]>,
}

impl ScriptOf {
    fn is_same(&self, artifact: Artifact, of: &Ingredients<'_>) -> bool {
        self.artifact == artifact
            && self.module_name == of.driver.facts.module_name
            && self.toolchain == of.toolchain
            && (Arc::ptr_eq(&self.answers, &of.answers.configure)
                || self.answers == of.answers.configure)
    }
}

impl Artifacts {
    pub(crate) fn new(engine: Arc<Engine>, kernels: Arc<Kernels>, drivers: Arc<Drivers>) -> Self {
        Self {
            engine,
            kernels,
            drivers,
            scripts: OfOwner::default(),
        }
    }

    /// Builds an artifact, or finds its cached outcome. A failure is an outcome like any other.
    pub(crate) async fn make(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
    ) -> Result<Done, Halt> {
        let phase = phase_of(artifact);
        may_be_made(artifact, ingredients)?;
        let script = self.script(artifact, ingredients, mode)?;
        let inputs = key_of(artifact, ingredients, script.sha256);
        let key = (mode == Mode::Run).then(|| inputs.clone());
        let work = async {
            let key = key.ok_or(Halt::Missing)?;
            let script = script.text.clone();
            let request = ingredients.job(artifact, script, &self.kernels, &self.drivers);
            let request = request.await?;
            let jobs = &self.engine.jobs;
            let result = jobs.run_once(ingredients.build, &request, &key).await?;
            let judged = self.judge(artifact, ingredients, &result).await?;
            match judged {
                Ok(facts) => Ok(result.work(StepResult::Artifact(facts))),
                Err(failure) => Err(result.failed(failure)),
            }
        };
        self.engine.step(mode, phase, inputs, Box::pin(work)).await
    }

    /// Returns the script of a job. In [`Mode::Lookup`], driver versions with the same script share it.
    fn script(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
    ) -> Result<Arc<Script>, Halt> {
        let render = || -> Result<_, Halt> {
            let text = render(artifact, ingredients, self.engine.host)?;
            let sha256 = Sha256::of(&text);
            Ok(Arc::new(Script { text, sha256 }))
        };
        if mode == Mode::Run {
            return render();
        }
        let kernel = &ingredients.kernel;
        let is_same = |of: &ScriptOf| of.is_same(artifact, ingredients);
        if let Some(known) = self.scripts.get(kernel, is_same) {
            return Ok(known);
        }
        let script = render()?;
        let of = ScriptOf {
            artifact,
            module_name: ingredients.driver.facts.module_name.clone(),
            toolchain: ingredients.toolchain.clone(),
            answers: ingredients.answers.configure.clone(),
        };
        self.scripts.put(kernel, of, Arc::clone(&script));
        Ok(script)
    }

    /// Forgets the scripts that driver versions share.
    pub(crate) fn forget(&self) {
        self.scripts.clear();
    }

    /// Judges the output of a successful job: returns the facts of an artifact that was checked and stored, or a
    /// failure.
    async fn judge(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        result: &JobResult,
    ) -> Result<Result<ArtifactFacts, Failure>, Halt> {
        let settings = &ingredients.build.settings;
        let (setting, limit_bytes) = match artifact {
            Artifact::Module => ("module_size", settings.module_bytes),
            Artifact::Probe => ("probe_size", settings.probe_bytes),
        };
        let left = Left {
            artifact,
            path: result.output.path().join(left_file(artifact)),
            limit_bytes,
            setting,
        };
        let expected = Expected {
            name: ingredients.driver.facts.module_name.clone(),
            architecture: ingredients.build.kernel.architecture,
            kernel: ingredients.kernel.clone(),
            symvers: self.kernels.symvers(&ingredients.kernel).await?,
        };
        let store = self.engine.store.clone();
        blocking(move || left.judge(&store, &expected))
            .await
            .map_err(self.engine.stored(Phase::Verify))
    }
}

/// The output file of a job.
struct Left {
    artifact: Artifact,
    path: PathBuf,
    limit_bytes: u64,
    /// The setting that defines the limit.
    setting: &'static str,
}

/// The expected properties of a job's output.
struct Expected {
    name: String,
    architecture: Architecture,
    kernel: Arc<KernelInputs>,
    symvers: Option<String>,
}

impl Left {
    /// Puts the file into the store if it is as expected.
    fn judge(
        &self,
        store: &Store,
        expected: &Expected,
    ) -> Result<Result<ArtifactFacts, Failure>, FileError> {
        let phase = phase_of(self.artifact);
        let name = self.path.file_name().unwrap_or_default().display();
        if !self.path.is_file() {
            let message = format!("the script succeeded but produced no {name}");
            return Ok(Err(Failure::new(
                FailureClass::OutputMissing,
                phase,
                message,
            )));
        }
        let Some(bytes) = read_at_most(&self.path, self.limit_bytes)? else {
            let message = format!(
                "{name} is larger than {} MiB; raise `{}` in the matrix",
                self.limit_bytes >> 20,
                self.setting
            );
            return Ok(Err(Failure::new(
                FailureClass::TooMuchOutput,
                phase,
                message,
            )));
        };
        let verified = match self.artifact {
            Artifact::Module => verify::verify_module(
                &bytes,
                &verify::ExpectedModule {
                    name: &expected.name,
                    architecture: expected.architecture,
                    tree: &expected.kernel.inspection.facts,
                    symvers: expected.symvers.as_deref(),
                },
            ),
            Artifact::Probe => verify::verify_probe(&bytes),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(defects) => {
                let message = defects.to_string();
                return Ok(Err(Failure::new(
                    FailureClass::OutputInvalid,
                    Phase::Verify,
                    message,
                )));
            }
        };
        let (sha256, size_bytes) = store.put_blob(bytes.as_slice())?;
        Ok(Ok(ArtifactFacts {
            sha256,
            size_bytes,
            vermagic: verified.vermagic.as_deref().map(printable),
            srcversion: verified.srcversion.as_deref().map(printable),
        }))
    }
}

/// Returns the content of a file, or `None` if it is larger than the limit.
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

pub(crate) fn phase_of(artifact: Artifact) -> Phase {
    match artifact {
        Artifact::Module => Phase::Module,
        Artifact::Probe => Phase::Probe,
    }
}

/// Returns the name of the file that the job of an artifact writes.
pub(crate) fn left_file(artifact: Artifact) -> &'static str {
    match artifact {
        Artifact::Module => script::MODULE_FILE,
        Artifact::Probe => script::PROBE_FILE,
    }
}

/// Fails if the driver or the toolchain cannot build the artifact.
fn may_be_made(artifact: Artifact, ingredients: &Ingredients<'_>) -> Result<(), Halt> {
    match artifact {
        Artifact::Module => ingredients.answers.module_toolchain.clone(),
        Artifact::Probe if !ingredients.driver.facts.has_probe => {
            let message = format!(
                "the sources of driver {0} contain no probe; exclude it: [[exclude]] driver = \"{0}\", artifact = \"probe\"",
                ingredients.build.driver.version
            );
            Err(Failure::new(FailureClass::Configure, Phase::Configure, message).into())
        }
        Artifact::Probe => ingredients.answers.probe_toolchain.clone(),
    }
}

pub(crate) fn render(
    artifact: Artifact,
    ingredients: &Ingredients<'_>,
    host: Architecture,
) -> Result<String, Halt> {
    let mut kernel = ingredients.kernel.settings(&ingredients.toolchain);
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

/// The key over everything that can change the artifact. The script contains the compilers, the names and the checks'
/// answers.
pub(crate) fn key_of(
    artifact: Artifact,
    ingredients: &Ingredients<'_>,
    script: Sha256,
) -> KeyBuilder {
    let mut key = KeyBuilder::new(artifact.as_str(), 1)
        .field("architecture", ingredients.build.kernel.architecture)
        .field("toolchain", ingredients.toolchain.toolchain.identity())
        .field("compiler", &ingredients.toolchain.compilers.compiler)
        .field("module name", &ingredients.driver.facts.module_name)
        .field("driver tree", ingredients.driver.tree)
        .field("output checks", verify::VERSION);
    key = ingredients.kernel.add_to_key(key);
    for (name, value) in &ingredients.build.settings.environment {
        // The value may be a secret, and outcomes store the fields of their keys.
        key = key.field(format!("environment {name}"), Sha256::of(value));
    }
    for (check, passed) in &*ingredients.answers.configure {
        if check.artifact == artifact {
            key = key.field(format!("check {}", check.name), passed);
        }
    }
    key.field("script", script)
}
