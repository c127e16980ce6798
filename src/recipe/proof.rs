//! The proof of a kernel's modules and probes: the kernel is booted, and loads, uses and unloads each of them.
//!
//! All modules of a kernel share a boot, and each has its own outcome: a new driver version proves only one module.
//! Obstacles to a proof (no kernel package, a kernel that does not boot) are reported, but are not failures.

mod boots;
mod kernel;
mod package;

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
use crate::fetch::{Fetched, Request};
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::proof::{self, AROUND_BOOT, Verdict};
use crate::recipe::files::Files;
use crate::recipe::kernel::Kernels;
use crate::recipe::toolchain::ToolchainChooser;
use crate::redact;
use crate::target::{Target, TreeKind, rules_of};

pub(crate) use package::image_request;

/// The reason why the package of a kernel is unknown.
const NO_RULE: &str = "the URL of this kernel's package is not known; name it with `image` next to the kernel's release";

/// The cached outcome of a proof that found no fault in the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    /// Its kernel loaded, used and unloaded it.
    Loaded {
        /// The number of character devices that it created.
        devices: i64,
        /// The number of its parameters.
        parameters: i64,
    },
    /// Its kernel loaded all programs of the probe.
    TakenPrograms {
        /// The number of programs.
        programs: i64,
        /// The number of maps that they use.
        maps: i64,
    },
    /// Why it was not loaded.
    NotProven(String),
}

/// The result of proving a module.
pub(crate) enum ProofOutcome {
    /// Its kernel loaded, used and unloaded it; with a message.
    Loaded(String),
    /// Its kernel refused it.
    Refused(Box<Failed>),
    /// Why it was not loaded.
    NotProven(String),
}

/// A module or probe to prove.
#[derive(Clone, Debug)]
pub(crate) struct ModuleFile {
    pub(crate) sha256: Sha256,
    /// The path of the file if the store does not have it.
    pub(crate) place: Option<PathBuf>,
}

/// Proves modules.
pub(crate) struct Proofs {
    engine: Arc<Engine>,
    files: Arc<Files>,
    toolchains: Arc<ToolchainChooser>,
    kernels: Arc<Kernels>,
}

/// The inputs for proving modules in one kernel.
struct Asked<'a> {
    build: &'a Build,
    kernel: KernelOf<'a>,
    toolchain: &'a Toolchain,
    /// True if the package may be downloaded again when its bytes are in doubt.
    may_renew: bool,
}

/// The origin of a kernel image.
enum KernelOf<'a> {
    /// From its package.
    Package {
        request: &'a Request,
        package: &'a Fetched,
    },
    /// Built from its source.
    Built(Built),
}

/// A kernel that was built from its source.
struct Built {
    /// The digest of its image.
    sha256: Sha256,
    /// The key of the step that built it.
    step: Sha256,
}

/// The result of a boot.
enum Proven {
    /// The outcomes, in the order of the modules.
    All(Vec<ProofOutcome>),
    /// Why no module was loaded.
    None(String),
    /// Why the package cannot be used: another URL may have a better one.
    Broken(String),
    /// Outcomes are to be retried, and the package has no trusted digest.
    Doubted,
}

/// The kernel that modules are loaded into.
struct Boots<'a> {
    asked: &'a Asked<'a>,
    kernel: Vec<u8>,
    timeout: Duration,
}

/// Returns true if a kernel is built to prove its modules: its trees are prepared from its source, and no kernel
/// package is named.
pub(crate) fn is_built_to_prove(kernel: &Kernel) -> bool {
    let is_made_of_source = |target: &dyn Target| {
        // If a list determines the kernel version, the source is only known later.
        target.upstream_list(kernel).is_some()
            || matches!(target.tree_kind(kernel), Ok(TreeKind::Source(_)))
    };
    kernel.image.is_none() && rules_of(kernel).is_some_and(is_made_of_source)
}

impl Proofs {
    pub(crate) fn new(
        engine: Arc<Engine>,
        files: Arc<Files>,
        toolchains: Arc<ToolchainChooser>,
        kernels: Arc<Kernels>,
    ) -> Self {
        Self {
            engine,
            files,
            toolchains,
            kernels,
        }
    }

