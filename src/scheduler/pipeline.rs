//! One build from start to end: kernel, toolchain, driver, checks, artifacts, and the report about it.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::artifact::{Ingredients, phase_of};
use super::checks::{Answers, Locks};
use super::driver_inputs::DriverInputs;
use super::driver_sources::KnownSource;
use super::events::Events;
use super::kernel_inputs::{Input, KernelInputs, KernelPackages};
use super::memo::{Memo, Retries};
use super::out_folder::OutFolder;
use super::run::Reproduce;
use super::step::{Halt, Mode, StepRunner};
use super::stop::Stop;
use super::toolchain::{ChosenToolchain, Toolchains};
use super::trees::CheckedTrees;
use super::work::Done;
use crate::cache::StepResult;
use crate::digest::Sha256;
use crate::driver::{Artifact, DriverVersion};
use crate::event::{ArtifactReport, BuildReport};
use crate::executor::Executor;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{Fetcher, SingleFlight};
use crate::kernel::Architecture;
use crate::plan::{Build, Names};
use crate::source::ConfiguredDriver;
use crate::store::Store;

/// What every build of a run shares.
pub(super) struct Pipeline {
    pub(super) run_id: String,
    pub(super) host: Architecture,
    pub(super) store: Arc<Store>,
    pub(super) steps: StepRunner,
    pub(super) fetcher: Fetcher,
    pub(super) toolchains: Toolchains,
    /// Set before the first build is run; never asked in [`Mode::Lookup`].
    pub(super) executor: OnceLock<Arc<dyn Executor>>,
    pub(super) out: OutFolder,
    pub(super) events: Events,
    pub(super) stop: Arc<Stop>,
    /// Whether the first failure ends the run.
    pub(super) fail_fast: bool,
    pub(super) compile_slots: Semaphore,
    pub(super) unpack_slots: Semaphore,
    pub(super) trees: SingleFlight<Sha256, Sha256, Halt>,
    pub(super) checked_trees: CheckedTrees,
    pub(super) sources: Memo<DriverVersion, Result<Arc<KnownSource>, Halt>>,
    pub(super) configured: Memo<Sha256, Arc<ConfiguredDriver>>,
    pub(super) kernels: Memo<String, Result<KernelPackages, Halt>>,
    pub(super) kernel_flights: SingleFlight<String, KernelPackages, Halt>,
    /// The prepared trees, by the key of the step that made each.
    pub(super) prepared: Memo<Sha256, Arc<KernelInputs>>,
    pub(super) check_locks: Locks,
    /// The images of others that are pulled, by name.
    pub(super) pulls: SingleFlight<String, Sha256, Halt>,
    /// Failures that were tried again, until the report about their build takes them.
    pub(super) retries: Retries,
    /// The kernels and drivers of which a kept failure is done again.
    pub(super) retried_kernels: Memo<String, ()>,
    pub(super) retried_drivers: Memo<DriverVersion, ()>,
    /// What the person was told of downloads: once for all builds.
    pub(super) told: Memo<String, ()>,
    pub(super) infrastructure_failures: AtomicU32,
    /// The names by which the loader asks for kernels that lists name otherwise.
    pub(super) names: Names,
    /// The command that does one build again.
    pub(super) reproduce: Reproduce,
}

/// What is known of a build while it is under way.
#[derive(Default)]
struct Progress {
    packages: Option<KernelPackages>,
    kernel: Option<Arc<KernelInputs>>,
    toolchain: Option<ChosenToolchain>,
    driver: Option<DriverInputs>,
    answers: Option<Answers>,
    /// The steps that this build brought about.
    new: Vec<(Phase, Done)>,
    phases: Vec<(Phase, Duration)>,
}

impl Progress {
    /// Everything that artifacts are made from, once all of it is known.
    fn ingredients<'a>(&'a self, build: &'a Build) -> Option<Ingredients<'a>> {
        Some(Ingredients {
            build,
            kernel: self.kernel.as_deref()?,
            toolchain: self.toolchain.as_ref()?,
            driver: self.driver.as_ref()?,
            answers: self.answers.as_ref()?,
        })
    }
}

impl Pipeline {
    /// Whether something new may begin.
    pub(super) fn may_begin(&self, mode: Mode) -> Result<(), Halt> {
        match mode {
            Mode::Lookup => Err(Halt::Missing),
            Mode::Run if self.stop.no_new().is_cancelled() => Err(Halt::NotRun),
            Mode::Run => Ok(()),
        }
    }

