//! From a kernel's packages to its trees: fetch, unpack, look inside, compare with what was wanted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::pipeline::Pipeline;
use super::step::{Halt, Mode, Work};
use crate::cache::{StepResult, TreeRole};
use crate::digest::{KeyBuilder, Sha256};
use crate::event::InputReport;
use crate::executor::Mount;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{Fetched, Request};
use crate::kernel::{Kernel, Package};
use crate::target::Target;
use crate::unpack::{self, unpack_into_store};
use crate::verify::{KernelTreeFacts, ReadTreeError, read_kernel_tree};

/// What a build needs of its kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KernelInputs {
    /// The packages that are unpacked, with what is known of each.
    pub(super) inputs: Vec<Input>,
    /// The folder that `make -C` is given.
    pub(super) build_folder: PathBuf,
    /// What was found in the trees.
    pub(super) inspection: Inspection,
    /// What the trees' `UTS_RELEASE` is, as the target computes it from the packages.
    pub(super) uts_release: String,
}

/// One package of a kernel and the tree that it gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) package: Package,
    pub(super) fetched: Fetched,
    pub(super) tree: Sha256,
}

/// What was found in the trees of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Inspection {
    /// The folders that are shown to a job, as tree and path relative to its root.
    pub(super) mounts: Vec<(Sha256, PathBuf)>,
    /// What the header tree says of itself.
    pub(super) facts: KernelTreeFacts,
}

impl KernelInputs {
    /// The rows of the manifest.
    pub(super) fn reports(&self) -> Vec<InputReport> {
        let report = |input: &Input| InputReport {
            url: input.package.url.clone(),
            sha256: Some(input.fetched.sha256),
            size_bytes: Some(input.fetched.size_bytes),
        };
        self.inputs.iter().map(report).collect()
    }

    /// Adds what of the kernel goes into a key: its trees and where they are shown.
    pub(super) fn add_to_key(&self, mut key: KeyBuilder) -> KeyBuilder {
        key = key.field("kernel folder", self.build_folder.display());
        for (tree, path) in &self.inspection.mounts {
            key = key.field(format!("kernel tree /{}", path.display()), tree);
        }
        key
    }
}

