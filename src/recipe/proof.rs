//! The proof of a kernel's modules and probes: the kernel is booted, and loads, uses and unloads each of them.
//!
//! All of a kernel share a boot, and each has an outcome of its own: a new driver version proves one module. What
//! stands between a module and its proof (no kernel package, a kernel that does not boot) is said and fails nothing.

mod boots;
mod kernel;

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
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::proof::{self, AROUND_BOOT, Verdict};
use crate::recipe::files::Files;
use crate::recipe::kernel::Kernels;
use crate::recipe::toolchain::ToolchainChooser;
use crate::redact;
use crate::target::{Target, TreeKind, kernel_image_addresses, rules_of};

/// Why no package of a kernel can be had.
const NO_RULE: &str = "no rule says where the package of this kernel is; name it with `image` beside the kernel's release";

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
    /// Its kernel took all programs of the probe.
    TakenPrograms {
        /// How many programs it has.
        programs: i64,
        /// How many maps they use.
        maps: i64,
    },
    /// Why it was not loaded.
    NotProven(String),
}

/// The result of proving a module.
pub(crate) enum ProofOutcome {
    /// Its kernel loaded, used and unloaded it; in words.
    Loaded(String),
    /// Its kernel did not.
    Refused(Box<Failed>),
    /// Why it was not loaded.
    NotProven(String),
}

/// A module or probe that is to be proven.
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
    kernels: Arc<Kernels>,
}

/// What is asked of one kernel.
struct Asked<'a> {
    build: &'a Build,
    kernel: KernelOf<'a>,
    toolchain: &'a Toolchain,
    /// Whether the package may be downloaded again where its bytes are in doubt.
    may_renew: bool,
}

/// Where a kernel comes from.
enum KernelOf<'a> {
    /// Out of its package.
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

/// Whether a kernel is built to prove its modules: its trees are made of its source, and no package of it is named.
pub(crate) fn is_built_to_prove(kernel: &Kernel) -> bool {
    let is_made_of_source = |target: &dyn Target| {
        // Where a list says which kernel it is, the source is only known later.
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

    /// Proves the modules with these digests, all of the kernel of `build`, whose header packages came from `headers`.
    /// The proofs are in the order of the modules. A kernel that only its source gives is built if `may_build`.
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
        let addresses = self.addresses(build, headers);
        let is_built = addresses.is_empty() && is_built_to_prove(&build.kernel);
        if is_built && !may_build {
            return none(
                "its kernel has to be built from its source, which `prove = \"all\"` does; or name its package with `image` beside the kernel's release",
            );
        }
        if addresses.is_empty() && !is_built {
            return none(NO_RULE);
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
                Proven::Doubted => none("its kernel is in doubt"),
            };
        }
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

    /// Where the package of a kernel can be whose header packages came from `headers`.
    fn addresses(&self, build: &Build, headers: &[Arc<str>]) -> Vec<String> {
        if let Some(image) = &build.kernel.image {
            return vec![image.to_string()];
        }
        // At a mirror, what is beside the headers may not be asked for there.
        let fetcher = &self.engine.fetcher;
        let headers = headers.iter().flat_map(|place| {
            let named = with_credentials(place, &build.kernel);
            named.map_or_else(|| fetcher.originals(place), |url| vec![url.to_owned()])
        });
        let headers: Vec<String> = headers.collect();
        kernel_image_addresses(headers.iter().map(String::as_str))
    }

    /// The proofs of modules in the kernel of one package.
    async fn prove_in(
        &self,
        asked: &Asked<'_>,
        modules: &[ModuleFile],
        mode: Mode,
    ) -> Result<Proven, Halt> {
        let Asked {
            build, toolchain, ..
        } = asked;
        // Everything that can change what comes of it.
        let program = Sha256::of(proof::program(build.kernel.architecture));
        let key_of = |module: &ModuleFile| {
            let key = KeyBuilder::new("proof", 2).field("architecture", build.kernel.architecture);
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
}

/// The URL of a package that the kernel names, by what reports write down of it.
fn with_credentials<'a>(place: &str, kernel: &'a Kernel) -> Option<&'a str> {
    let mut urls = kernel.packages.iter().map(|package| &*package.url);
    urls.find(|url| *url != place && redact::url(url) == place)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Architecture, Package, PackageSet};

    #[test]
    fn package_is_found_by_what_reports_write_down_of_it() {
        let packages = ["https://user:s3cret@m/a.rpm", "https://m/b.rpm"];
        let kernel = Kernel {
            target: "fedora".parse().unwrap(),
            release: "6.1.0-1.fc40.x86_64".parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: packages
                .into_iter()
                .map(Package::at)
                .collect::<PackageSet>(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        };
        for (place, expected) in [
            ("https://m/a.rpm", Some(packages[0])),
            ("https://m/b.rpm", None),
            ("https://other/a.rpm", None),
        ] {
            assert_eq!(with_credentials(place, &kernel), expected, "{place}");
        }
    }
}
