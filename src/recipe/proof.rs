//! The proof of a kernel's modules: its own kernel is booted, and loads, uses and unloads each of them.
//!
//! All modules of a kernel share a boot, and each has an outcome of its own: a new driver version proves one module. What
//! stands between a module and its proof (no kernel package, a kernel that does not boot) is said and fails nothing.

mod boots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::engine::work::{Done, unexpected};
use crate::executor::Toolchain;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Fetched, Request};
use crate::fs::blocking;
use crate::plan::Build;
use crate::proof::{self, AROUND_BOOT, KERNEL_IMAGE_BYTES, Verdict};
use crate::recipe::files::Files;
use crate::recipe::toolchain::ToolchainChooser;
use crate::target::{is_kernel_image, kernel_image_addresses};
use crate::unpack::{self, UnpackError, check_archive, read_from_archive};

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

/// What is asked of one package of a kernel.
struct Asked<'a> {
    build: &'a Build,
    request: &'a Request,
    package: &'a Fetched,
    toolchain: &'a Toolchain,
    /// Whether the package may be downloaded again where its bytes are in doubt.
    may_renew: bool,
}

/// What comes of that.
enum Proven {
    /// The outcomes, in the order of the modules.
    All(Vec<ProofOutcome>),
    /// Why there is none.
    None(String),
    /// Why the package cannot be used: another place may have a better one.
    Broken(String),
    /// Outcomes are to be done again, and nothing confirms what the package is.
    Doubted,
}

