//! The proof of a kernel's modules: its own kernel is booted, and loads, uses and unloads each of them.
//!
//! All modules of a kernel share a boot, and each has an outcome of its own: a new driver version proves one module. What
//! stands between a module and its proof (no kernel package, a kernel that does not boot) is said and fails nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::engine::jobs::{JobRequest, JobResult};
use crate::engine::work::{Done, Work, unexpected};
use crate::executor::{Mount, Network, Toolchain};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Fetched, Request};
use crate::fs::{self, FileError, blocking};
use crate::plan::Build;
use crate::proof::{
    self, AROUND_BOOT, CONSOLE_FILE, KERNEL_IMAGE_BYTES, ModuleToProve, Verdict, read_console,
};
use crate::recipe::files::Files;
use crate::recipe::toolchain::ToolchainChooser;
use crate::store::Store;
use crate::target::{is_kernel_image, kernel_image_addresses};
use crate::unpack::{self, UnpackError, read_from_archive, tree_digest_of_folder};

/// How long a boot may take at least, whatever the time of a build's steps is.
const SHORTEST_BOOT: Duration = Duration::from_secs(30);

/// What is kept of a proof that found nothing wrong with the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    /// Its kernel loaded, used and unloaded it.
    Loaded {
        /// How many character devices it made.
        devices: i64,
        /// How many parameters it has.
        parameters: i64,
    },
    /// Why it was not loaded.
    NotProven(String),
}

/// What came of proving a module.
pub(crate) enum ProofOutcome {
    /// Its kernel loaded, used and unloaded it; in words.
    Loaded(String),
    /// Its kernel did not.
    Refused(Box<Failed>),
    /// Why it was not loaded.
    NotProven(String),
}

/// A module that is to be proven.
#[derive(Clone, Debug)]
pub(crate) struct ModuleFile {
    pub(crate) sha256: Sha256,
    /// Where it is if the store does not have it.
    pub(crate) place: Option<PathBuf>,
}

/// Proves modules.
pub(crate) struct Proofs {
    engine: Arc<Engine>,
    files: Arc<Files>,
    toolchains: Arc<ToolchainChooser>,
}

/// The modules of one kernel that have no outcome yet, and what they are loaded into.
struct Boots<'a> {
    build: &'a Build,
    toolchain: Toolchain,
    kernel: Vec<u8>,
    timeout: Duration,
}

impl Proofs {
    pub(crate) fn new(
        engine: Arc<Engine>,
        files: Arc<Files>,
        toolchains: Arc<ToolchainChooser>,
    ) -> Self {
        Self {
            engine,
            files,
            toolchains,
        }
    }

    /// Proves the modules with these digests, all of the kernel of `build`, whose header packages came from `headers`.
    /// The proofs are in the order of the modules.
    pub(crate) async fn prove(
        &self,
        build: &Build,
        headers: &[Arc<str>],
        modules: &[ModuleFile],
        mode: Mode,
    ) -> Result<Vec<ProofOutcome>, Halt> {
        let none = |reason: &str| {
            Ok(modules
                .iter()
                .map(|_| ProofOutcome::NotProven(reason.to_owned()))
                .collect())
        };
        let addresses = kernel_image_addresses(headers.iter().map(|url| &**url));
        if addresses.is_empty() {
            return none("no rule says where the package of this kernel is");
        }
        let toolchain = match self.toolchains.for_proofs() {
            Ok(toolchain) => toolchain,
            Err(Halt::Failed(failed)) => return none(&failed.failure.message),
            Err(halt) => return Err(halt),
        };
        let request = Request {
            kind: ContentKind::of_address(&addresses[0]),
            candidates: addresses.into_iter().map(Arc::from).collect(),
            sha256: None,
            size_bytes: None,
        };
        let package = match self.files.fetch_unless_known(&request, mode).await {
            Ok(package) => package,
            Err(Halt::Failed(failed)) => {
                let message = &failed.failure.message;
                return none(&format!(
                    "the package of the kernel cannot be had: {message}"
                ));
            }
            Err(halt) => return Err(halt),
        };
        // Everything that can change what comes of it.
        let program = Sha256::of(proof::program(build.kernel.architecture));
        let key_of = |module: &ModuleFile| {
            KeyBuilder::new("proof", 1)
                .field("architecture", build.kernel.architecture)
                .field("kernel package", package.sha256)
                .field("module", module.sha256)
                .field("toolchain", toolchain.identity())
                .field("program", program)
        };
        let keys: Vec<KeyBuilder> = modules.iter().map(key_of).collect();
        let find = |key: &KeyBuilder| self.engine.steps.find(key, Phase::Prove);
        let known = keys.iter().map(find).collect::<Result<Vec<_>, Halt>>()?;
        if known.iter().any(Option::is_none) {
            self.engine.may_begin(mode)?;
            let kernel = match self.kernel_of(&request, &package).await? {
                Ok(kernel) => kernel,
                Err(reason) => return none(&reason),
            };
            let boots = Boots {
                build,
                toolchain,
                kernel,
                timeout: build.settings.timeout.saturating_sub(AROUND_BOOT),
            };
            let of_modules = modules.iter().zip(&keys).zip(&known);
            let wanted: Vec<(ModuleFile, KeyBuilder)> = of_modules
                .filter(|(_, known)| known.is_none())
                .map(|((module, key), _)| (module.clone(), key.clone()))
                .collect();
            if let Some(reason) = self.boot_for(&boots, &wanted).await? {
                return none(&reason);
            }
        }
        let outcome_of = |(key, known): (&KeyBuilder, Option<Done>)| match known {
            Some(done) => proof_of(&done),
            None => find(key)?.as_ref().map_or_else(
                || {
                    let reason = "its boot ended before it was loaded";
                    Ok(ProofOutcome::NotProven(reason.to_owned()))
                },
                proof_of,
            ),
        };
        keys.iter().zip(known).map(outcome_of).collect()
    }