    /// The command that does this one build again.
    pub(super) fn reproduce_command(&self, build: &Build) -> String {
        let id = build.id();
        let (command, words) = match &self.reproduce {
            Reproduce::Rebuild(words) => (vec!["driverkit-matrix", "rebuild", id.as_str()], words),
            Reproduce::Same(words) => (Vec::new(), words),
        };
        let words = words.iter().map(String::as_str);
        // Words of a command line hold no NUL.
        shlex::try_join(command.into_iter().chain(words)).unwrap_or_default()
    }

    /// Does one build, or in [`Mode::Lookup`] only finds it: then `None` says that something of it has to be done.
    pub(super) async fn build(&self, build: &Build, mode: Mode) -> Option<BuildReport> {
        let started = jiff::Timestamp::now();
        let mut progress = Progress::default();
        let shared = self.prepare(build, mode, &mut progress).await;
        if shared == Err(Halt::Missing) {
            return None;
        }
        let mut artifacts = Vec::new();
        for &artifact in build.artifacts.iter() {
            let done = match &shared {
                Ok(()) => {
                    self.make_or_restore(build, artifact, mode, &mut progress)
                        .await
                }
                Err(halt) => Err(halt.clone()),
            };
            let mut report = match done {
                Ok(done) => self.finished(build, artifact, &done),
                Err(Halt::Missing) => return None,
                Err(halt) => self.halted(build, artifact, None, halt),
            };
            // Nothing but kept outcomes led to it.
            report.failure_is_cached |= mode == Mode::Lookup
                && report
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.class.is_deterministic());
            artifacts.push(report);
        }
        let retries = self.retries.take(&build.id());
        Some(BuildReport {
            retries,
            ..report(build, progress, artifacts, started)
        })
    }

    /// Asks the cache for everything that a build needs, changing nothing: what it asked is in the trace.
    pub(super) async fn ask_only(&self, build: &Build) {
        let mut progress = Progress::default();
        if self
            .prepare(build, Mode::Lookup, &mut progress)
            .await
            .is_ok()
        {
            for &artifact in build.artifacts.iter() {
                // The trace has what is to be known of it.
                drop(
                    self.make(build, artifact, Mode::Lookup, &mut progress)
                        .await,
                );
            }
        }
    }

    /// What all artifacts of a build share.
    async fn prepare(
        &self,
        build: &Build,
        mode: Mode,
        progress: &mut Progress,
    ) -> Result<(), Halt> {
        let packages = self.shared_kernel(build, mode, progress).await?;
        progress.packages = Some(packages.clone());
        let toolchain = self.toolchain(build, packages.gcc_version(), mode).await?;
        progress.toolchain = Some(toolchain.clone());
        let kernel = match &packages {
            KernelPackages::Headers(kernel) => {
                let (kernel, new) = self.with_programs(build, kernel, &toolchain, mode).await?;
                progress.new.extend(new.map(|done| (Phase::Prepare, done)));
                kernel
            }
            KernelPackages::Source(source) => {
                let (kernel, new) = self.prepared(build, source, &toolchain, mode).await?;
                progress.new.extend(new.map(|done| (Phase::Prepare, done)));
                kernel
            }
        };
        progress.kernel = Some(kernel.clone());
        let driver = self.driver_inputs(build, mode).await?;
        progress.new.extend(
            driver
                .new
                .iter()
                .map(|done| (Phase::Configure, done.clone())),
        );
        progress.driver = Some(driver.clone());
        let answers = self
            .answers(build, &kernel, &toolchain, &driver, mode)
            .await?;
        progress
            .new
            .extend(answers.new.iter().map(|done| (Phase::Check, done.clone())));
        progress.answers = Some(answers);
        Ok(())
    }

    async fn shared_kernel(
        &self,
        build: &Build,
        mode: Mode,
        progress: &mut Progress,
    ) -> Result<KernelPackages, Halt> {
        let name = kernel_name(build);
        if let Some(known) = self.kernels.get(&name) {
            // What a look into the cache did not find, a run may make.
            if mode == Mode::Lookup || known != Err(Halt::Missing) {
                return known;
            }
        }
        let inputs = if mode == Mode::Lookup {
            self.kernel_inputs(build, mode).await
        } else {
            if !matches!(self.kernels.get(&name), Some(Ok(_))) {
                self.events.phase(build, Phase::Fetch);
            }
            // Only the one that works counts the time; others merely wait.
            let work = async || {
                let clock = Instant::now();
                let inputs = self.kernel_inputs(build, mode).await;
                progress.phases.push((Phase::Fetch, clock.elapsed()));
                inputs
            };
            self.kernel_flights.run(name.clone(), work).await
        };
        // A run that stops leaves nothing behind that a later question would take for an answer.
        if inputs != Err(Halt::NotRun) {
            self.kernels.put(name, inputs.clone());
        }
        inputs
    }

    /// Makes an artifact, or finds it; one whose outcome is there while its content is not is made again.
    async fn make_or_restore(
        &self,
        build: &Build,
        artifact: Artifact,
        mode: Mode,
        progress: &mut Progress,
    ) -> Result<Done, Halt> {
        let done = self.make(build, artifact, mode, progress).await?;
        let (StepResult::Artifact(facts), Some(ingredients)) =
            (&done.outcome.result, progress.ingredients(build))
        else {
            return Ok(done);
        };
        if !done.is_cached || !self.is_lost(&ingredients, artifact, facts)? {
            return Ok(done);
        }
        let outcomes = self.steps.outcomes();
        outcomes
            .remove(done.key)
            .map_err(|error| self.steps.storage_failure(&error, Phase::Store))?;
        self.make(build, artifact, mode, progress).await
    }

    async fn make(
        &self,
        build: &Build,
        artifact: Artifact,
        mode: Mode,
        progress: &mut Progress,
    ) -> Result<Done, Halt> {
        let Some(ingredients) = progress.ingredients(build) else {
            return Err(Halt::NotRun);
        };
        let answers = ingredients.answers;
        if artifact == Artifact::Probe && !ingredients.driver.facts.has_probe {
            let message = format!(
                "the sources of driver {0} hold no probe; leave it out: [[exclude]] driver = \"{0}\", artifact = \"probe\"",
                build.driver.version
            );
            return Err(Failure::new(FailureClass::Configure, Phase::Configure, message).into());
        }
        match artifact {
            Artifact::Module => answers.module_toolchain.clone()?,
            Artifact::Probe => answers.probe_toolchain.clone()?,
        }
        let done = self.artifact(artifact, &ingredients, mode).await?;
        if done.is_own {
            progress.new.push((phase_of(artifact), done.clone()));
        }
        Ok(done)
    }
}