/// What modules are loaded into.
struct Boots<'a> {
    asked: &'a Asked<'a>,
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
        let addresses = match &build.kernel.image {
            Some(image) => vec![image.to_string()],
            None => kernel_image_addresses(headers.iter().map(|url| &**url)),
        };
        if addresses.is_empty() {
            return none(
                "no rule says where the package of this kernel is; name it with `image` beside the kernel's release",
            );
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
        let (mut broken, mut is_renewed): (Option<String>, _) = (None, false);
        loop {
            let fetched = self.files.fetch_unless_known(&request, mode).await;
            let package = match (fetched, &broken) {
                (Ok(package), Some(why)) if self.engine.fetcher.is_refused(package.sha256) => {
                    return none(why);
                }
                (Ok(package), _) => package,
                (Err(Halt::Failed(_)), Some(why)) => return none(why),
                (Err(Halt::Failed(failed)), None) => {
                    let why = &failed.failure.message;
                    return none(&format!("the package of the kernel cannot be had: {why}"));
                }
                (Err(halt), _) => return Err(halt),
            };
            let asked = Asked {
                build,
                request: &request,
                package: &package,
                toolchain: &toolchain,
                may_renew: !is_renewed && mode == Mode::Run,
            };
            match self.prove_in(&asked, modules, mode).await? {
                Proven::All(outcomes) => return Ok(outcomes),
                Proven::None(why) => return none(&why),
                Proven::Broken(why) => broken = Some(why),
                Proven::Doubted => {
                    self.engine.fetcher.distrust(&request.candidates);
                    is_renewed = true;
                }
            }
        }
    }

    /// The proofs of modules in the kernel of one package.
    async fn prove_in(
        &self,
        asked: &Asked<'_>,
        modules: &[ModuleFile],
        mode: Mode,
    ) -> Result<Proven, Halt> {
        let Asked {
            build,
            package,
            toolchain,
            ..
        } = asked;
        // Everything that can change what comes of it.
        let program = Sha256::of(proof::program(build.kernel.architecture));
        let key_of = |module: &ModuleFile| {
            KeyBuilder::new("proof", 2)
                .field("architecture", build.kernel.architecture)
                .field("kernel package", package.sha256)
                .field("module", module.sha256)
                .field("toolchain", toolchain.identity())
                .field("program", program)
        };
        let steps = &self.engine.steps;
        let mut outcomes = Vec::with_capacity(modules.len());
        let mut wanted = Vec::new();
        let mut is_doubted = false;
        for module in modules {
            let inputs = key_of(module);
            let key = inputs.key();
            let found = steps.find(&inputs, Phase::Prove)?;
            let proof = found.as_ref().map(proof_of).transpose()?;
            let is_retried = steps.is_in_doubt(key);
            let is_again = matches!(proof, Some(ProofOutcome::NotProven(_))) && is_retried;
            if proof.is_none() || is_again {
                // What was asked for again may have come of bytes that nobody confirms.
                let was_there = || steps.outcomes().find(key).is_ok_and(|one| one.is_some());
                is_doubted |= is_again || (is_retried && was_there());
                wanted.push((outcomes.len(), module.clone(), inputs));
                outcomes.push(None);
            } else {
                outcomes.push(proof);
            }
        }
        if is_doubted && asked.may_renew && self.is_unconfirmed(asked) {
            return Ok(Proven::Doubted);
        }
        if !wanted.is_empty() {
            self.engine.may_begin(mode)?;
            let kernel = match self.kernel_of(asked).await? {
                Ok(kernel) => kernel,
                Err(stopped) => return Ok(stopped),
            };
            let boots = Boots {
                asked,
                kernel,
                timeout: build.settings.timeout.saturating_sub(AROUND_BOOT),
            };
            let to_boot: Vec<_> = wanted
                .iter()
                .map(|(_, module, inputs)| (module.clone(), inputs.clone()))
                .collect();
            let made = match self.boot_for(&boots, &to_boot).await? {
                Ok(made) => made,
                Err(stopped) => return Ok(stopped),
            };
            for ((position, ..), done) in wanted.iter().zip(&made) {
                outcomes[*position] = Some(proof_of(done)?);
            }
        }
        let unproven = || {
            let reason = "its boot ended before it was loaded";
            ProofOutcome::NotProven(reason.to_owned())
        };
        let outcomes = outcomes.into_iter().map(|one| one.unwrap_or_else(unproven));
        Ok(Proven::All(outcomes.collect()))
    }

    /// Whether nothing but one download says what the package of the kernel is.
    fn is_unconfirmed(&self, asked: &Asked<'_>) -> bool {
        let fetcher = &self.engine.fetcher;
        let candidates = &asked.request.candidates;
        !fetcher.is_offline()
            && !fetcher.is_agreed(candidates, asked.package.sha256)
            && !fetcher.is_one_local_file(candidates)
    }

    /// The kernel that is in a package, or why there is none.
    async fn kernel_of(&self, asked: &Asked<'_>) -> Result<Result<Vec<u8>, Proven>, Halt> {
        let sha256 = asked.package.sha256;
        if !self.engine.has_whole_blob(sha256, Phase::Prove).await? {
            let again = Request {
                sha256: Some(sha256),
                ..asked.request.clone()
            };
            match self.files.fetch(&again).await {
                Ok(_) => {}
                Err(Halt::Failed(failed)) => {
                    return Ok(Err(Proven::None(failed.failure.message)));
                }
                Err(halt) => return Err(halt),
            }
        }
        let path = self.engine.store.blob_path(sha256);
        let stop = self.engine.stop.now().clone();
        let reading = move || {
            let limits = unpack::Limits::default();
            read_from_archive(&path, is_kernel_image, KERNEL_IMAGE_BYTES, &limits, &stop)
        };
        Ok(match self.read(asked, reading).await? {
            Ok(Some(kernel)) => Ok(kernel),
            Ok(None) => Err(Proven::None(format!(
                "{} has no kernel in /boot or /lib/modules",
                asked.package.url
            ))),
            Err(broken) => Err(broken),
        })
    }

    /// Reads the package of a kernel to its end, before anything is held against the kernel or a module: of a kernel that
    /// works, only the part with the image was read.
    async fn confirm(&self, asked: &Asked<'_>) -> Result<Result<(), Proven>, Halt> {
        let path = self.engine.store.blob_path(asked.package.sha256);
        let stop = self.engine.stop.now().clone();
        let reading = move || check_archive(&path, &unpack::Limits::default(), &stop);
        self.read(asked, reading).await
    }

    /// What `reading` gives of a package; one that cannot be unpacked is refused.
    async fn read<T: Send + 'static>(
        &self,
        asked: &Asked<'_>,
        reading: impl FnOnce() -> Result<T, UnpackError> + Send + 'static,
    ) -> Result<Result<T, Proven>, Halt> {
        match blocking(reading).await {
            Ok(read) => Ok(Ok(read)),
            Err(UnpackError::Stopped) => Err(Halt::NotRun),
            Err(UnpackError::File(error)) => Err(self.engine.stored(Phase::Prove)(error)),
            Err(error) => {
                let why = error.to_string();
                let Fetched { sha256, url, .. } = asked.package;
                self.files
                    .refuse(&asked.request.candidates, *sha256, &why)?;
                Ok(Err(Proven::Broken(format!(
                    "{url} cannot be unpacked: {why}"
                ))))
            }
        }
    }
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