    /// The kernel that is in a package, or why there is none.
    async fn kernel_of(
        &self,
        request: &Request,
        package: &Fetched,
    ) -> Result<Result<Vec<u8>, String>, Halt> {
        let sha256 = package.sha256;
        if !self.engine.has_whole_blob(sha256, Phase::Prove).await? {
            let again = Request {
                sha256: Some(sha256),
                ..request.clone()
            };
            match self.files.fetch(&again).await {
                Ok(_) => {}
                Err(Halt::Failed(failed)) => return Ok(Err(failed.failure.message)),
                Err(halt) => return Err(halt),
            }
        }
        let path = self.engine.store.blob_path(sha256);
        let stop = self.engine.stop.now().clone();
        let reading = move || {
            let limits = unpack::Limits::default();
            read_from_archive(&path, is_kernel_image, KERNEL_IMAGE_BYTES, &limits, &stop)
        };
        let url = &package.url;
        match blocking(reading).await {
            Ok(Some(kernel)) => Ok(Ok(kernel)),
            Ok(None) => Ok(Err(format!("{url} has no kernel in /boot or /lib/modules"))),
            Err(UnpackError::Stopped) => Err(Halt::NotRun),
            Err(UnpackError::File(error)) => Err(self.engine.stored(Phase::Prove)(error)),
            Err(error) => {
                let why = error.to_string();
                self.files.refuse(&request.candidates, sha256, &why)?;
                Ok(Err(format!("{url} cannot be unpacked: {why}")))
            }
        }
    }

    /// Boots as often as it takes, and keeps an outcome for each module. Returns why nothing was kept, where the kernel is
    /// not to blame but the time.
    async fn boot_for(
        &self,
        boots: &Boots<'_>,
        wanted: &[(ModuleFile, KeyBuilder)],
    ) -> Result<Option<String>, Halt> {
        let mut rest = wanted;
        while !rest.is_empty() {
            let (result, console) = match self.boot(boots, rest).await {
                Ok(booted) => booted,
                // A machine's fault, or a limit: never the module's.
                Err(Halt::Failed(failed)) => return Ok(Some(failed.failure.message)),
                Err(halt) => return Err(halt),
            };
            let boot = read_console(&console, rest.len());
            if boot.verdicts.is_empty() {
                let reason = format!("the kernel did not start the program: {}", boot.last_words);
                match boot.exit {
                    Some(0) => {}
                    _ if boot.has_timed_out() => {
                        return Ok(Some(format!("{reason} (within {:?})", boots.timeout)));
                    }
                    _ => return Ok(Some(format!("{reason} (qemu failed)"))),
                }
                for (_, key) in rest {
                    let facts = Work::of_facts(&Kept::NotProven(reason.clone()), Phase::Prove)?;
                    self.keep(key, facts.result, &result).await?;
                }
                return Ok(None);
            }
            // What was not the first may have had too little of the time that all share: it comes first in the next.
            let mut count = boot.verdicts.len();
            if boot.has_timed_out() && count > 1 {
                count -= 1;
            }
            for ((_, key), verdict) in rest.iter().zip(&boot.verdicts[..count]) {
                self.keep(key, result_of(verdict)?, &result).await?;
            }
            rest = &rest[count..];
        }
        Ok(None)
    }

    async fn keep(&self, key: &KeyBuilder, kept: StepResult, job: &JobResult) -> Result<(), Halt> {
        let kept = self
            .engine
            .steps
            .keep(key.clone(), job.work(kept), Phase::Prove);
        kept.await.map(drop)
    }

