//! From a kernel source and a configuration to a header tree: one job for each source, configuration, compiler and
//! local version, whose result is a tree like that of a header package.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checks::script_failure;
use super::inspect::{Inspection, check_claims};
use super::job::{JobRequest, LeftTree};
use super::kernel_inputs::{Input, KernelInputs};
use super::packages::request_for_text;
use super::pipeline::Pipeline;
use super::step::{Halt, Mode};
use super::toolchain::ChosenToolchain;
use super::work::{Done, Work};
use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::ContentKind;
use crate::fs::{self, FileError};
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::script::{self, PrepareSettings};
use crate::source::single_folder;
use crate::target::{SourceTree, Target};
use crate::unpack::tree_digest_of_folder;
use crate::verify;

/// A kernel source, and what its header tree is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KernelSource {
    /// The archive of the source.
    pub(super) input: Input,
    /// The configuration's digest.
    pub(super) configuration: Sha256,
    /// What is read out of the configuration.
    pub(super) facts: ConfigurationFacts,
    /// What is particular to the target.
    pub(super) tree: SourceTree,
    /// What `UTS_RELEASE` can be, most probable first.
    pub(super) uts_releases: Vec<String>,
}

/// What is read out of a kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConfigurationFacts {
    /// The gcc that the configuration was made for, `12` or `4.9`, where it says so.
    pub(super) gcc_version: Option<String>,
    /// The clang that it was made for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clang_version: Option<String>,
}

/// How a header tree is made of a kernel source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preparation {
    source: Arc<KernelSource>,
    toolchain: ChosenToolchain,
    /// The folder that `make -C` is given.
    folder: String,
    script: String,
}

