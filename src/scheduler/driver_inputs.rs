//! From a driver's sources to the configured tree that every kernel's build starts from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checks::script_failure;
use super::job::{JobRequest, LeftTree};
use super::kernel_inputs::unexpected;
use super::pipeline::Pipeline;
use super::step::{Done, Halt, Mode, Work};
use crate::cache::{StepResult, TreeRole};
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::{Driver, DriverLocation};
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Request};
use crate::plan::Build;
use crate::script::{self, ConfigureSettings};
use crate::source::{self, ConfiguredDriver, DriverSource, Layout, SourceError};
use crate::unpack::{self, UnpackError, tree_digest_of_folder};

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

/// What is known of driver sources: their tree in the store and how they are laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownSource {
    tree: Sha256,
    layout: Layout,
    has_probe: bool,
}

/// Where sources are on this machine.
enum Place {
    /// A folder or tarball.
    File(PathBuf),
    /// The content of a commit.
    Commit { repository: PathBuf, tree: String },
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
                match done.result()? {
                    StepResult::Tree { sha256, .. } => (*sha256, None),
                    other => return Err(unexpected(other, Phase::Configure)),
                }
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
                match done.result()? {
                    StepResult::Tree { sha256, .. } => (*sha256, done.is_own.then_some(done)),
                    other => return Err(unexpected(other, Phase::Configure)),
                }
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
        let inputs = KeyBuilder::new("read driver", 2).field("driver tree", tree);
        let work = async {
            let folder = self.driver_tree(build, tree).await?;
            let facts = source::read_configured_driver(&folder)
                .map_err(|error| self.source_failure(&build.driver, &error))?;
            facts_work(&facts)
        };
        let done = self
            .steps
            .step(mode, Phase::Configure, inputs, work)
            .await?;
        let facts: Arc<ConfiguredDriver> = Arc::new(read_facts(&done)?);
        self.configured.put(tree, facts.clone());
        Ok(facts)
    }

    async fn source(&self, driver: &Driver, mode: Mode) -> Result<Arc<KnownSource>, Halt> {
        if let Some(known) = self.sources.get(&driver.version) {
            return known;
        }
        let found = self.find_source(driver, mode).await.map(Arc::new);
        if !matches!(found, Err(Halt::Missing | Halt::NotRun)) {
            self.sources.put(driver.version.clone(), found.clone());
        }
        found
    }

    async fn find_source(&self, driver: &Driver, mode: Mode) -> Result<KnownSource, Halt> {
        let failed = |error: SourceError| self.source_failure(driver, &error);
        let (place, inputs) = match &driver.location {
            DriverLocation::Url(url) => {
                let (path, sha256) = self.fetch_source(url, mode).await?;
                let key = KeyBuilder::new("source", 1).field("tarball", sha256);
                (Place::File(path), key)
            }
            DriverLocation::Path(path) => {
                (Place::File(path.clone()), local_key(path).map_err(failed)?)
            }
            DriverLocation::Git {
                repository,
                reference,
            } => {
                let tree = source::resolve(repository, reference).map_err(failed)?;
                let key = KeyBuilder::new("source", 1).field("git tree", &tree);
                let repository = repository.clone();
                (Place::Commit { repository, tree }, key)
            }
        };
        let work = async {
            self.may_begin(Mode::Run)?;
            facts_work(&self.take_source(&place).map_err(failed)?)
        };
        let done = self
            .steps
            .step(mode, Phase::Configure, inputs, work)
            .await?;
        read_facts(&done)
    }

    /// Brings what a build needs of the sources at `place` into the store.
    fn take_source(&self, place: &Place) -> Result<KnownSource, SourceError> {
        let work = self.store.temporary_folder()?;
        let unpacked = work.path().join("unpacked");
        let archived = work.path().join("archived.tar");
        let path = match place {
            Place::File(path) => path,
            Place::Commit { repository, tree } => {
                source::archive(repository, tree, &archived)?;
                &archived
            }
        };
        let folder = if path.is_dir() {
            path
        } else {
            crate::fs::create_folder(&unpacked)?;
            unpack::unpack(path, &unpacked, &unpack::Limits::default())?;
            &unpacked
        };
        let source = source::read_source(folder)?;
        let tree = work.path().join("tree");
        source::copy_parts(&source, &tree)?;
        let sha256 = tree_digest_of_folder(&tree)?;
        self.store.put_tree(&tree, sha256)?;
        Ok(KnownSource {
            tree: sha256,
            layout: source.layout,
            has_probe: source.has_probe,
        })
    }

    async fn fetch_source(&self, url: &str, mode: Mode) -> Result<(PathBuf, Sha256), Halt> {
        let candidates = vec![Arc::from(url)];
        let fetched = if let Some(known) = self.fetcher.known(&candidates, None) {
            known
        } else {
            self.may_begin(mode)?;
            let request = Request {
                candidates,
                sha256: None,
                size_bytes: None,
                kind: ContentKind::Tarball,
            };
            let fetched = Box::pin(self.fetcher.fetch(&request)).await;
            fetched.map_err(|error| Halt::from(error.failure()))?
        };
        Ok((self.store.blob_path(fetched.sha256), fetched.sha256))
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
        self.tree_work(build, Phase::Configure, &result, &left)
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
        source::configure_old(&folder, &build.driver, &tree).map_err(failed)?;
        let sha256 = tree_digest_of_folder(&tree).map_err(|error| failed(error.into()))?;
        self.store.put_tree(&tree, sha256).map_err(stored)?;
        let role = TreeRole::Driver;
        Ok(Work::plain(StepResult::Tree { sha256, role }))
    }

    /// The folder of the sources in the store; taken again when it was cleaned away.
    fn source_tree(&self, build: &Build, source: &KnownSource) -> Result<PathBuf, Halt> {
        if !self.store.has_tree(source.tree) {
            let failed = |error: SourceError| self.source_failure(&build.driver, &error);
            let place = match &build.driver.location {
                DriverLocation::Path(path) => Place::File(path.clone()),
                DriverLocation::Url(url) => {
                    let known = self.fetcher.known(&[Arc::from(url.as_str())], None);
                    let known = known.ok_or(Halt::NotRun)?;
                    Place::File(self.store.blob_path(known.sha256))
                }
                DriverLocation::Git {
                    repository,
                    reference,
                } => Place::Commit {
                    repository: repository.clone(),
                    tree: source::resolve(repository, reference).map_err(failed)?,
                },
            };
            self.take_source(&place).map_err(failed)?;
        }
        self.store.touch_tree(source.tree);
        Ok(self.store.tree_path(source.tree))
    }

    /// The folder of the configured driver in the store; configured again when it was cleaned away.
    async fn driver_tree(&self, build: &Build, tree: Sha256) -> Result<PathBuf, Halt> {
        if !self.store.has_tree(tree) {
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
                match configured.result {
                    StepResult::Tree { sha256, .. } => Ok(sha256),
                    StepResult::Failure(failure) => Err(failure.into()),
                    other => Err(unexpected(&other, Phase::Configure)),
                }
            };
            let found = self.trees.run(tree, again).await?;
            if found != tree || !self.store.has_tree(tree) {
                let message = format!(
                    "driver {} gave another tree than before; its sources changed while the run went on",
                    build.driver.version
                );
                return Err(
                    Failure::new(FailureClass::Infrastructure, Phase::Configure, message).into(),
                );
            }
        }
        self.store.touch_tree(tree);
        Ok(self.store.tree_path(tree))
    }

    /// What sources that cannot be used mean: a disk that fails says nothing about a driver.
    fn source_failure(&self, driver: &Driver, error: &SourceError) -> Halt {
        match error {
            SourceError::File(error) | SourceError::Unpack(UnpackError::File(error))
                if !error.is_not_found() =>
            {
                self.steps.storage_failure(error, Phase::Configure)
            }
            _ => {
                let message = format!("driver {}: {error}", driver.version);
                Failure::new(FailureClass::Configure, Phase::Configure, message).into()
            }
        }
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

/// What stands for sources on this machine: the content of a tarball, or of the parts of a folder that count.
fn local_key(path: &Path) -> Result<KeyBuilder, SourceError> {
    let key = KeyBuilder::new("source", 1);
    if path.is_file() {
        let file = std::fs::File::open(path).map_err(crate::fs::FileError::of("read", path))?;
        let (sha256, _) =
            Sha256::of_reader(file).map_err(crate::fs::FileError::of("read", path))?;
        return Ok(key.field("tarball", sha256));
    }
    let source: DriverSource = source::read_source(path)?;
    let mut key = key;
    for part in source.parts() {
        key = key.field(*part, tree_digest_of_folder(&source.folder.join(part))?);
    }
    Ok(key)
}

pub(super) fn facts_work(facts: &impl Serialize) -> Result<Work, Halt> {
    let value = serde_json::to_value(facts).map_err(|error| {
        Failure::new(
            FailureClass::Infrastructure,
            Phase::Configure,
            error.to_string(),
        )
    })?;
    Ok(Work::plain(StepResult::Facts(value)))
}

pub(super) fn read_facts<T: serde::de::DeserializeOwned>(done: &Done) -> Result<T, Halt> {
    match done.result()? {
        StepResult::Facts(value) => serde_json::from_value(value.clone()).map_err(|error| {
            let message = format!("kept facts of a driver cannot be read: {error}");
            Failure::new(FailureClass::Infrastructure, Phase::Configure, message).into()
        }),
        other => Err(unexpected(other, Phase::Configure)),
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
