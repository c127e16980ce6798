//! Facts about a kernel: its packages, its trees, and how the trees are created.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{KeyBuilder, Sha256};
use crate::event::{HostPrograms, TreeOrigin, TreeReport};
use crate::executor::Mount;
use crate::image::BuiltImage;
use crate::kernel::Architecture;
use crate::recipe::kernel::packages::Input;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script::KernelSettings;
use crate::store::Store;
use crate::target::SourceTree;
use crate::verify::{HostProgram, KernelTreeFacts};

/// The packages of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KernelPackages {
    /// Header packages.
    Headers(Arc<KernelInputs>),
    /// A kernel source; the tree is prepared once the toolchain is known.
    Source(Arc<KernelSource>),
}

impl KernelPackages {
    /// Returns the packages.
    pub(crate) fn inputs(&self) -> &[Input] {
        match self {
            Self::Headers(kernel) => &kernel.inputs,
            Self::Source(source) => std::slice::from_ref(&source.input),
        }
    }

    /// Returns the gcc version that the kernel was built with, if its tree or configuration records it.
    pub(crate) fn gcc_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.gcc_version.as_deref(),
            Self::Source(source) => source.facts.gcc_version.as_deref(),
        }
    }

    /// Returns the clang version that the kernel was built with, if it was built with clang.
    pub(crate) fn clang_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.clang_version.as_deref(),
            Self::Source(source) => source.facts.clang_version.as_deref(),
        }
    }
}

/// The kernel's inputs to a build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KernelInputs {
    /// The unpacked packages, with facts about each.
    pub(crate) inputs: Vec<Input>,
    /// The directory that `make -C` is given.
    pub(crate) build_folder: PathBuf,
    /// The result of inspecting the trees.
    pub(crate) inspection: Inspection,
    /// The origin of the trees.
    pub(crate) origin: Origin,
}

/// The origin of a kernel's trees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// The trees of its packages, or of headers installed on this machine.
    Packages,
    /// Prepared from a kernel source.
    Prepared(Arc<Preparation>),
    /// The trees of its packages, with programs that the toolchain can run.
    Adapted(Arc<Adaptation>),
}

impl KernelInputs {
    /// Returns the manifest's record of the tree.
    pub(crate) fn report(&self) -> TreeReport {
        let is_subscribed = self.inputs.iter().any(|input| input.download.is_some());
        let origin = match self.origin {
            Origin::Prepared(_) => TreeOrigin::Source,
            _ if is_subscribed => TreeOrigin::Subscription,
            _ => TreeOrigin::Headers,
        };
        let host_programs = match &self.origin {
            Origin::Packages => HostPrograms::Packaged,
            Origin::Prepared(_) => HostPrograms::Rebuilt,
            Origin::Adapted(adaptation) => adaptation.host_programs(),
        };
        TreeReport {
            origin,
            symbols_checked: self.inspection.facts.has_symvers,
            host_programs,
        }
    }

    /// Adds the kernel's part of a key: its trees and their paths in a job.
    pub(crate) fn add_to_key(&self, mut key: KeyBuilder) -> KeyBuilder {
        key = key.field("kernel folder", self.build_folder.display());
        for (tree, path) in &self.inspection.mounts {
            key = key.field(format!("kernel tree {}", shown_at(path).display()), tree);
        }
        key
    }

    /// Returns the kernel's part of the settings of a job's script.
    pub(crate) fn settings(&self, toolchain: &ChosenToolchain) -> KernelSettings {
        KernelSettings {
            folder: self.build_folder.display().to_string(),
            has_symvers: self.inspection.facts.has_symvers,
            compilers: toolchain.compilers.clone(),
        }
    }

    /// Returns the mounts of a job; the trees must be in the store.
    pub(crate) fn mounts(&self, store: &Store) -> Vec<Mount> {
        let mount = |(tree, path): &(Sha256, PathBuf)| Mount {
            source: store.tree_path(*tree).join(path),
            target: shown_at(path),
        };
        self.inspection.mounts.iter().map(mount).collect()
    }
}

