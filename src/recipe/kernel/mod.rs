//! The kernels of a run: turns each kernel's packages into the trees that jobs see.

mod adapted_tree;
mod configurations;
mod inspect;
mod installed;
mod own_image;
pub(crate) mod packages;
mod prepare;
mod programs;
mod subscription;
pub(crate) mod tree;
mod view;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Sha256;
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::Memo;
use crate::engine::work::Done;
use crate::executor::Mount;
use crate::failure::Phase;
use crate::fetch::{ContentKind, SingleFlight};
use crate::kernel::{Kernel, KernelId};
use crate::plan::Build;
use crate::recipe::files::{Files, request_for_text};
use crate::recipe::kernel::inspect::{Inspector, check_claims};
use crate::recipe::kernel::installed::{Installed, installed_folder};
use crate::recipe::kernel::packages::{Input, Packages};
use crate::recipe::kernel::prepare::Preparer;
use crate::recipe::kernel::programs::Programs;
use crate::recipe::kernel::subscription::Subscriptions;
use crate::recipe::kernel::tree::{Inspection, KernelInputs, KernelPackages, KernelSource, Origin};
use crate::recipe::kernel::view::WantedTree;
use crate::recipe::toolchain::{ChosenToolchain, ToolchainChooser};
use crate::target::{Target, TargetError, TreeKind, WantedPackage};

/// The kernels of a run.
pub(crate) struct Kernels {
    engine: Arc<Engine>,
    files: Arc<Files>,
    packages: Arc<Packages>,
    inspector: Inspector,
    installed: Installed,
    preparer: Preparer,
    subscriptions: Subscriptions,
    programs: Programs,
    known: Memo<PackagesId, Result<KernelPackages, Halt>>,
    flights: SingleFlight<PackagesId, KernelPackages, Halt>,
    /// Packages with a cached failure to retry.
    doubted: Memo<PackagesId, ()>,
}

impl Kernels {
    pub(crate) fn new(
        engine: Arc<Engine>,
        files: Arc<Files>,
        packages: Arc<Packages>,
        toolchains: Arc<ToolchainChooser>,
    ) -> Self {
        Self {
            inspector: Inspector::new(engine.clone(), packages.clone()),
            installed: Installed::new(engine.clone()),
            preparer: Preparer::new(engine.clone(), files.clone(), packages.clone()),
            subscriptions: Subscriptions::new(engine.clone(), packages.clone(), toolchains.clone()),
            programs: Programs::new(engine.clone(), packages.clone(), toolchains),
            engine,
            files,
            packages,
            known: Memo::default(),
            flights: SingleFlight::default(),
            doubted: Memo::default(),
        }
    }

    /// Returns the kernel's packages, found once for all builds of a run. The caller that does the work adds its time
    /// to `phases`.
    pub(crate) async fn packages(
        &self,
        build: &Build,
        mode: Mode,
        phases: &mut Vec<(Phase, Duration)>,
    ) -> Result<KernelPackages, Halt> {
        let id = packages_id(build);
        if let Some(known) = self.known.get(&id) {
            // What a lookup did not find in the cache, a run may build.
            if mode == Mode::Lookup || known != Err(Halt::Missing) {
                return known;
            }
        }
        let inputs = if mode == Mode::Lookup {
            self.find(build, mode).await
        } else {
            if !matches!(self.known.get(&id), Some(Ok(_))) {
                self.engine.events.phase(build, Phase::Fetch);
            }
            // Only the caller that does the work counts the time; the others wait.
            let work = async || {
                let clock = Instant::now();
                let inputs = self.find(build, mode).await;
                phases.push((Phase::Fetch, clock.elapsed()));
                inputs
            };
            self.flights.run(id.clone(), work).await
        };
        // The result of a stopped run must not be used as an answer later.
        if inputs != Err(Halt::NotRun) {
            self.known.put(id, inputs.clone());
        }
        inputs
    }

    /// Requests the URLs of a build's packages again, because a cached failure is retried.
    pub(crate) fn doubt(&self, build: &Build) {
        self.doubted.put(packages_id(build), ());
    }

    /// Forgets the packages of a build's kernel.
    pub(crate) fn forget(&self, build: &Build) {
        self.known.remove(&packages_id(build));
    }

    /// Returns the kernel's trees for a toolchain, with the step that created them if this build ran it.
    pub(crate) async fn trees(
        &self,
        build: &Build,
        packages: &KernelPackages,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Arc<KernelInputs>, Option<Done>), Halt> {
        match packages {
            KernelPackages::Headers(kernel) => {
                let programs = &self.programs;
                programs.with_programs(build, kernel, toolchain, mode).await
            }
            KernelPackages::Source(source) => {
                let preparer = &self.preparer;
                preparer.prepared(build, source, toolchain, mode).await
            }
        }
    }

    /// Returns the digest of the kernel image, and the key of the step that built it, for a kernel whose package is a
    /// kernel source. The first build takes minutes.
    pub(crate) async fn own_image(
        &self,
        build: &Build,
        source: &KernelSource,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Sha256, Sha256), Halt> {
        let preparer = &self.preparer;
        preparer.own_image(build, source, toolchain, mode).await
    }

    /// Returns the mounts of a job. Ensures that all trees of the kernel are in the store, rebuilding those that were
    /// removed.
    pub(crate) async fn mounts(
        &self,
        build: &Build,
        kernel: &KernelInputs,
    ) -> Result<Vec<Mount>, Halt> {
        match &kernel.origin {
            Origin::Packages => self.packages.materialise(&kernel.inputs).await?,
            Origin::Prepared(preparation) => {
                let preparer = &self.preparer;
                preparer.materialise(build, kernel, preparation).await?;
            }
            Origin::Adapted(adaptation) => self.programs.materialise(build, adaptation).await?,
        }
        Ok(kernel.mounts(&self.engine.store))
    }

