//! One build from start to end: kernel, toolchain, driver, checks, artifacts, and the report about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cache::StepResult;
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::{Alike, OfOwner};
use crate::engine::work::Done;
use crate::event::{BuildReport, Common, InputReport};
use crate::failure::{FailureClass, Phase};
use crate::fs::FileError;
use crate::plan::{Build, Names};
use crate::recipe::Toolchains;
use crate::recipe::artifacts::{Artifacts, Ingredients, phase_of};
use crate::recipe::checks::{Checks, Subject};
use crate::recipe::double::Doubles;
use crate::recipe::driver::Drivers;
use crate::recipe::files::Files;
use crate::recipe::kernel::Kernels;
use crate::recipe::kernel::packages::{Input, Packages};
use crate::recipe::kernel::tree::{KernelInputs, KernelPackages};
use crate::recipe::proof::Proofs;
use crate::recipe::signing::Signing;
use crate::recipe::toolchain::ToolchainChooser;
use crate::run::brings::Brings;
use crate::run::notes::{Notes, name_clang};
use crate::run::out_folder::OutFolder;
use crate::run::placing::Placing;

/// Executes builds; holds the owners of a build's parts.
pub(crate) struct Builds {
    engine: Arc<Engine>,
    toolchains: Arc<ToolchainChooser>,
    kernels: Arc<Kernels>,
    drivers: Arc<Drivers>,
    checks: Checks,
    artifacts: Artifacts,
    pub(super) proofs: Proofs,
    pub(super) doubles: Doubles,
    signing: Option<Signing>,
    /// The answers of checks, shared by builds.
    answers: Alike<BTreeMap<String, bool>>,
    /// The manifest's entries for the packages of kernels.
    inputs: OfOwner<KernelInputs, (), Common<Vec<InputReport>>>,
    pub(super) placing: Placing,
}

impl Builds {
    /// Creates builds that use `toolchains` and place artifacts in the output directory of `placing` under its names,
    /// including artifacts of the shared store if requested. At most `unpack_slots` packages are unpacked concurrently.
    pub(crate) fn new(
        engine: Arc<Engine>,
        toolchains: Toolchains,
        placing: (OutFolder, Names, Brings),
        signing: Option<Signing>,
        unpack_slots: usize,
    ) -> Self {
        let (out, names, brings) = placing;
        let files = Arc::new(Files::new(engine.clone()));
        let packages = Packages::new(engine.clone(), files.clone(), unpack_slots);
        let packages = Arc::new(packages);
        let toolchains = Arc::new(ToolchainChooser::new(engine.clone(), toolchains));
        let kernels = Kernels::new(engine.clone(), files.clone(), packages, toolchains.clone());
        let kernels = Arc::new(kernels);
        let proofs = Proofs::new(
            engine.clone(),
            files.clone(),
            toolchains.clone(),
            kernels.clone(),
        );
        let drivers = Arc::new(Drivers::new(engine.clone(), files, toolchains.clone()));
        Self {
            doubles: Doubles::new(engine.clone(), kernels.clone(), drivers.clone()),
            checks: Checks::new(engine.clone(), kernels.clone(), drivers.clone()),
            artifacts: Artifacts::new(engine.clone(), kernels.clone(), drivers.clone()),
            proofs,
            signing,
            answers: Alike::default(),
            inputs: OfOwner::default(),
            placing: Placing::new(engine.clone(), out, names, brings),
            engine,
            toolchains,
            kernels,
            drivers,
        }
    }

    /// Returns the engine that runs the steps of builds.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Marks the unconfirmed inputs of a build to be requested again, because a cached failure is retried.
    pub(crate) fn doubt(&self, build: &Build) {
        self.kernels.doubt(build);
        self.drivers.sources().doubt(&build.driver);
    }

    /// Clears the memory of drivers' sources.
    pub(crate) fn forget_sources(&self) {
        self.drivers.sources().forget();
    }

    /// Ends the cache look-up: clears the state of kernels that driver versions share, and the lists of logs.
    pub(crate) fn forget_shared(&self) {
        self.placing.forget_lists();
        self.engine.steps.end_look_up();
        self.checks.forget();
        self.artifacts.forget();
        self.inputs.clear();
    }