/// The result of inspecting a kernel's trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inspection {
    /// The directories mounted into a job, as tree and path relative to its root.
    pub(crate) mounts: Vec<(Sha256, PathBuf)>,
    /// The directory that `make -C` is given.
    pub(crate) build_folder: PathBuf,
    /// Facts that the header tree records about itself.
    pub(crate) facts: KernelTreeFacts,
    /// The programs of the trees.
    pub(crate) programs: Vec<TreeProgram>,
}

/// Returns the path of a tree's directory in a job: its own path or, if that is the root directory or directly below it
/// (a tarball that is a build tree), a path below `/usr/src`.
pub(crate) fn shown_at(path: &Path) -> PathBuf {
    match path.components().count() {
        0 => Path::new("/usr/src/linux").to_owned(),
        1 => Path::new("/usr/src").join(path),
        _ => Path::new("/").join(path),
    }
}

/// A program of one of a kernel's trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeProgram {
    /// The tree.
    pub(crate) tree: Sha256,
    /// The directory that contains it and is mounted into a job, relative to the tree.
    pub(crate) mount: PathBuf,
    /// The program; its path is relative to `mount`.
    pub(crate) program: HostProgram,
}

/// A kernel source, and the properties of the header tree to prepare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KernelSource {
    /// The archive of the source.
    pub(crate) input: Input,
    /// The configuration's digest.
    pub(crate) configuration: Sha256,
    /// Facts read from the configuration.
    pub(crate) facts: ConfigurationFacts,
    /// Settings specific to the target.
    pub(crate) tree: SourceTree,
    /// Possible values of `UTS_RELEASE`, most likely first.
    pub(crate) uts_releases: Vec<String>,
}

/// Facts read from a kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigurationFacts {
    /// The gcc version that the configuration was made for, such as `12` or `4.9`, if recorded.
    pub(crate) gcc_version: Option<String>,
    /// The clang version, if the configuration was made for clang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clang_version: Option<String>,
}

/// The inputs for preparing a header tree from a kernel source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preparation {
    pub(crate) source: Arc<KernelSource>,
    pub(crate) toolchain: ChosenToolchain,
    /// The directory that `make -C` is given.
    pub(crate) folder: String,
    pub(crate) script: String,
}

/// Trees in which every program can be run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adaptation {
    /// The kernel with the unchanged trees of its packages.
    pub(crate) original: Arc<KernelInputs>,
    pub(crate) plan: ProgramPlan,
    pub(crate) outcome: Adapted,
}

impl Adaptation {
    /// Returns how the programs run, as one value: that of the program farthest from native.
    pub(crate) fn host_programs(&self) -> HostPrograms {
        let Adapted {
            rebuilt,
            newer_libc,
            emulated,
            ..
        } = &self.outcome;
        if !emulated.is_empty() {
            HostPrograms::Emulated
        } else if !newer_libc.is_empty() {
            HostPrograms::NewerLibc
        } else if !rebuilt.is_empty() {
            HostPrograms::Rebuilt
        } else {
            HostPrograms::Packaged
        }
    }
}

/// The plan for programs that cannot be run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProgramPlan {
    pub(crate) toolchain: ChosenToolchain,
    pub(crate) unfit: Vec<TreeProgram>,
    /// The images that run programs without sources, by architecture.
    pub(crate) runtimes: BTreeMap<Architecture, BuiltImage>,
    pub(crate) host: Architecture,
}

/// The result of adapting the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adapted {
    /// Each changed tree and its adapted copy.
    pub(crate) trees: Vec<(Sha256, Sha256)>,
    pub(crate) rebuilt: BTreeSet<PathBuf>,
    /// Programs that run with the loader and libraries of a newer C library.
    pub(crate) newer_libc: BTreeSet<PathBuf>,
    pub(crate) emulated: BTreeSet<PathBuf>,
}