impl Pipeline {
    /// The kernel's packages and trees; each package is fetched and unpacked once for the whole run.
    pub(super) async fn kernel_inputs(
        &self,
        kernel: &Kernel,
        mode: Mode,
    ) -> Result<Arc<KernelInputs>, Halt> {
        let target = crate::target::find(&kernel.target).ok_or_else(|| {
            let message = format!(
                "target {} has no builder yet: its builds can only be planned",
                kernel.target
            );
            Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message)
        })?;
        let known =
            |problem: String| Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, problem);
        target.check_packages(kernel, self.host).map_err(known)?;
        let wrong =
            |problem: String| Failure::new(FailureClass::WrongHeaders, Phase::Fetch, problem);
        let build_folder = target.build_folder(kernel).map_err(wrong)?;
        let uts_release = target.uts_release(kernel).map_err(wrong)?;
        let packages: Vec<&Package> = kernel.packages_for(self.host).collect();
        let inputs =
            futures_util::future::try_join_all(packages.into_iter().map(async |package| {
                let fetched = self.fetch(package, mode).await?;
                let tree = self.unpack(package, &fetched, mode).await?;
                Ok::<_, Halt>(Input {
                    package: package.clone(),
                    fetched,
                    tree,
                })
            }))
            .await?;
        let inspection = self.inspect(target, &inputs, &build_folder, mode).await?;
        check_claims(kernel, &uts_release, &inspection.facts)?;
        Ok(Arc::new(KernelInputs {
            inputs,
            build_folder,
            inspection,
            uts_release,
        }))
    }

    async fn fetch(&self, package: &Package, mode: Mode) -> Result<Fetched, Halt> {
        // A digest from the lock is enough to know what comes of the package; its content is fetched once it is needed.
        if let Some(sha256) = package.sha256 {
            return Ok(Fetched {
                sha256,
                size_bytes: package.size_bytes.unwrap_or_default(),
                url: package.url.to_string(),
            });
        }
        let request = Request::for_package(package);
        if let Some(known) = self.fetcher.known(&request.candidates, None) {
            return Ok(known);
        }
        self.may_begin(mode)?;
        let fetched = Box::pin(self.fetcher.fetch(&request)).await;
        fetched.map_err(|error| error.failure().into())
    }

    async fn unpack(
        &self,
        package: &Package,
        fetched: &Fetched,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        let key = KeyBuilder::new("unpack", 2).field("package", fetched.sha256);
        let work = async {
            let sha256 = self.unpack_now(package, fetched.sha256).await?;
            let role = TreeRole::Package;
            Ok(Work::plain(StepResult::Tree { sha256, role }))
        };
        let done = self.steps.step(mode, Phase::Unpack, key, work).await?;
        match done.result()? {
            StepResult::Tree { sha256, .. } => Ok(*sha256),
            other => Err(unexpected(other, Phase::Unpack)),
        }
    }

    /// Unpacks a package whose outcome is not known or whose tree was cleaned away.
    async fn unpack_now(&self, package: &Package, sha256: Sha256) -> Result<Sha256, Halt> {
        self.may_begin(Mode::Run)?;
        if !self.store.has_blob(sha256) {
            let mut request = Request::for_package(package);
            request.sha256 = Some(sha256);
            let fetched = Box::pin(self.fetcher.fetch(&request)).await;
            fetched.map_err(|error| Halt::from(error.failure()))?;
        }
        let _slot = self
            .unpack_slots
            .acquire()
            .await
            .map_err(|_| Halt::NotRun)?;
        let store = self.store.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            unpack_into_store(&store, sha256, &unpack::Limits::default())
        })
        .await;
        let tree = unpacked.map_err(|_| Halt::NotRun)?;
        tree.map(|tree| tree.sha256)
            .map_err(|error| error.failure(&package.url).into())
    }

    async fn inspect(
        &self,
        target: &dyn Target,
        inputs: &[Input],
        build_folder: &Path,
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let mut key = KeyBuilder::new("inspect", 1).field("kernel folder", build_folder.display());
        for glob in target.mount_points() {
            key = key.field("mount point", glob);
        }
        for input in inputs {
            key = key.field("tree", input.tree);
        }
        let work = async {
            self.materialise(inputs).await?;
            let inspection = self.look_inside(target, inputs, build_folder)?;
            let value = serde_json::to_value(&inspection).map_err(|error| {
                Failure::new(
                    FailureClass::Infrastructure,
                    Phase::Unpack,
                    error.to_string(),
                )
            })?;
            Ok(Work::plain(StepResult::Facts(value)))
        };
        let done = self.steps.step(mode, Phase::Unpack, key, work).await?;
        match done.result()? {
            StepResult::Facts(value) => serde_json::from_value(value.clone()).map_err(|error| {
                let message = format!("kept facts of a kernel tree cannot be read: {error}");
                Failure::new(FailureClass::Infrastructure, Phase::Unpack, message).into()
            }),
            other => Err(unexpected(other, Phase::Unpack)),
        }
    }

    /// Makes sure that the trees are in the store, unpacking those again that were cleaned away.
    pub(super) async fn materialise(&self, inputs: &[Input]) -> Result<(), Halt> {
        for input in inputs {
            if self.store.has_tree(input.tree) {
                self.store.touch_tree(input.tree);
                continue;
            }
            let unpack = || self.unpack_now(&input.package, input.fetched.sha256);
            let unpacked = self.trees.run(input.tree, unpack).await?;
            if unpacked != input.tree {
                let message = format!(
                    "{} was unpacked to another tree than before; run `driverkit-matrix cache verify`",
                    input.package.url
                );
                return Err(Failure::new(FailureClass::Unpack, Phase::Unpack, message).into());
            }
        }
        Ok(())
    }

    fn look_inside(
        &self,
        target: &dyn Target,
        inputs: &[Input],
        build_folder: &Path,
    ) -> Result<Inspection, Halt> {
        let failed =
            |class, message: String| Halt::from(Failure::new(class, Phase::Unpack, message));
        let globs = glob_set(target.mount_points())
            .map_err(|error| failed(FailureClass::Infrastructure, error.to_string()))?;
        let mut mounts = Vec::new();
        for input in inputs {
            let root = self.store.tree_path(input.tree);
            mounts.extend(
                matching_folders(&root, &globs)
                    .into_iter()
                    .map(|path| (input.tree, path)),
            );
        }
        let inside = build_folder.strip_prefix("/").unwrap_or(build_folder);
        let (tree, _) = mounts
            .iter()
            .find(|(_, path)| inside.starts_with(path))
            .ok_or_else(|| {
                let message = format!("no package holds {}", build_folder.display());
                failed(FailureClass::WrongHeaders, message)
            })?;
        let facts = read_kernel_tree(&self.store.tree_path(*tree).join(inside)).map_err(
            |error| match error {
                ReadTreeError::File(error) if !error.is_not_found() => {
                    self.steps.storage_failure(&error, Phase::Unpack)
                }
                error => failed(FailureClass::WrongHeaders, error.to_string()),
            },
        )?;
        Ok(Inspection { mounts, facts })
    }

    /// The symbols that the kernel offers to modules, where its tree has them.
    pub(super) fn symvers(&self, kernel: &KernelInputs) -> Option<String> {
        if !kernel.inspection.facts.has_symvers {
            return None;
        }
        let inside = kernel
            .build_folder
            .strip_prefix("/")
            .unwrap_or(&kernel.build_folder);
        let mounts = &kernel.inspection.mounts;
        let (tree, _) = mounts.iter().find(|(_, path)| inside.starts_with(path))?;
        std::fs::read_to_string(
            self.store
                .tree_path(*tree)
                .join(inside)
                .join("Module.symvers"),
        )
        .ok()
    }

    /// The mounts of a job, once the trees are there.
    pub(super) fn kernel_mounts(&self, kernel: &KernelInputs) -> Vec<Mount> {
        let mount = |(tree, path): &(Sha256, PathBuf)| Mount {
            source: self.store.tree_path(*tree).join(path),
            target: Path::new("/").join(path),
        };
        kernel.inspection.mounts.iter().map(mount).collect()
    }
}