    /// Proves `modules`, all of the kernel of `build`, whose header packages came from `headers`. Returns the outcomes
    /// in the order of the modules. A kernel without a package is built from its source if `may_build`.
    pub(crate) async fn prove(
        &self,
        build: &Build,
        headers: &[Arc<str>],
        modules: &[ModuleFile],
        may_build: bool,
        mode: Mode,
    ) -> Result<Vec<ProofOutcome>, Halt> {
        let none = |reason: &str| {
            Ok(modules
                .iter()
                .map(|_| ProofOutcome::NotProven(reason.to_owned()))
                .collect())
        };
        let request = image_request(&build.kernel, headers, &self.engine.fetcher);
        let is_built = request.is_none() && is_built_to_prove(&build.kernel);
        if is_built && !may_build {
            return none(
                "its kernel must be built from source, which `prove = \"all\"` does; or name its package with `image` next to the kernel's release",
            );
        }
        let toolchain = match self.toolchains.for_proofs() {
            Ok(toolchain) => toolchain,
            Err(Halt::Failed(failed)) => return none(&failed.failure.message),
            Err(halt) => return Err(halt),
        };
        if is_built {
            let built = match self.built(build, mode).await {
                Ok(built) => built,
                Err(Halt::Failed(failed)) => {
                    let why = &failed.failure.message;
                    return none(&format!(
                        "the kernel cannot be built from its source: {why}"
                    ));
                }
                Err(halt) => return Err(halt),
            };
            let asked = Asked {
                build,
                kernel: KernelOf::Built(built),
                toolchain: &toolchain,
                may_renew: false,
            };
            return match self.prove_in(&asked, modules, mode).await? {
                Proven::All(outcomes) => Ok(outcomes),
                Proven::None(why) | Proven::Broken(why) => none(&why),
                Proven::Doubted => none("its kernel is not confirmed"),
            };
        }
        let Some(request) = request else {
            return none(NO_RULE);
        };
        let (mut broken, mut is_renewed): (Option<String>, _) = (None, false);
        loop {
            let fetched = match (request.sha256, &*request.candidates) {
                // The index of its source names it. It is downloaded only if a module is not proven yet.
                (Some(sha256), [url]) => Ok(Fetched {
                    sha256,
                    size_bytes: request.size_bytes.unwrap_or_default(),
                    url: redact::url(url).into_owned(),
                }),
                _ => self.files.fetch_unless_known(&request, mode).await,
            };
            let package = match (fetched, &broken) {
                (Ok(package), Some(why)) if self.engine.fetcher.is_refused(package.sha256) => {
                    return none(why);
                }
                (Ok(package), _) => package,
                (Err(Halt::Failed(_)), Some(why)) => return none(why),
                (Err(Halt::Failed(failed)), None) => {
                    let why = &failed.failure.message;
                    return none(&not_available(why));
                }
                (Err(halt), _) => return Err(halt),
            };
            let asked = Asked {
                build,
                kernel: KernelOf::Package {
                    request: &request,
                    package: &package,
                },
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

    /// Proves modules in one kernel.
    async fn prove_in(
        &self,
        asked: &Asked<'_>,
        modules: &[ModuleFile],
        mode: Mode,
    ) -> Result<Proven, Halt> {
        let Asked {
            build, toolchain, ..
        } = asked;
        // The key covers everything that can change the outcome.
        let program = Sha256::of(proof::program(build.kernel.architecture));
        let key_of = |module: &ModuleFile| {
            let key = KeyBuilder::new("proof", 3).field("architecture", build.kernel.architecture);
            let key = match &asked.kernel {
                KernelOf::Package { package, .. } => key.field("kernel package", package.sha256),
                KernelOf::Built(built) => key.field("kernel", built.sha256),
            };
            key.field("module", module.sha256)
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
                // An outcome to retry may have come from unconfirmed bytes.
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
        let mut why_not = String::new();
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
            let booted = match self.boot_for(&boots, &to_boot).await? {
                Ok(booted) => booted,
                Err(stopped) => return Ok(stopped),
            };
            for ((position, ..), outcome) in wanted.iter().zip(booted.outcomes) {
                outcomes[*position] = Some(outcome);
            }
            why_not = booted.why_not;
        }
        let unproven = || ProofOutcome::NotProven(why_not.clone());
        let outcomes = outcomes.into_iter().map(|one| one.unwrap_or_else(unproven));
        Ok(Proven::All(outcomes.collect()))
    }
}

fn not_available(why: &str) -> String {
    format!("the package of the kernel is not available: {why}")
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
        Ok(Kept::TakenPrograms { programs, maps }) => {
            let verdict = Verdict::TakenPrograms { programs, maps };
            Ok(ProofOutcome::Loaded(verdict.to_string()))
        }
        Ok(Kept::NotProven(reason)) => Ok(ProofOutcome::NotProven(reason)),
        Err(error) => {
            let message = format!("the outcome of a proof is invalid: {error}");
            Err(Failure::new(FailureClass::Infrastructure, Phase::Prove, message).into())
        }
    }
}
