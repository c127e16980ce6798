//! What is known of a kernel: its packages, its trees, and how those come about.

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

/// What a kernel's packages are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KernelPackages {
    /// Header packages.
    Headers(Arc<KernelInputs>),
    /// A kernel source, of which a tree is made once the toolchain is known.
    Source(Arc<KernelSource>),
}

impl KernelPackages {
    /// The packages.
    pub(crate) fn inputs(&self) -> &[Input] {
        match self {
            Self::Headers(kernel) => &kernel.inputs,
            Self::Source(source) => std::slice::from_ref(&source.input),
        }
    }

    /// The gcc that the kernel was built with, where its tree or configuration says it.
    pub(crate) fn gcc_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.gcc_version.as_deref(),
            Self::Source(source) => source.facts.gcc_version.as_deref(),
        }
    }

    /// The clang that the kernel was built with, where it was.
    pub(crate) fn clang_version(&self) -> Option<&str> {
        match self {
            Self::Headers(kernel) => kernel.inspection.facts.clang_version.as_deref(),
            Self::Source(source) => source.facts.clang_version.as_deref(),
        }
    }
}

/// What a build needs of its kernel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KernelInputs {
    /// The packages that are unpacked, with what is known of each.
    pub(crate) inputs: Vec<Input>,
    /// The directory that `make -C` is given.
    pub(crate) build_folder: PathBuf,
    /// What was found in the trees.
    pub(crate) inspection: Inspection,
    /// How the trees come about.
    pub(crate) origin: Origin,
}

/// How the trees of a kernel come about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// They are those of its packages, or of the headers that are installed on this machine.
    Packages,
    /// Made from a kernel source.
    Prepared(Arc<Preparation>),
    /// Those of the packages, with programs that the toolchain can run.
    Adapted(Arc<Adaptation>),
}

impl KernelInputs {
    /// What the manifest says about the tree.
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

    /// Adds what of the kernel goes into a key: its trees and where they are shown.
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

    /// The mounts of a job, once the trees are in the store.
    pub(crate) fn mounts(&self, store: &Store) -> Vec<Mount> {
        let mount = |(tree, path): &(Sha256, PathBuf)| Mount {
            source: store.tree_path(*tree).join(path),
            target: shown_at(path),
        };
        self.inspection.mounts.iter().map(mount).collect()
    }
}

/// What was found in the trees of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inspection {
    /// The directories that are shown to a job, as tree and path relative to its root.
    pub(crate) mounts: Vec<(Sha256, PathBuf)>,
    /// The directory that `make -C` is given.
    pub(crate) build_folder: PathBuf,
    /// What the header tree says about itself.
    pub(crate) facts: KernelTreeFacts,
    /// The programs of the trees.
    pub(crate) programs: Vec<TreeProgram>,
}

/// Where a directory of a tree is shown to a job: at its own place or, where that would be the root of the file system
/// or a directory in it (a tarball that is a build tree), below `/usr/src`.
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
    /// The directory of the tree that it is below, and that is shown to a job.
    pub(crate) mount: PathBuf,
    /// The program; its path is relative to `mount`.
    pub(crate) program: HostProgram,
}

/// A kernel source, and what its header tree is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KernelSource {
    /// The archive of the source.
    pub(crate) input: Input,
    /// The configuration's digest.
    pub(crate) configuration: Sha256,
    /// What is read out of the configuration.
    pub(crate) facts: ConfigurationFacts,
    /// What is particular to the target.
    pub(crate) tree: SourceTree,
    /// What `UTS_RELEASE` can be, most probable first.
    pub(crate) uts_releases: Vec<String>,
}

/// What is read out of a kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigurationFacts {
    /// The gcc that the configuration was made for, `12` or `4.9`, where it says so.
    pub(crate) gcc_version: Option<String>,
    /// The clang that it was made for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clang_version: Option<String>,
}

/// How a header tree is made of a kernel source.
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
    /// The kernel as its packages have it.
    pub(crate) original: Arc<KernelInputs>,
    pub(crate) plan: ProgramPlan,
    pub(crate) outcome: Adapted,
}

impl Adaptation {
    /// Whose the programs are, in one word: that of those which are farthest from the machine's own.
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

/// What is to be done about the programs that cannot be run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProgramPlan {
    pub(crate) toolchain: ChosenToolchain,
    pub(crate) unfit: Vec<TreeProgram>,
    /// What runs those that have no sources, by machine.
    pub(crate) runtimes: BTreeMap<Architecture, BuiltImage>,
    pub(crate) host: Architecture,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adapted {
    /// Each tree that was changed, and what it became.
    pub(crate) trees: Vec<(Sha256, Sha256)>,
    pub(crate) rebuilt: BTreeSet<PathBuf>,
    /// With the loader and libraries of a newer C library.
    pub(crate) newer_libc: BTreeSet<PathBuf>,
    pub(crate) emulated: BTreeSet<PathBuf>,
}
