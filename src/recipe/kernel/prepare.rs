//! Prepares a header tree from a kernel source and a configuration: one job for each source, configuration, compiler
//! and local version. The result is a tree like that of a header package.

use std::path::Path;
use std::sync::Arc;

use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::{JobRequest, LeftTree};
use crate::engine::memo::Memo;
use crate::engine::work::{Done, Work};
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::recipe::files::Files;
use crate::recipe::kernel::configurations::Configurations;
use crate::recipe::kernel::inspect::check_claims;
use crate::recipe::kernel::packages::{Input, Packages};
use crate::recipe::kernel::tree::{Inspection, KernelInputs, KernelSource, Origin, Preparation};
use crate::recipe::kernel::view::tree_facts;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script::{self, PrepareSettings};
use crate::source::single_folder;
use crate::target::{SourceTree, Target, TargetError};
use crate::verify::read_kernel_tree;

/// Prepares header trees from kernel sources.
pub(crate) struct Preparer {
    engine: Arc<Engine>,
    configurations: Configurations,
    packages: Arc<Packages>,
    /// The prepared trees, by the key of the step that prepared each.
    known: Memo<Sha256, Arc<KernelInputs>>,
}

impl Preparer {
    pub(crate) fn new(engine: Arc<Engine>, files: Arc<Files>, packages: Arc<Packages>) -> Self {
        Self {
            configurations: Configurations::new(engine.clone(), files),
            engine,
            packages,
            known: Memo::default(),
        }
    }

    /// Returns the engine that runs the steps.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the source and configuration of a kernel whose tree is prepared from a source.
    pub(crate) async fn source(
        &self,
        target: &dyn Target,
        kernel: &Kernel,
        tree: SourceTree,
        mode: Mode,
    ) -> Result<KernelSource, Halt> {
        // The configuration comes first: it is small, and a source is large.
        let configurations = &self.configurations;
        let configuration = configurations.digest(target, kernel, mode).await?;
        let facts = configurations.facts(kernel, configuration, mode).await?;
        let mut packages = target.header_packages(kernel, self.engine.host)?;
        let package = packages.pop().ok_or_else(|| {
            TargetError::Unknown(format!("no kernel source is named for kernel {kernel}"))
        })?;
        let (fetched, unpacked) = self.packages.fetch_and_unpack(&package, mode).await?;
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
            uts_releases: target.uts_releases(kernel)?,
        })
    }

    /// Returns the header tree of a kernel source for one toolchain, prepared once and then cached, with the step that
    /// prepared it if this build ran it.
    pub(crate) async fn prepared(
        &self,
        build: &Build,
        source: &Arc<KernelSource>,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Arc<KernelInputs>, Option<Done>), Halt> {
        let preparation = preparation(build, source, toolchain)?;
        let inputs = preparation.key(build);
        let key = inputs.key();
        if let Some(known) = self.known.get(&key) {
            return Ok((known, None));
        }
        let work = self.prepare_now(build, &preparation);
        let done = self
            .engine
            .step(mode, Phase::Prepare, inputs, Box::pin(work))
            .await?;
        let tree = done.tree(Phase::Prepare)?;
        let inspection = self
            .inspect_prepared(build, tree, &preparation, mode)
            .await?;
        check_claims(&build.kernel, &source.uts_releases, &inspection.facts)?;
        let kernel = Arc::new(KernelInputs {
            inputs: vec![source.input.clone()],
            build_folder: inspection.build_folder.clone(),
            inspection,
            origin: Origin::Prepared(Arc::new(preparation)),
        });
        self.known.put(key, kernel.clone());
        Ok((kernel, done.is_own.then_some(done)))
    }

    async fn prepare_now(&self, build: &Build, preparation: &Preparation) -> Result<Work, Halt> {
        let Preparation {
            source,
            toolchain,
            script,
            ..
        } = preparation;
        let request = self.request(build, source, toolchain, (Phase::Prepare, script));
        let request = request.await?;
        let result = self.engine.jobs.run(build, &request).await?;
        let left = LeftTree {
            folder: script::PREPARED_TREE,
            what: "header tree",
            role: TreeRole::Prepared,
        };
        let jobs = &self.engine.jobs;
        jobs.tree_work(request.phase, result, left).await
    }

    /// Returns the job of a step that uses a kernel source and its configuration.
    pub(super) async fn request(
        &self,
        build: &Build,
        source: &KernelSource,
        toolchain: &ChosenToolchain,
        (phase, script): (Phase, &str),
    ) -> Result<JobRequest, Halt> {
        self.engine.may_begin(Mode::Run)?;
        self.packages
            .materialise(std::slice::from_ref(&source.input))
            .await?;
        let stored = self.engine.stored(phase);
        let tree = self.engine.store.tree_path(source.input.tree);
        let looked = blocking(move || {
            let folder = single_folder(&tree)?;
            let is_source = folder.join("Makefile").is_file() && folder.join("Kbuild").is_file();
            Ok((folder, is_source))
        });
        let (folder, is_source) = looked.await.map_err(stored)?;
        if !is_source {
            let message = format!(
                "{} does not contain a kernel source: its top directory has no Makefile and Kbuild",
                source.input.fetched.url
            );
            let failure = Failure::new(FailureClass::WrongHeaders, phase, message);
            return Err(Halt::from(failure).of_step([source.input.tree]));
        }
        Ok(JobRequest {
            phase,
            toolchain: toolchain.toolchain.clone(),
            network: Network::None,
            kvm: false,
            script: script.to_owned(),
            mounts: vec![
                Mount {
                    source: folder,
                    target: script::KERNEL_SOURCE.into(),
                },
                Mount {
                    source: self
                        .configurations
                        .tree(build, source.configuration)
                        .await?,
                    target: script::CONFIGURATION.into(),
                },
            ],
        })
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
            self.materialise_tree(build, tree, preparation).await?;
            let (root, folder) = (self.engine.store.tree_path(tree), inside.to_owned());
            let read = blocking(move || read_kernel_tree(&root, &folder)).await;
            let facts = tree_facts(&self.engine, read).map_err(|halt| halt.of_step([tree]))?;
            let inspection = Inspection {
                mounts: vec![(tree, inside.to_owned())],
                build_folder: build_folder.to_owned(),
                facts,
                // The programs were built for this machine.
                programs: Vec::new(),
            };
            Work::of_facts(&inspection, Phase::Prepare)
        };
        let done = self
            .engine
            .step(mode, Phase::Prepare, inputs, Box::pin(work))
            .await?;
        done.facts(Phase::Prepare)
    }

    /// Ensures that the trees of a prepared kernel are in the store, preparing those again that were removed.
    pub(crate) async fn materialise(
        &self,
        build: &Build,
        kernel: &KernelInputs,
        preparation: &Preparation,
    ) -> Result<(), Halt> {
        for (tree, _) in &kernel.inspection.mounts {
            self.materialise_tree(build, *tree, preparation).await?;
        }
        Ok(())
    }

    async fn materialise_tree(
        &self,
        build: &Build,
        tree: Sha256,
        preparation: &Preparation,
    ) -> Result<(), Halt> {
        let whose = format!("the kernel source of {}", build.kernel);
        let prepare = self.prepare_now(build, preparation);
        let (step, phase) = (preparation.key(build), Phase::Prepare);
        let trees = &self.engine.trees;
        trees
            .ensure(&[tree], &step, phase, whose, Box::pin(prepare))
            .await
    }
}

