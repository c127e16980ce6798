//! Turns a driver's sources into the configured tree that every kernel's build starts from. Finding the sources:
//! [`sources`].

mod moving;
mod sources;

pub use moving::renew_sources;

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::{JobRequest, LeftTree};
use crate::engine::memo::Memo;
use crate::engine::work::{Done, Work};
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::plan::Build;
use crate::recipe::driver::sources::{DriverSources, FoundSource, KnownSource};
use crate::recipe::files::Files;
use crate::recipe::toolchain::ToolchainChooser;
use crate::script::{self, ConfigureSettings};
use crate::source::{self, ConfiguredDriver, Layout, SourceError};
use crate::unpack::tree_digest_of_folder;

/// The driver's inputs to a build.
#[derive(Clone, Debug)]
pub(crate) struct DriverInputs {
    /// The sources' tree in the store.
    pub(crate) source_sha256: Sha256,
    /// The configured tree: the sources themselves when they are flat.
    pub(crate) tree: Sha256,
    /// Facts about the configured tree, including its checks.
    pub(crate) facts: Arc<ConfiguredDriver>,
    /// The step that configured it, if this build ran the step itself.
    pub(crate) new: Option<Done>,
}

/// The drivers of a run.
pub(crate) struct Drivers {
    engine: Arc<Engine>,
    sources: DriverSources,
    toolchains: Arc<ToolchainChooser>,
    /// Facts about configured trees.
    configured: Memo<Sha256, Arc<ConfiguredDriver>>,
}

impl Drivers {
    pub(crate) fn new(
        engine: Arc<Engine>,
        files: Arc<Files>,
        toolchains: Arc<ToolchainChooser>,
    ) -> Self {
        Self {
            sources: DriverSources::new(engine.clone(), files),
            engine,
            toolchains,
            configured: Memo::default(),
        }
    }

    /// Returns the sources of the drivers.
    pub(crate) fn sources(&self) -> &DriverSources {
        &self.sources
    }

    /// Returns the driver's configured tree, which is configured once for all kernels.
    pub(crate) async fn inputs(&self, build: &Build, mode: Mode) -> Result<DriverInputs, Halt> {
        let driver = &*build.driver;
        let source = self.sources.find(driver, mode).await?;
        let (tree, new) = match &source.known.layout {
            Layout::Flat { module_name } if *module_name != driver.module_name => {
                let message = format!(
                    "the sources of {} are already configured for a module named `{module_name}`, not `{}`; set `module_name` in [driver.\"{}\"]",
                    driver.version, driver.module_name, driver.version
                );
                return Err(
                    Failure::new(FailureClass::Configure, Phase::Configure, message).into(),
                );
            }
            Layout::Flat { .. } => (source.known.tree, None),
            Layout::Old | Layout::CMake => {
                let step = self.step(driver, &source.known, mode).await?;
                let work = self.configure(build, &source);
                let done = self
                    .engine
                    .step(mode, Phase::Configure, step, Box::pin(work))
                    .await?;
                let tree = done.tree(Phase::Configure)?;
                // The old layout is configured without a job, so there is nothing to report.
                let is_told = done.is_own && source.known.layout == Layout::CMake;
                (tree, is_told.then_some(done))
            }
        };
        Ok(DriverInputs {
            source_sha256: source.known.tree,
            facts: self.configured_facts(build, tree, mode).await?,
            tree,
            new,
        })
    }

    /// Returns the key over everything that can change the configured tree.
    async fn step(
        &self,
        driver: &Driver,
        source: &KnownSource,
        mode: Mode,
    ) -> Result<KeyBuilder, Halt> {
        let of = |key: KeyBuilder| {
            key.field("source", source.tree)
                .field("version", &driver.version)
                .field("module name", &driver.module_name)
                .field("device name", &driver.device_name)
        };
        if source.layout == Layout::Old {
            return Ok(of(KeyBuilder::new("configure old layout", 1)));
        }
        let toolchain = self.toolchains.for_configuring(mode).await?;
        let script = render(driver, source)?;
        Ok(of(KeyBuilder::new("configure", 1))
            .field("toolchain", toolchain.identity())
            .field("script", Sha256::of(script)))
    }

    /// Returns facts about a configured tree, including its checks.
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
            match blocking(move || source::read_configured_driver(&folder)).await {
                Ok(facts) => Work::of_facts(&facts, Phase::Configure),
                Err(error) => Err(self.sources.failure(&build.driver, &error).of_step([tree])),
            }
        };
        let done = self
            .engine
            .step(mode, Phase::Configure, inputs, Box::pin(work));
        let facts: Arc<ConfiguredDriver> = Arc::new(done.await?.facts(Phase::Configure)?);
        self.configured.put(tree, facts.clone());
        Ok(facts)
    }

    async fn configure(&self, build: &Build, source: &FoundSource) -> Result<Work, Halt> {
        let driver = &build.driver;
        if source.known.layout == Layout::Old {
            return self.configure_old(driver, source).await;
        }
        let request = JobRequest {
            phase: Phase::Configure,
            toolchain: self.toolchains.for_configuring(Mode::Run).await?,
            network: Network::None,
            kvm: false,
            script: render(driver, &source.known)?,
            mounts: vec![mount(self.sources.tree(driver, source).await?)],
        };
        let result = self.engine.jobs.run(build, &request).await?;
        let left = LeftTree {
            folder: script::CONFIGURED_TREE,
            what: "configured driver",
            role: TreeRole::Driver,
        };
        let jobs = &self.engine.jobs;
        jobs.tree_work(request.phase, result, left).await
    }

    /// Configures sources of the old layout, which needs no job.
    async fn configure_old(
        &self,
        driver: &Arc<Driver>,
        source: &FoundSource,
    ) -> Result<Work, Halt> {
        self.engine.may_begin(Mode::Run)?;
        let folder = self.sources.tree(driver, source).await?;
        let (store, of) = (self.engine.store.clone(), driver.clone());
        let configured = blocking(move || -> Result<_, SourceError> {
            let work = store.temporary_folder()?;
            let tree = work.path().join("tree");
            source::configure_old(&folder, &of, &tree)?;
            let sha256 = tree_digest_of_folder(&tree)?;
            store.put_tree(&tree, sha256)?;
            Ok(sha256)
        });
        match configured.await {
            Ok(sha256) => Ok(Work::of_tree(sha256, TreeRole::Driver)),
            Err(error) => {
                let failure = self.sources.failure(driver, &error);
                Err(failure.of_step([source.known.tree]))
            }
        }
    }

    /// Returns the directory of the configured driver in the store. Configures it again if it was removed.
    async fn driver_tree(&self, build: &Build, tree: Sha256) -> Result<PathBuf, Halt> {
        let driver = &*build.driver;
        let source = self.sources.find(driver, Mode::Run).await?;
        if matches!(source.known.layout, Layout::Flat { .. }) {
            return self.sources.tree(driver, &source).await;
        }
        let whose = format!("driver {}", driver.version);
        let step = self.step(driver, &source.known, Mode::Run).await?;
        let configure = self.configure(build, &source);
        let (trees, phase) = (&self.engine.trees, Phase::Configure);
        trees
            .ensure(&[tree], &step, phase, whose, Box::pin(configure))
            .await?;
        Ok(self.engine.store.tree_path(tree))
    }

    /// Returns the mount of the configured driver.
    pub(crate) async fn mount(&self, build: &Build, driver: &DriverInputs) -> Result<Mount, Halt> {
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
