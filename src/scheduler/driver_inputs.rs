//! From a driver's sources to the configured tree that every kernel's build starts from. Where the sources come from:
//! [`super::driver_sources`].

use std::path::PathBuf;
use std::sync::Arc;

use super::checks::script_failure;
use super::driver_sources::KnownSource;
use super::job::{JobRequest, LeftTree};
use super::pipeline::Pipeline;
use super::step::{Halt, Mode};
use super::work::{Done, Work};
use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Driver;
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::plan::Build;
use crate::script::{self, ConfigureSettings};
use crate::source::{self, ConfiguredDriver, Layout, SourceError};
use crate::unpack::tree_digest_of_folder;

/// What a build needs of its driver.
#[derive(Clone, Debug)]
pub(super) struct DriverInputs {
    /// The sources' tree in the store.
    pub(super) source_sha256: Sha256,
    /// The configured tree: the sources themselves when they are flat.
    pub(super) tree: Sha256,
    /// What the configured tree is and asks.
    pub(super) facts: Arc<ConfiguredDriver>,
    /// The step that configured it, when this build brought it about.
    pub(super) new: Option<Done>,
}

impl Pipeline {
    /// The driver's configured tree; configured once for all kernels.
    pub(super) async fn driver_inputs(
        &self,
        build: &Build,
        mode: Mode,
    ) -> Result<DriverInputs, Halt> {
        let driver = &*build.driver;
        let source = self.source(driver, mode).await?;
        let (tree, new) = match &source.layout {
            Layout::Flat { module_name } if *module_name != driver.module_name => {
                let message = format!(
                    "the sources of {} are already configured for a module named `{module_name}`, not `{}`; set `module_name` in [driver.\"{}\"]",
                    driver.version, driver.module_name, driver.version
                );
                return Err(
                    Failure::new(FailureClass::Configure, Phase::Configure, message).into(),
                );
            }
            Layout::Flat { .. } => (source.tree, None),
            Layout::Old => {
                let inputs = KeyBuilder::new("configure old layout", 1)
                    .field("source", source.tree)
                    .field("version", &driver.version)
                    .field("module name", &driver.module_name)
                    .field("device name", &driver.device_name);
                let work = async { self.configure_old(build, &source) };
                let done = self
                    .steps
                    .step(mode, Phase::Configure, inputs, work)
                    .await?;
                (done.tree(Phase::Configure)?, None)
            }
            Layout::CMake => {
                let script = render(driver, &source)?;
                let inputs = key_of(
                    driver,
                    &source,
                    self.configure_toolchain(mode).await?.identity(),
                    &script,
                );
                let work = self.configure(build, &source, script);
                let done = self
                    .steps
                    .step(mode, Phase::Configure, inputs, work)
                    .await?;
                let tree = done.tree(Phase::Configure)?;
                (tree, done.is_own.then_some(done))
            }
        };
        Ok(DriverInputs {
            source_sha256: source.tree,
            facts: self.configured_facts(build, tree, mode).await?,
            tree,
            new,
        })
    }

    /// What a configured tree is and asks.
    async fn configured_facts(
        &self,
        build: &Build,
        tree: Sha256,
        mode: Mode,
    ) -> Result<Arc<ConfiguredDriver>, Halt> {
        if let Some(known) = self.configured.get(&tree) {
            return Ok(known);
        }
        let inputs = KeyBuilder::new("read driver", 3).field("driver tree", tree);
        let work = async {
            let folder = self.driver_tree(build, tree).await?;
            match source::read_configured_driver(&folder) {
                Ok(facts) => Work::of_facts(&facts, Phase::Configure),
                Err(error) => self.own_failure([tree], self.source_failure(&build.driver, &error)),
            }
        };
        let done = self
            .steps
            .step(mode, Phase::Configure, inputs, work)
            .await?;
        let facts: Arc<ConfiguredDriver> = Arc::new(done.facts(Phase::Configure)?);
        self.configured.put(tree, facts.clone());
        Ok(facts)
    }

