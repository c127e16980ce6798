//! From a kernel's packages to its trees: fetched and unpacked; `inspect` looks inside.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use super::host_programs::Adaptation;
use super::inspect::{Inspection, WantedTree, check_claims, shown_at};
use super::installed::installed_folder;
use super::packages::request_for_text;
use super::pipeline::{Pipeline, kernel_name};
use super::prepare::{KernelSource, Preparation};
use super::step::{Halt, Mode};
use super::subscription::Download;
use crate::digest::{KeyBuilder, Sha256};
use crate::event::{HostPrograms, InputReport, TreeOrigin, TreeReport};
use crate::executor::Mount;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Fetched};
use crate::kernel::Kernel;
use crate::plan::Build;
use crate::target::{Target, TreeKind, WantedPackage};
use crate::verify::read_symvers;

/// What a build needs of its kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KernelInputs {
    /// The packages that are unpacked, with what is known of each.
    pub(super) inputs: Vec<Input>,
    /// The folder that `make -C` is given.
    pub(super) build_folder: PathBuf,
    /// What was found in the trees.
    pub(super) inspection: Inspection,
    /// How the tree is made, where it is not those of the packages.
    pub(super) preparation: Option<Arc<Preparation>>,
    /// How its programs can be run, where the toolchain cannot run all of them.
    pub(super) adaptation: Option<Arc<Adaptation>>,
}

/// What a kernel's packages are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KernelPackages {
    /// Header packages.
    Headers(Arc<KernelInputs>),
    /// A kernel source, of which a tree is made once the toolchain is known.
    Source(Arc<KernelSource>),
}

impl KernelPackages {
    /// The packages.
    pub(super) fn inputs(&self) -> &[Input] {
        match self {
            Self::Headers(kernel) => &kernel.inputs,
            Self::Source(source) => std::slice::from_ref(&source.input),
        }
    }

    /// The gcc that the kernel was built with, where its tree or configuration says it.
    pub(super) fn gcc_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.gcc_version.as_deref(),
            Self::Source(source) => source.facts.gcc_version.as_deref(),
        }
    }

    /// The clang that the kernel was built with, where it was.
    pub(super) fn clang_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.clang_version.as_deref(),
            Self::Source(source) => source.facts.clang_version.as_deref(),
        }
    }
}

/// One package of a kernel and the tree that it gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) package: WantedPackage,
    pub(super) fetched: Fetched,
    pub(super) tree: Sha256,
    /// How it is downloaded, where it has no address.
    pub(super) download: Option<Arc<Download>>,
}

impl Input {
    /// Its row of the manifest.
    pub(super) fn report(&self) -> InputReport {
        InputReport {
            url: match &*self.package.candidates {
                [url] => Arc::clone(url),
                _ => self.fetched.url.as_str().into(),
            },
            sha256: Some(self.fetched.sha256),
            size_bytes: Some(self.fetched.size_bytes),
        }
    }
}

impl KernelInputs {
    /// What the manifest says of the tree.
    pub(super) fn report(&self) -> TreeReport {
        let is_subscribed = self.inputs.iter().any(|input| input.download.is_some());
        let origin = match self.preparation {
            None if is_subscribed => TreeOrigin::Subscription,
            None => TreeOrigin::Headers,
            Some(_) => TreeOrigin::Source,
        };
        let host_programs = match (&self.adaptation, &self.preparation) {
            (Some(adaptation), _) => adaptation.host_programs(),
            (None, Some(_)) => HostPrograms::Rebuilt,
            (None, None) => HostPrograms::Packaged,
        };
        TreeReport {
            origin,
            symbols_checked: self.inspection.facts.has_symvers,
            host_programs,
        }
    }

    /// Adds what of the kernel goes into a key: its trees and where they are shown.
    pub(super) fn add_to_key(&self, mut key: KeyBuilder) -> KeyBuilder {
        key = key.field("kernel folder", self.build_folder.display());
        for (tree, path) in &self.inspection.mounts {
            key = key.field(format!("kernel tree {}", shown_at(path).display()), tree);
        }
        key
    }
}