    /// One boot; returns what its console showed.
    async fn boot(
        &self,
        boots: &Boots<'_>,
        wanted: &[(ModuleFile, KeyBuilder)],
    ) -> Result<(JobResult, String), Halt> {
        let stored = self.engine.stored(Phase::Prove);
        let modules: Vec<ModuleFile> = wanted.iter().map(|(module, _)| module.clone()).collect();
        for module in &modules {
            if module.place.as_ref().is_none_or(|place| !place.exists()) {
                // What cannot be had fails when it is read.
                self.engine.store.fetch_shared(module.sha256).await;
            }
        }
        let (store, kernel) = (self.engine.store.clone(), boots.kernel.clone());
        let laid_out = blocking(move || lay_out(&store, &kernel, &modules)).await;
        let tree = laid_out.map_err(stored)??;
        let architecture = boots.build.kernel.architecture;
        let request = JobRequest {
            phase: Phase::Prove,
            toolchain: boots.toolchain.clone(),
            script: proof::script(architecture, boots.timeout.max(SHORTEST_BOOT)),
            mounts: vec![Mount {
                source: self.engine.store.tree_path(tree),
                target: "/proof".into(),
            }],
            network: Network::None,
        };
        let ran = self.engine.jobs.run(boots.build, &request).await;
        let store = self.engine.store.clone();
        // A copy of what the store has, and large.
        blocking(move || match store.find_tree(tree) {
            Some(found) => store.discard_tree(&found),
            None => Ok(()),
        })
        .await
        .map_err(stored)?;
        let result = ran?;
        let path = result.output.path().join(CONSOLE_FILE);
        let console = blocking(move || fs::read_file(&path)).await;
        let console = console.map_err(stored)?;
        Ok((result, String::from_utf8_lossy(&console).into_owned()))
    }
}

/// The outcome of a verdict.
fn result_of(verdict: &Verdict) -> Result<StepResult, Halt> {
    if let &Verdict::Loaded {
        devices,
        parameters,
    } = verdict
    {
        let kept = Kept::Loaded {
            devices,
            parameters,
        };
        return Ok(Work::of_facts(&kept, Phase::Prove)?.result);
    }
    let message = verdict.to_string();
    Ok(StepResult::Failure(Failure::new(
        FailureClass::Load,
        Phase::Prove,
        message,
    )))
}

fn proof_of(done: &Done) -> Result<ProofOutcome, Halt> {
    let facts = match done.result() {
        Ok(StepResult::Facts(facts)) => facts,
        Ok(other) => return Err(unexpected(other, Phase::Prove)),
        Err(Halt::Failed(failed)) => return Ok(ProofOutcome::Refused(failed)),
        Err(halt) => return Err(halt),
    };
    match Kept::deserialize(facts) {
        Ok(Kept::Loaded {
            devices,
            parameters,
        }) => {
            let verdict = Verdict::Loaded {
                devices,
                parameters,
            };
            Ok(ProofOutcome::Loaded(verdict.to_string()))
        }
        Ok(Kept::NotProven(reason)) => Ok(ProofOutcome::NotProven(reason)),
        Err(error) => {
            let message = format!("the outcome of a proof is invalid: {error}");
            Err(Failure::new(FailureClass::Infrastructure, Phase::Prove, message).into())
        }
    }
}

/// Puts what a boot reads into a tree of the store.
fn lay_out(
    store: &Store,
    kernel: &[u8],
    modules: &[ModuleFile],
) -> Result<Result<Sha256, Halt>, FileError> {
    let defect = |message: String| {
        Halt::from(Failure::new(
            FailureClass::OutputInvalid,
            Phase::Prove,
            message,
        ))
    };
    let mut read = Vec::with_capacity(modules.len());
    for module in modules {
        let blob = store.blob_path(module.sha256);
        let path = match &module.place {
            Some(place) if !blob.exists() => place,
            _ => &blob,
        };
        match ModuleToProve::read(path) {
            Ok(found) if Sha256::of(&found.bytes) != module.sha256 => {
                return Ok(Err(defect(format!("{} was changed", path.display()))));
            }
            Ok(module) => read.push(module),
            Err(proof::ModuleError::File(error)) => return Err(error),
            Err(error) => return Ok(Err(defect(error.to_string()))),
        }
    }
    let work = store.temporary_folder()?;
    let folder = work.path().join("proof");
    proof::write_input(&folder, kernel, &read)?;
    let tree = match tree_digest_of_folder(&folder) {
        Ok(tree) => tree,
        Err(UnpackError::File(error)) => return Err(error),
        Err(error) => return Ok(Err(defect(error.to_string()))),
    };
    if !store.has_tree(tree) {
        store.put_tree(&folder, tree)?;
    }
    Ok(Ok(tree))
}