/// Compares what a tree says of itself with the kernel that was wanted.
fn check_claims(
    kernel: &Kernel,
    uts_release: &str,
    facts: &KernelTreeFacts,
) -> Result<(), Failure> {
    let wrong = |message| {
        Err(Failure::new(
            FailureClass::WrongHeaders,
            Phase::Unpack,
            message,
        ))
    };
    if facts.uts_release != uts_release {
        return wrong(format!(
            "the header tree is of kernel {}, not {uts_release}: check the packages named for {kernel}",
            facts.uts_release
        ));
    }
    match facts.architecture {
        Some(architecture) if architecture != kernel.architecture => wrong(format!(
            "the header tree is for {architecture}, not {}: check the packages named for {kernel}",
            kernel.architecture
        )),
        _ => Ok(()),
    }
}

pub(super) fn unexpected(result: &StepResult, phase: Phase) -> Halt {
    let message = format!(
        "the cache holds something else under this key: {result:?}; run `driverkit-matrix cache verify --remove`"
    );
    Failure::new(FailureClass::Infrastructure, phase, message).into()
}

fn glob_set(globs: &[&str]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}

/// The folders below `root` (relative to it) that match, outermost first, sorted.
fn matching_folders(root: &Path, globs: &GlobSet) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries = walkdir::WalkDir::new(root)
        .min_depth(1)
        .max_depth(6)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { continue };
        if !entry.file_type().is_dir() {
            continue;
        }
        if let Ok(relative) = entry.path().strip_prefix(root)
            && globs.is_match(relative)
        {
            found.push(relative.to_owned());
            entries.skip_current_dir();
        }
    }
    found
}