/// What a kernel's packages are remembered by; those of a subscription come out of the build's image.
pub(super) fn kernel_name(build: &Build) -> String {
    let name = build.kernel.identity_text();
    match &build.settings.image {
        Some(image) => format!("{name} in {image}"),
        None => name,
    }
}

/// Says of toolchain mismatches that the kernel was built by a clang: none of the compilers is one.
fn with_clang(mut artifacts: Vec<ArtifactReport>, version: &str) -> Vec<ArtifactReport> {
    let failures = artifacts
        .iter_mut()
        .filter_map(|artifact| artifact.failure.as_mut());
    for failure in failures.filter(|failure| failure.class == FailureClass::ToolchainMismatch) {
        let message = format!(
            "the kernel was built by clang {version}, modules are compiled by gcc: {}",
            failure.message
        );
        failure.message = crate::failure::printable(&message);
    }
    artifacts
}

fn report(
    build: &Build,
    progress: Progress,
    artifacts: Vec<ArtifactReport>,
    started: jiff::Timestamp,
) -> BuildReport {
    let clang = progress
        .packages
        .as_ref()
        .and_then(KernelPackages::clang_version);
    let artifacts = match clang {
        Some(version) => with_clang(artifacts, version),
        None => artifacts,
    };
    let mut phases = progress.phases;
    let mut cpu = None;
    let mut peak_memory_bytes = None;
    for (phase, done) in &progress.new {
        phases.push((*phase, done.outcome.wall));
        if let Some(used) = done.outcome.cpu {
            *cpu.get_or_insert(Duration::ZERO) += used;
        }
        peak_memory_bytes = peak_memory_bytes.max(done.outcome.peak_memory_bytes);
    }
    let inputs = progress.packages.iter().flat_map(KernelPackages::inputs);
    let inputs = inputs.map(Input::report).collect();
    let checks = progress.answers.map(|answers| {
        let named = |(check, passed): (crate::source::ConfigureCheck, bool)| (check.name, passed);
        answers.configure.into_iter().map(named).collect()
    });
    BuildReport {
        artifacts,
        inputs,
        driver_sha256: progress.driver.map(|driver| driver.source_sha256),
        toolchain: progress.toolchain.map(|toolchain| toolchain.report),
        tree: progress.kernel.map(|kernel| kernel.report()),
        checks: checks.unwrap_or_default(),
        phases,
        cpu,
        peak_memory_bytes,
        started,
        finished: jiff::Timestamp::now(),
        ..BuildReport::not_run(build)
    }
}