impl Pipeline {
    /// The source of a kernel whose tree is made of one, with its configuration.
    pub(super) async fn kernel_source(
        &self,
        target: &dyn Target,
        kernel: &Kernel,
        tree: SourceTree,
        mode: Mode,
    ) -> Result<KernelSource, Halt> {
        let missing =
            |problem: String| Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, problem);
        // Asked first: it costs nothing, and a source is large.
        let configuration = self.configuration(target, kernel, mode).await?;
        let facts = self
            .configuration_facts(kernel, configuration, mode)
            .await?;
        let mut packages = target.header_packages(kernel, self.host).map_err(missing)?;
        let package = packages
            .pop()
            .ok_or_else(|| missing(format!("kernel {kernel} names no kernel source")))?;
        let (fetched, unpacked) = self.fetch_and_unpack(&package, mode).await?;
        let input = Input {
            tree: unpacked,
            package,
            fetched,
            download: None,
        };
        Ok(KernelSource {
            input,
            configuration,
            facts,
            tree,
            uts_releases: target.uts_releases(kernel).map_err(missing)?,
        })
    }

    /// The digest of a kernel's configuration: the one that the plan has, else what the distribution publishes.
    async fn configuration(
        &self,
        target: &dyn Target,
        kernel: &Kernel,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        if let Some(known) = kernel.config_sha256 {
            return Ok(known);
        }
        let Some(published) = target.published_config(kernel) else {
            let message = format!(
                "kernel {kernel} is made from a kernel source, and its configuration is not known: write \
                 `config = \"FILE\"` beside its release, with the content of /proc/config.gz or /boot/config-* of such \
                 a machine"
            );
            return Err(Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message).into());
        };
        let request = request_for_text(&published, ContentKind::Configuration);
        Ok(self.fetch_unknown(&request, mode).await?.sha256)
    }

    async fn configuration_facts(
        &self,
        kernel: &Kernel,
        sha256: Sha256,
        mode: Mode,
    ) -> Result<ConfigurationFacts, Halt> {
        let inputs = KeyBuilder::new("read configuration", 1).field("configuration", sha256);
        let work = async {
            let text = self.configuration_text(kernel, sha256)?;
            let text = String::from_utf8_lossy(&text);
            let facts = ConfigurationFacts {
                gcc_version: verify::gcc_of_configuration(&text),
                clang_version: verify::clang_of_configuration(&text),
            };
            Work::of_facts(&facts, Phase::Fetch)
        };
        let done = self.steps.step(mode, Phase::Fetch, inputs, work).await?;
        done.facts(Phase::Fetch)
    }

    /// The content of a configuration, which whoever made the plan has put into the store.
    fn configuration_text(&self, kernel: &Kernel, sha256: Sha256) -> Result<Vec<u8>, Halt> {
        match fs::read(&self.store.blob_path(sha256)) {
            Ok(text) => Ok(text),
            Err(error) if error.is_not_found() => {
                let message = format!(
                    "the configuration {sha256} of kernel {kernel} is neither in the store nor beside the lock; run \
                     `driverkit-matrix lock`, or name its file with `config = \"FILE\"`"
                );
                Err(Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message).into())
            }
            Err(error) => Err(self.steps.storage_failure(&error, Phase::Fetch)),
        }
    }

    /// The header tree of a kernel source for one toolchain: made once, then found. Also the step that made it, when
    /// this build brought it about.
    pub(super) async fn prepared(
        &self,
        build: &Build,
        source: &Arc<KernelSource>,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Arc<KernelInputs>, Option<Done>), Halt> {
        let preparation = preparation(build, source, toolchain)?;
        let inputs = preparation.key(build);
        let key = inputs.key();
        if let Some(known) = self.prepared.get(&key) {
            return Ok((known, None));
        }
        let work = self.prepare_now(build, &preparation);
        let done = self.steps.step(mode, Phase::Prepare, inputs, work).await?;
        let tree = done.tree(Phase::Prepare)?;
        let inspection = self
            .inspect_prepared(build, tree, &preparation, mode)
            .await?;
        check_claims(&build.kernel, &source.uts_releases, &inspection.facts)?;
        let kernel = Arc::new(KernelInputs {
            inputs: vec![source.input.clone()],
            build_folder: inspection.build_folder.clone(),
            inspection,
            preparation: Some(Arc::new(preparation)),
            adaptation: None,
        });
        self.prepared.put(key, kernel.clone());
        Ok((kernel, done.is_own.then_some(done)))
    }

    async fn prepare_now(&self, build: &Build, preparation: &Preparation) -> Result<Work, Halt> {
        self.may_begin(Mode::Run)?;
        let source = &preparation.source;
        self.materialise(std::slice::from_ref(&source.input))
            .await?;
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Prepare);
        let folder = single_folder(&self.store.tree_path(source.input.tree)).map_err(stored)?;
        if !(folder.join("Makefile").is_file() && folder.join("Kbuild").is_file()) {
            let message = format!(
                "{} holds no kernel source: there is no Makefile with Kbuild in its top folder",
                source.input.fetched.url
            );
            let failure = Failure::new(FailureClass::WrongHeaders, Phase::Prepare, message);
            return self.own_failure([source.input.tree], failure.into());
        }
        let request = JobRequest {
            phase: Phase::Prepare,
            toolchain: preparation.toolchain.toolchain.clone(),
            network: Network::None,
            script: preparation.script.clone(),
            mounts: vec![
                Mount {
                    source: folder,
                    target: script::KERNEL_SOURCE.into(),
                },
                Mount {
                    source: self.configuration_tree(build, source.configuration)?,
                    target: script::CONFIGURATION.into(),
                },
            ],
        };
        let result = self.run_job(build, &request).await?;
        let left = LeftTree {
            folder: script::PREPARED_TREE,
            what: "header tree",
            role: TreeRole::Prepared,
        };
        self.tree_work(&request, &result, &left)
    }

    /// A folder of the store with nothing but the configuration, for a job to see.
    fn configuration_tree(&self, build: &Build, sha256: Sha256) -> Result<PathBuf, Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Prepare);
        let work = self.store.temporary_folder().map_err(stored)?;
        let folder = work.path().join("configuration");
        let text = self.configuration_text(&build.kernel, sha256)?;
        fs::write(&folder.join(script::CONFIGURATION_FILE), text).map_err(stored)?;
        let tree = tree_digest_of_folder(&folder).map_err(|error| {
            Failure::new(
                FailureClass::Infrastructure,
                Phase::Prepare,
                error.to_string(),
            )
        })?;
        if !self.has_tree(tree).map_err(stored)? {
            self.store.put_tree(&folder, tree).map_err(stored)?;
        }
        Ok(self.store.tree_path(tree))
    }

    async fn inspect_prepared(
        &self,
        build: &Build,
        tree: Sha256,
        preparation: &Preparation,
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let build_folder = Path::new(&preparation.folder);
        let inside = build_folder.strip_prefix("/").unwrap_or(build_folder);
        let inputs = KeyBuilder::new("inspect prepared", 3)
            .field("kernel folder", &preparation.folder)
            .field("tree", tree);
        let work = async {
            self.materialise_prepared(build, tree, preparation).await?;
            let facts = match self.read_tree(&self.store.tree_path(tree), inside) {
                Ok(facts) => facts,
                Err(halt) => return self.own_failure([tree], halt),
            };
            let inspection = Inspection {
                mounts: vec![(tree, inside.to_owned())],
                build_folder: build_folder.to_owned(),
                facts,
                // Made for this machine.
                programs: Vec::new(),
            };
            Work::of_facts(&inspection, Phase::Prepare)
        };
        let done = self.steps.step(mode, Phase::Prepare, inputs, work).await?;
        done.facts(Phase::Prepare)
    }

    /// Makes sure that all trees of a kernel are in the store, making those again that were cleaned away.
    pub(super) async fn materialise_kernel(
        &self,
        build: &Build,
        kernel: &KernelInputs,
    ) -> Result<(), Halt> {
        if let Some(adaptation) = &kernel.adaptation {
            return self.materialise_adapted(build, adaptation).await;
        }
        let Some(preparation) = &kernel.preparation else {
            return self.materialise(&kernel.inputs).await;
        };
        for (tree, _) in &kernel.inspection.mounts {
            self.materialise_prepared(build, *tree, preparation).await?;
        }
        Ok(())
    }

    async fn materialise_prepared(
        &self,
        build: &Build,
        tree: Sha256,
        preparation: &Preparation,
    ) -> Result<(), Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Prepare);
        if !self.has_tree(tree).map_err(stored)? {
            let again = async || {
                let prepared = self.prepare_now(build, preparation).await?;
                prepared.into_tree(Phase::Prepare)
            };
            let found = Box::pin(self.trees.run(tree, again)).await?;
            if found != tree {
                let message = format!(
                    "the kernel source of {} was prepared to another tree than before; run \
                     `driverkit-matrix cache verify`",
                    build.kernel
                );
                return Err(
                    Failure::new(FailureClass::Infrastructure, Phase::Prepare, message).into(),
                );
            }
        }
        Ok(())
    }
}