/// Returns the settings for the scripts of a kernel source.
pub(super) fn prepare_settings<'a>(
    build: &Build,
    source: &KernelSource,
    toolchain: &'a ChosenToolchain,
) -> PrepareSettings<'a> {
    let uts_release = source.uts_releases.first().map_or("", String::as_str);
    PrepareSettings {
        architecture: build.kernel.architecture,
        compilers: &toolchain.compilers,
        local_version: source.tree.local_version.clone(),
        extra_version: source.tree.extra_version.clone(),
        folder: format!("/usr/src/linux-{uts_release}"),
    }
}

fn preparation(
    build: &Build,
    source: &Arc<KernelSource>,
    toolchain: &ChosenToolchain,
) -> Result<Preparation, Halt> {
    let settings = prepare_settings(build, source, toolchain);
    let script = script::render_prepare(&settings).map_err(|error| script_failure(&error))?;
    let folder = settings.folder;
    Ok(Preparation {
        source: source.clone(),
        toolchain: toolchain.clone(),
        folder,
        script,
    })
}

impl Preparation {
    /// The key over everything that can change the tree.
    fn key(&self, build: &Build) -> KeyBuilder {
        let key = KeyBuilder::new("prepare", 2);
        key_of_source(key, build, &self.source, &self.toolchain)
            .field("folder", &self.folder)
            .field("script", Sha256::of(&self.script))
    }
}

/// Adds everything that can change the result of a job with a kernel source, except the script, which contains the
/// compilers and the versions.
pub(super) fn key_of_source(
    key: KeyBuilder,
    build: &Build,
    source: &KernelSource,
    toolchain: &ChosenToolchain,
) -> KeyBuilder {
    key.field("architecture", build.kernel.architecture)
        .field("kernel source", source.input.tree)
        .field("configuration", source.configuration)
        .field("toolchain", toolchain.toolchain.identity())
        .field("compiler", &toolchain.compilers.compiler)
        .field("local version", &source.tree.local_version)
}