    /// Returns the symbols that the kernel exports to modules, if its tree lists them.
    pub(crate) async fn symvers(&self, kernel: &KernelInputs) -> Result<Option<String>, Halt> {
        self.inspector.symvers(kernel).await
    }

    /// Finds the kernel's packages and trees; each package is fetched and unpacked once for the whole run.
    async fn find(&self, build: &Build, mode: Mode) -> Result<KernelPackages, Halt> {
        let kernel = &*build.kernel;
        let target = crate::target::rules_of(kernel).ok_or_else(|| {
            TargetError::Unknown(format!(
                "target {} has no rules, and no packages are named for {kernel}: name them with `headers`",
                kernel.target
            ))
        })?;
        if let Some(folder) = installed_folder(kernel) {
            let installed = self.installed.inputs(target, kernel, folder, mode).await;
            return installed.map(KernelPackages::Headers);
        }
        let kernel = &*self.with_upstream(target, kernel, mode).await?;
        let mut inputs = match target.tree_kind(kernel)? {
            TreeKind::Headers => {
                let packages = target.header_packages(kernel, self.engine.host)?;
                if mode == Mode::Run && self.doubted.get(&packages_id(build)).is_some() {
                    self.packages.distrust(&packages);
                }
                self.fetched_inputs(packages, mode).await?
            }
            TreeKind::Source(tree) => {
                let source = self.preparer.source(target, kernel, tree, mode).await?;
                return Ok(KernelPackages::Source(Arc::new(source)));
            }
            TreeKind::Subscription(subscription) => {
                self.subscriptions.inputs(build, subscription, mode).await?
            }
        };
        let build_folder = target.build_folder(kernel)?;
        let uts_releases = target.uts_releases(kernel)?;
        let wanted = WantedTree {
            target,
            build_folder,
            uts_releases,
        };
        let looked = self.inspect_claimed(kernel, &wanted, &inputs, mode).await;
        let inspection = match looked {
            Err(Halt::Failed(failed)) if self.packages.may_be_other_headers(&failed, &inputs) => {
                match mode {
                    Mode::Lookup => return Err(Halt::Failed(failed)),
                    Mode::Run => self
                        .packages
                        .refuse_inputs(&inputs, &failed.failure.message)?,
                }
                let packages = inputs.into_iter().map(|input| input.package);
                inputs = self.fetched_inputs(packages.collect(), mode).await?;
                self.inspect_claimed(kernel, &wanted, &inputs, mode).await?
            }
            looked => looked?,
        };
        Ok(KernelPackages::Headers(Arc::new(KernelInputs {
            inputs,
            build_folder: inspection.build_folder.clone(),
            inspection,
            origin: Origin::Packages,
        })))
    }

    /// Inspects the trees, and fails if they belong to another kernel.
    async fn inspect_claimed(
        &self,
        kernel: &Kernel,
        wanted: &WantedTree,
        inputs: &[Input],
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let inspection = self.inspector.inspect(wanted, inputs, mode).await?;
        check_claims(kernel, &wanted.uts_releases, &inspection.facts)?;
        Ok(inspection)
    }

    /// Fetches and unpacks packages that have URLs.
    async fn fetched_inputs(
        &self,
        packages: Vec<WantedPackage>,
        mode: Mode,
    ) -> Result<Vec<Input>, Halt> {
        futures_util::future::try_join_all(packages.into_iter().map(async |package| {
            let (fetched, tree) = self.packages.fetch_and_unpack(&package, mode).await?;
            Ok::<_, Halt>(Input {
                package,
                fetched,
                tree,
                download: None,
            })
        }))
        .await
    }

    /// Returns the kernel with facts that its distribution publishes elsewhere: Flatcar's package list has the kernel's
    /// version.
    async fn with_upstream<'a>(
        &self,
        target: &dyn Target,
        kernel: &'a Kernel,
        mode: Mode,
    ) -> Result<Cow<'a, Kernel>, Halt> {
        let list = target
            .upstream_list(kernel)
            .filter(|_| kernel.upstream.is_none());
        let Some(list) = list else {
            return Ok(Cow::Borrowed(kernel));
        };
        let request = request_for_text(&list, ContentKind::Text);
        let upstream = loop {
            let fetched = self.files.fetch_unless_known(&request, mode).await?;
            let list = self.engine.store.blob_path(fetched.sha256);
            let text = mode.blocking(move || crate::fs::read(&list)).await;
            let text = text.map_err(self.engine.stored(Phase::Fetch))?;
            match target.read_upstream(&String::from_utf8_lossy(&text)) {
                Ok(upstream) => break upstream,
                Err(_) if mode == Mode::Lookup => return Err(Halt::Missing),
                Err(problem) if self.engine.fetcher.is_one_local_file(&request.candidates) => {
                    let message = format!("{}: {problem}", fetched.url);
                    return Err(TargetError::Unknown(message).into());
                }
                Err(problem) => {
                    let (candidates, why) = (&request.candidates, problem.to_string());
                    self.files.refuse(candidates, fetched.sha256, &why)?;
                }
            }
        };
        Ok(Cow::Owned(Kernel {
            upstream: Some(Box::new(upstream)),
            ..kernel.clone()
        }))
    }
}

/// The memo key of a kernel's packages. Includes the build's image, which downloads packages of a subscription.
type PackagesId = (KernelId, Option<String>);

fn packages_id(build: &Build) -> PackagesId {
    (build.kernel.id(), build.settings.image.clone())
}