fn preparation(
    build: &Build,
    source: &Arc<KernelSource>,
    toolchain: &ChosenToolchain,
) -> Result<Preparation, Halt> {
    let uts_release = source.uts_releases.first().map_or("", String::as_str);
    let folder = format!("/usr/src/linux-{uts_release}");
    let script = script::render_prepare(&PrepareSettings {
        architecture: build.kernel.architecture,
        compilers: &toolchain.compilers,
        local_version: source.tree.local_version.clone(),
        extra_version: source.tree.extra_version.clone(),
        folder: folder.clone(),
    })
    .map_err(|error| script_failure(&error))?;
    Ok(Preparation {
        source: source.clone(),
        toolchain: toolchain.clone(),
        folder,
        script,
    })
}

impl Preparation {
    /// Everything that can change the tree. The script holds the compilers, the versions and the folder.
    fn key(&self, build: &Build) -> KeyBuilder {
        KeyBuilder::new("prepare", 1)
            .field("architecture", build.kernel.architecture)
            .field("kernel source", self.source.input.tree)
            .field("configuration", self.source.configuration)
            .field("toolchain", self.toolchain.toolchain.identity())
            .field("compiler", &self.toolchain.compilers.compiler)
            .field("local version", &self.source.tree.local_version)
            .field("folder", &self.folder)
            .field("script", Sha256::of(&self.script))
    }
}