    async fn configure(
        &self,
        build: &Build,
        source: &KnownSource,
        script: String,
    ) -> Result<Work, Halt> {
        let request = JobRequest {
            phase: Phase::Configure,
            toolchain: self.configure_toolchain(Mode::Run).await?,
            network: Network::None,
            script,
            mounts: vec![mount(self.source_tree(build, source)?)],
        };
        let result = self.run_job(build, &request).await?;
        let left = LeftTree {
            folder: script::CONFIGURED_TREE,
            what: "configured driver",
            role: TreeRole::Driver,
        };
        self.tree_work(&request, &result, &left)
    }

    /// Configures sources of the old layout, which needs no job.
    fn configure_old(&self, build: &Build, source: &KnownSource) -> Result<Work, Halt> {
        self.may_begin(Mode::Run)?;
        let stored =
            |error: crate::fs::FileError| self.steps.storage_failure(&error, Phase::Configure);
        let failed = |error: SourceError| self.source_failure(&build.driver, &error);
        let folder = self.source_tree(build, source)?;
        let work = self.store.temporary_folder().map_err(stored)?;
        let tree = work.path().join("tree");
        if let Err(error) = source::configure_old(&folder, &build.driver, &tree) {
            return self.own_failure([source.tree], failed(error));
        }
        let sha256 = tree_digest_of_folder(&tree).map_err(|error| failed(error.into()))?;
        self.store.put_tree(&tree, sha256).map_err(stored)?;
        Ok(Work::of_tree(sha256, TreeRole::Driver))
    }

    /// The folder of the configured driver in the store; configured again when it was cleaned away.
    async fn driver_tree(&self, build: &Build, tree: Sha256) -> Result<PathBuf, Halt> {
        let stored =
            |error: crate::fs::FileError| self.steps.storage_failure(&error, Phase::Configure);
        if !self.has_tree(tree).map_err(stored)? {
            let source = self.source(&build.driver, Mode::Run).await?;
            let again = async || {
                if source.tree == tree {
                    return self.source_tree(build, &source).map(|_| tree);
                }
                let configured = if source.layout == Layout::Old {
                    self.configure_old(build, &source)?
                } else {
                    let script = render(&build.driver, &source)?;
                    self.configure(build, &source, script).await?
                };
                configured.into_tree(Phase::Configure)
            };
            let found = self.trees.run(tree, again).await?;
            if found != tree || !self.has_tree(tree).map_err(stored)? {
                let message = format!(
                    "driver {} gave another tree than before; its sources changed while the run went on",
                    build.driver.version
                );
                return Err(
                    Failure::new(FailureClass::Infrastructure, Phase::Configure, message).into(),
                );
            }
        }
        Ok(self.store.tree_path(tree))
    }

    /// The mount of the configured driver.
    pub(super) async fn driver_mount(
        &self,
        build: &Build,
        driver: &DriverInputs,
    ) -> Result<Mount, Halt> {
        Ok(mount(self.driver_tree(build, driver.tree).await?))
    }
}

fn mount(source: PathBuf) -> Mount {
    Mount {
        source,
        target: PathBuf::from("/driver"),
    }
}

fn render(driver: &Driver, source: &KnownSource) -> Result<String, Halt> {
    script::render_configure(&ConfigureSettings {
        version: driver.version.clone(),
        module_name: driver.module_name.clone(),
        device_name: driver.device_name.clone(),
        has_probe: source.has_probe,
    })
    .map_err(|error| script_failure(&error))
}

fn key_of(driver: &Driver, source: &KnownSource, toolchain: Sha256, script: &str) -> KeyBuilder {
    KeyBuilder::new("configure", 1)
        .field("source", source.tree)
        .field("version", &driver.version)
        .field("module name", &driver.module_name)
        .field("device name", &driver.device_name)
        .field("toolchain", toolchain)
        .field("script", Sha256::of(script))
}