impl Pipeline {
    /// The kernel's packages and trees; each package is fetched and unpacked once for the whole run.
    pub(super) async fn kernel_inputs(
        &self,
        build: &Build,
        mode: Mode,
    ) -> Result<KernelPackages, Halt> {
        let kernel = &*build.kernel;
        let missing =
            |problem: String| Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, problem);
        let wrong =
            |problem: String| Failure::new(FailureClass::WrongHeaders, Phase::Fetch, problem);
        let target = crate::target::rules_of(kernel)
            .ok_or_else(|| {
                missing(format!(
                    "target {} has no rules, and no packages are named for {kernel}: name them with `headers`",
                    kernel.target
                ))
            })?;
        if let Some(folder) = installed_folder(kernel) {
            let installed = self.installed_inputs(target, kernel, folder, mode).await;
            return installed.map(KernelPackages::Headers);
        }
        let kernel = &*self.with_upstream(target, kernel, mode).await?;
        let mut inputs = match target.tree_kind(kernel).map_err(wrong)? {
            TreeKind::Headers => {
                let packages = target.header_packages(kernel, self.host).map_err(missing)?;
                if mode == Mode::Run && self.retried_kernels.get(&kernel_name(build)).is_some() {
                    self.distrust(&packages);
                }
                self.fetched_inputs(packages, mode).await?
            }
            TreeKind::Source(tree) => {
                let source = self.kernel_source(target, kernel, tree, mode).await?;
                return Ok(KernelPackages::Source(Arc::new(source)));
            }
            TreeKind::Subscription(subscription) => {
                self.subscribed_inputs(build, subscription, mode).await?
            }
        };
        let build_folder = target.build_folder(kernel).map_err(wrong)?;
        let uts_releases = target.uts_releases(kernel).map_err(wrong)?;
        let wanted = WantedTree {
            target,
            build_folder,
            uts_releases,
        };
        let looked = self.inspect_claimed(kernel, &wanted, &inputs, mode).await;
        let inspection = match looked {
            Err(Halt::Failed(failed)) if self.may_be_other_headers(&failed, &inputs) => {
                match mode {
                    Mode::Lookup => return Err(Halt::Failed(failed)),
                    Mode::Run => self.refuse_inputs(&inputs, &failed.failure.message)?,
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
            preparation: None,
            adaptation: None,
        })))
    }

    /// What is in the trees, if it is what the packages claim to be.
    async fn inspect_claimed(
        &self,
        kernel: &Kernel,
        wanted: &WantedTree<'_>,
        inputs: &[Input],
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let inspection = self.inspect(wanted, inputs, mode).await?;
        check_claims(kernel, &wanted.uts_releases, &inspection.facts)?;
        Ok(inspection)
    }

    /// Packages with addresses, unpacked.
    async fn fetched_inputs(
        &self,
        packages: Vec<WantedPackage>,
        mode: Mode,
    ) -> Result<Vec<Input>, Halt> {
        futures_util::future::try_join_all(packages.into_iter().map(async |package| {
            let (fetched, tree) = self.fetch_and_unpack(&package, mode).await?;
            Ok::<_, Halt>(Input {
                package,
                fetched,
                tree,
                download: None,
            })
        }))
        .await
    }

    /// The kernel with what its distribution says of it elsewhere: Flatcar's package list has the kernel's version.
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
            let fetched = self.fetch_unknown(&request, mode).await?;
            let text = crate::fs::read(&self.store.blob_path(fetched.sha256))
                .map_err(|error| self.steps.storage_failure(&error, Phase::Fetch))?;
            match target.read_upstream(&String::from_utf8_lossy(&text)) {
                Ok(upstream) => break upstream,
                Err(_) if mode == Mode::Lookup => return Err(Halt::Missing),
                Err(problem) if self.fetcher.is_one_local_file(&request.candidates) => {
                    let message = format!("{}: {problem}", fetched.url);
                    let class = FailureClass::HeadersNotFound;
                    return Err(Failure::new(class, Phase::Fetch, message).into());
                }
                Err(problem) => self.refuse(&request.candidates, fetched.sha256, &problem)?,
            }
        };
        Ok(Cow::Owned(Kernel {
            upstream: Some(upstream),
            ..kernel.clone()
        }))
    }

    /// The symbols that the kernel offers to modules, where its tree has them.
    pub(super) fn symvers(&self, kernel: &KernelInputs) -> Result<Option<String>, Halt> {
        if !kernel.inspection.facts.has_symvers {
            return Ok(None);
        }
        let mut mounts = kernel.inspection.mounts.iter();
        let found = mounts.find_map(|(tree, path)| {
            let inside = kernel.build_folder.strip_prefix(shown_at(path)).ok()?;
            Some((self.store.tree_path(*tree), path.join(inside)))
        });
        let Some((root, inside)) = found else {
            return Ok(None);
        };
        // It was there when the tree was inspected.
        self.tree_facts(read_symvers(&root, &inside)).map(Some)
    }

    /// The mounts of a job, once the trees are there.
    pub(super) fn kernel_mounts(&self, kernel: &KernelInputs) -> Vec<Mount> {
        let mount = |(tree, path): &(Sha256, PathBuf)| Mount {
            source: self.store.tree_path(*tree).join(path),
            target: shown_at(path),
        };
        kernel.inspection.mounts.iter().map(mount).collect()
    }
}