    /// Returns the manifest's entries for a kernel's packages, computed once for all its builds.
    fn reports_of(&self, packages: &KernelPackages) -> Common<Vec<InputReport>> {
        let reports = || packages.inputs().iter().map(Input::report).collect();
        let KernelPackages::Headers(kernel) = packages else {
            return reports();
        };
        if let Some(known) = self.inputs.get(kernel, |()| true) {
            return known;
        }
        let reports: Common<Vec<InputReport>> = reports();
        self.inputs.put(kernel, (), reports.clone());
        reports
    }

    /// Clears the memory of a build's kernel.
    pub(crate) fn forget_kernel(&self, build: &Build) {
        self.kernels.forget(build);
    }

    /// Saves the records of files in the output directory.
    pub(crate) fn save(&self) -> Result<(), FileError> {
        self.placing.save()
    }

    /// Executes one build. In [`Mode::Lookup`], only looks it up and returns `None` if any part is missing.
    pub(crate) async fn build(&self, build: &Build, mode: Mode) -> Option<BuildReport> {
        let started = jiff::Timestamp::now();
        let mut notes = Notes::default();
        let ingredients = self.ingredients(build, mode, &mut notes).await;
        let mut artifacts = Vec::with_capacity(build.artifacts.len());
        for &artifact in build.artifacts.iter() {
            let done = match &ingredients {
                Ok(ingredients) => self.make_all(artifact, ingredients, mode, &mut notes).await,
                Err(halt) => Err(halt.clone()),
            };
            if matches!(done, Err(Halt::Missing)) {
                return None;
            }
            let (done, unsigned) = match done {
                Ok(made) => (Ok(made.done), made.unsigned),
                Err(halt) => (Err(halt), None),
            };
            let mut report = self.placing.report(build, artifact, done, mode).await;
            if let (Some(signing), Some(unsigned)) = (&self.signing, unsigned)
                && report.status.is_success()
            {
                report.signature = Some(Box::new(signing.report(unsigned)));
            }
            // Only cached outcomes led to the failure.
            report.failure_is_cached |= mode == Mode::Lookup
                && report
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.class.is_deterministic());
            artifacts.push(report);
        }
        let retries = match mode {
            Mode::Lookup => Vec::new(),
            Mode::Run => self.engine.jobs.take_retries(&build.id()),
        };
        if let Some(version) = &notes.clang_version {
            name_clang(&mut artifacts, version);
        }
        Some(BuildReport {
            retries,
            ..notes.report(build, artifacts.into(), started)
        })
    }

    /// Looks up everything that a build needs in the cache, without changing anything; the look-ups are recorded in the
    /// trace.
    pub(crate) async fn ask_only(&self, build: &Build) {
        let mut notes = Notes::default();
        let ingredients = self.ingredients(build, Mode::Lookup, &mut notes).await;
        if let Ok(ingredients) = ingredients {
            for &artifact in build.artifacts.iter() {
                let making = self.make(artifact, &ingredients, Mode::Lookup, &mut notes);
                // The trace contains the result.
                drop(making.await);
            }
        }
    }

    /// Returns everything from which the artifacts of a build are made.
    pub(super) async fn ingredients<'a>(
        &self,
        build: &'a Build,
        mode: Mode,
        notes: &mut Notes,
    ) -> Result<Ingredients<'a>, Halt> {
        let phases = &mut notes.phases;
        let packages = self.kernels.packages(build, mode, phases).await?;
        notes.inputs = self.reports_of(&packages);
        notes.clang_version = packages.clang_version().map(str::to_owned);
        let toolchain = self
            .toolchains
            .choose(build, packages.gcc_version(), mode)
            .await?;
        notes.toolchain = Some(toolchain.report.clone());
        let kernels = &self.kernels;
        let (kernel, new) = kernels.trees(build, &packages, &toolchain, mode).await?;
        notes.new.extend(new.map(|done| (Phase::Prepare, done)));
        notes.tree = Some(kernel.report());
        let driver = self.drivers.inputs(build, mode).await?;
        let new = driver.new.iter().cloned();
        notes.new.extend(new.map(|done| (Phase::Configure, done)));
        notes.driver_sha256 = Some(driver.source_sha256);
        let subject = Subject {
            build,
            kernel: &kernel,
            toolchain: &toolchain,
            driver: &driver,
        };
        let answers = self.checks.answers(&subject, mode).await?;
        let new = answers.new.iter().cloned();
        notes.new.extend(new.map(|done| (Phase::Check, done)));
        let checks = answers.configure.iter();
        let named = checks.map(|(check, passed)| (check.name.clone(), *passed));
        notes.checks = self.answers.one(named.collect());
        Ok(Ingredients {
            build,
            kernel,
            toolchain,
            driver,
            answers,
        })
    }

    /// Makes an artifact or finds it in the cache; signs it if the run signs.
    async fn make_all(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
        notes: &mut Notes,
    ) -> Result<Made, Halt> {
        let done = self.make(artifact, ingredients, mode, notes).await?;
        let (Some(signing), Artifact::Module) = (&self.signing, artifact) else {
            let done = self.restored(done, artifact, ingredients, mode, notes);
            return done.await.map(Made::from);
        };
        let StepResult::Artifact(module) = &done.outcome.result else {
            return Ok(done.into());
        };
        let unsigned = module.sha256;
        if let Some(signed) = signing.find(unsigned)? {
            if self.is_there(&signed, artifact, ingredients, mode).await? {
                return Ok(Made::signed(signed, unsigned));
            }
            let steps = &self.engine.steps;
            steps.forget(signed.key, mode, Phase::Store).await?;
        }
        self.engine.may_begin(mode)?;
        let done = self
            .restored(done, artifact, ingredients, mode, notes)
            .await?;
        let StepResult::Artifact(module) = &done.outcome.result else {
            return Ok(done.into());
        };
        let placed = self.placing.full_path(ingredients.build, artifact);
        let signed = signing
            .sign((module, done.outcome.log), placed, mode)
            .await?;
        if signed.is_own {
            notes.new.push((Phase::Sign, signed.clone()));
        }
        Ok(Made::signed(signed, module.sha256))
    }

    /// Returns the outcome of an artifact's step; rebuilds the artifact if its content is missing.
    async fn restored(
        &self,
        done: Done,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
        notes: &mut Notes,
    ) -> Result<Done, Halt> {
        if self.is_there(&done, artifact, ingredients, mode).await? {
            return Ok(done);
        }
        let steps = &self.engine.steps;
        steps.forget(done.key, mode, Phase::Store).await?;
        self.make(artifact, ingredients, mode, notes).await
    }

    /// Whether the content of an artifact is available here or can be downloaded. A new artifact is always available,
    /// and a failure has no content.
    async fn is_there(
        &self,
        done: &Done,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
    ) -> Result<bool, Halt> {
        let StepResult::Artifact(facts) = &done.outcome.result else {
            return Ok(true);
        };
        if !done.is_cached {
            return Ok(true);
        }
        let placing = &self.placing;
        let is_here =
            mode == Mode::Lookup || placing.bring(ingredients.build, artifact, facts).await;
        Ok(is_here && !placing.is_lost(ingredients, artifact, facts, mode).await?)
    }

    async fn make(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        mode: Mode,
        notes: &mut Notes,
    ) -> Result<Done, Halt> {
        let done = self.artifacts.make(artifact, ingredients, mode).await?;
        if done.is_own {
            notes.new.push((phase_of(artifact), done.clone()));
        }
        let is_doubtful = artifact == Artifact::Module
            && !ingredients.answers.show_module_toolchain()
            && matches!(done.result(), Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Compile);
        if is_doubtful {
            let subject = ingredients.subject();
            let toolchain = self.checks.module_toolchain(&subject, mode).await?;
            if toolchain.is_own {
                notes.new.push((Phase::Check, toolchain.clone()));
            }
            if let Err(halt) = toolchain.result() {
                let steps = &self.engine.steps;
                steps.forget(done.key, mode, Phase::Check).await?;
                return Err(halt);
            }
        }
        Ok(done)
    }
}

/// The result of an artifact's last step.
struct Made {
    done: Done,
    /// The digest of the module before it was signed.
    unsigned: Option<Sha256>,
}

impl Made {
    fn signed(done: Done, unsigned: Sha256) -> Self {
        Self {
            done,
            unsigned: Some(unsigned),
        }
    }
}

impl From<Done> for Made {
    fn from(done: Done) -> Self {
        Self {
            done,
            unsigned: None,
        }
    }
}
