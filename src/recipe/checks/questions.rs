//! The checks that a build needs, and the keys of their answers.

use std::sync::{Arc, LazyLock};

use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::failure::Phase;
use crate::plan::Build;
use crate::recipe::driver::DriverInputs;
use crate::recipe::kernel::tree::KernelInputs;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script;
use crate::source::{ConfigureCheck, ConfiguredDriver};

/// The version of the keys of checks.
pub(crate) const VERSION: u32 = 2;

/// The digest of the templates of a job of checks, part of the key of each check; computed once, since every build
/// needs it.
pub(crate) static TEMPLATES: LazyLock<Sha256> =
    LazyLock::new(|| script::template_digest(Phase::Check));

/// A driver's configure check, with the key of its answer.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) inputs: KeyBuilder,
    pub(crate) check: Arc<ConfigureCheck>,
}

impl Question {
    /// Returns true if the check belongs to the module.
    pub(crate) fn is_of_module(&self) -> bool {
        self.check.artifact == Artifact::Module
    }

    /// Returns true if the check is only compiled, and none of its code is executed.
    pub(crate) fn is_inert(&self) -> bool {
        self.check.objects.is_some()
    }

    /// The group of the check: checks of the same group may share a job.
    pub(crate) fn group(&self) -> (Artifact, bool) {
        (self.check.artifact, self.is_inert())
    }
}

/// The subject of a build's checks.
pub(crate) struct Subject<'a> {
    pub(crate) build: &'a Build,
    pub(crate) kernel: &'a Arc<KernelInputs>,
    pub(crate) toolchain: &'a Arc<ChosenToolchain>,
    pub(crate) driver: &'a DriverInputs,
}

/// The facts other than the kernel that decide which checks a build needs.
pub(crate) struct Asking {
    toolchain: Arc<ChosenToolchain>,
    driver: Arc<ConfiguredDriver>,
    wants: [bool; 2],
}

impl Asking {
    /// Returns true if another build with the same kernel needs the same checks.
    pub(crate) fn is_of(&self, subject: &Subject<'_>) -> bool {
        let (own, other) = (&self.driver, &subject.driver.facts);
        self.wants == subject.wants_both()
            && self.toolchain == *subject.toolchain
            && (Arc::ptr_eq(own, other) || own.checks == other.checks)
    }
}

impl Subject<'_> {
    pub(crate) fn wants_probe(&self) -> bool {
        self.build.artifacts.contains(&Artifact::Probe) && self.driver.facts.has_probe
    }

    /// Returns the facts other than the kernel that decide which checks the build needs.
    pub(crate) fn asking(&self) -> Asking {
        Asking {
            toolchain: Arc::clone(self.toolchain),
            driver: Arc::clone(&self.driver.facts),
            wants: self.wants_both(),
        }
    }

    fn wants_both(&self) -> [bool; 2] {
        [Artifact::Module, Artifact::Probe].map(|artifact| self.wants(artifact))
    }

    fn wants(&self, artifact: Artifact) -> bool {
        match artifact {
            Artifact::Module => self.build.artifacts.contains(&Artifact::Module),
            Artifact::Probe => self.wants_probe(),
        }
    }

    pub(crate) fn base(&self, step: &str) -> KeyBuilder {
        let key = KeyBuilder::new(step, VERSION)
            .field("architecture", self.build.kernel.architecture)
            .field("toolchain", self.toolchain.toolchain.identity())
            .field("compiler", &self.toolchain.compilers.compiler)
            .field("template", *TEMPLATES);
        self.kernel.add_to_key(key)
    }

    /// Returns the configure checks that the build needs.
    pub(crate) fn questions(&self) -> Vec<Question> {
        let wanted = self.driver.facts.checks.iter();
        wanted
            .filter(|check| self.wants(check.artifact))
            .map(|check| {
                let mut inputs = self
                    .base("check")
                    .field("check", &check.name)
                    .field("content", check.digest);
                if check.artifact == Artifact::Probe {
                    inputs = inputs
                        .field("clang", &self.toolchain.compilers.clang)
                        .field("llc", &self.toolchain.compilers.llc);
                }
                if check.objects.is_none() {
                    inputs = inputs.field("scripts", self.scripts(check.artifact));
                }
                Question {
                    inputs,
                    check: Arc::clone(check),
                }
            })
            .collect()
    }

    /// Returns a digest of all checks whose scripts run in one job.
    fn scripts(&self, artifact: Artifact) -> Sha256 {
        let checks = self.driver.facts.checks_of(artifact);
        checks
            .filter(|check| check.objects.is_none())
            .fold(KeyBuilder::new("scripts", 1), |key, check| {
                key.field(&check.name, check.digest)
            })
            .key()
    }
}
