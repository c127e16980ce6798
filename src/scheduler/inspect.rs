//! Looks into a kernel's trees: which folders a job is shown, which one make is given, what the tree says of itself, and
//! whether it is that of the kernel which was wanted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::host_programs::TreeProgram;
use super::kernel_inputs::Input;
use super::pipeline::Pipeline;
use super::step::{Halt, Mode};
use super::work::Work;
use crate::digest::{KeyBuilder, Sha256};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::ForeignFolder;
use crate::kernel::Kernel;
use crate::target::{BuildFolder, Target};
use crate::verify::{KernelTreeFacts, ReadTreeError, host_programs, read_kernel_tree};

/// What was found in the trees of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Inspection {
    /// The folders that are shown to a job, as tree and path relative to its root.
    pub(super) mounts: Vec<(Sha256, PathBuf)>,
    /// The folder that `make -C` is given.
    pub(super) build_folder: PathBuf,
    /// What the header tree says of itself.
    pub(super) facts: KernelTreeFacts,
    /// The programs of the trees.
    pub(super) programs: Vec<TreeProgram>,
}

/// What a kernel's packages must hold.
pub(super) struct WantedTree<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) build_folder: BuildFolder,
    pub(super) uts_releases: Vec<String>,
}

impl Pipeline {
    /// What is in the trees of a kernel; where they are not what was wanted, a failure.
    pub(super) async fn inspect(
        &self,
        wanted: &WantedTree<'_>,
        inputs: &[Input],
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let mut key = KeyBuilder::new("inspect", 4);
        for name in &wanted.build_folder.names {
            key = key.field("kernel folder", name.display());
        }
        for glob in wanted.build_folder.search {
            key = key.field("kernel folder like", glob);
        }
        if !wanted.build_folder.search.is_empty() {
            for release in &wanted.uts_releases {
                key = key.field("kernel release", release);
            }
        }
        for glob in wanted.target.mount_points() {
            key = key.field("mount point", glob);
        }
        for input in inputs {
            key = key.field("tree", input.tree);
        }
        let work = async {
            self.materialise(inputs).await?;
            match self.look_inside(wanted, inputs) {
                Ok(inspection) => Work::of_facts(&inspection, Phase::Unpack),
                Err(halt) => self.own_failure(inputs.iter().map(|input| input.tree), halt),
            }
        };
        let done = self.steps.step(mode, Phase::Unpack, key, work).await?;
        done.facts(Phase::Unpack)
    }

    fn look_inside(&self, wanted: &WantedTree<'_>, inputs: &[Input]) -> Result<Inspection, Halt> {
        let failed =
            |class, message: String| Halt::from(Failure::new(class, Phase::Unpack, message));
        let globs = |globs: &[&str]| {
            glob_set(globs).map_err(|error| failed(FailureClass::Infrastructure, error.to_string()))
        };
        let mount_points = globs(wanted.target.mount_points())?;
        let search = globs(wanted.build_folder.search)?;
        let mut mounts = Vec::new();
        let mut alike = Vec::new();
        for input in inputs {
            let root = self.store.tree_path(input.tree);
            let of_input = |path| (input.tree, path);
            mounts.extend(
                matching_folders(&root, &mount_points)
                    .into_iter()
                    .map(of_input),
            );
            if !search.is_empty() {
                alike.extend(matching_folders(&root, &search).into_iter().map(of_input));
            }
        }
        if let Some((_, path)) = mounts
            .iter()
            .chain(&alike)
            .find(|(_, path)| path.to_str().is_none())
        {
            let message = format!("the name of {} is not valid UTF-8", path.display());
            return Err(failed(FailureClass::WrongHeaders, message));
        }
        self.keep_one_of_each_path(&mut mounts, &wanted.uts_releases);
        self.keep_one_of_each_path(&mut alike, &wanted.uts_releases);
        let exact = wanted.build_folder.names.iter().find_map(|name| {
            let inside = name.strip_prefix("/").unwrap_or(name);
            let (tree, _) = mounts
                .iter()
                .find(|(tree, path)| inside.starts_with(path) && self.is_folder(*tree, inside))?;
            Some((*tree, inside.to_owned()))
        });
        let folder = match exact {
            Some(found) => Some(found),
            None => self.of_release(&alike, &wanted.uts_releases)?,
        };
        let (tree, inside) = folder.ok_or_else(|| {
            let names = wanted.build_folder.names.iter();
            let mut names: Vec<_> = names.map(|name| name.display().to_string()).collect();
            let like =
                |glob: &&str| format!("/{glob} of kernel {}", wanted.uts_releases.join(" or "));
            names.extend(wanted.build_folder.search.iter().map(like));
            let message = format!("no package holds {}", names.join(" or "));
            failed(FailureClass::WrongHeaders, message)
        })?;
        let facts = self.read_tree(&self.store.tree_path(tree), &inside)?;
        let mut programs = Vec::new();
        for (tree, mount) in &mounts {
            let found = host_programs(&self.store.tree_path(*tree).join(mount)).map_err(
                |error| match error.machine_failure() {
                    Some(error) => self.steps.storage_failure(error, Phase::Unpack),
                    None => failed(FailureClass::WrongHeaders, error.to_string()),
                },
            )?;
            programs.extend(found.into_iter().map(|program| TreeProgram {
                tree: *tree,
                mount: mount.clone(),
                program,
            }));
        }
        Ok(Inspection {
            mounts,
            build_folder: Path::new("/").join(inside),
            facts,
            programs,
        })
    }

    /// Of folders that several packages hold, keeps the one that is the tree of a wanted kernel, else the one of the
    /// smallest digest: never depending on which package comes first.
    fn keep_one_of_each_path(&self, folders: &mut Vec<(Sha256, PathBuf)>, uts_releases: &[String]) {
        let mut by_path: BTreeMap<&Path, Vec<Sha256>> = BTreeMap::new();
        for (tree, path) in folders.iter() {
            by_path.entry(path).or_default().push(*tree);
        }
        let is_other = |tree: Sha256, path: &Path| {
            let facts = read_kernel_tree(&self.store.tree_path(tree).join(path));
            !facts.is_ok_and(|facts| uts_releases.contains(&facts.uts_release))
        };
        let chosen: BTreeMap<PathBuf, Sha256> = by_path
            .into_iter()
            .filter(|(_, trees)| trees.len() > 1)
            .filter_map(|(path, trees)| {
                let best = trees
                    .into_iter()
                    .min_by_key(|tree| (is_other(*tree, path), *tree))?;
                Some((path.to_owned(), best))
            })
            .collect();
        folders.retain(|(tree, path)| chosen.get(path).is_none_or(|best| best == tree));
        folders.dedup();
    }

    /// The one of `folders` whose tree is of a wanted kernel.
    fn of_release(
        &self,
        folders: &[(Sha256, PathBuf)],
        uts_releases: &[String],
    ) -> Result<Option<(Sha256, PathBuf)>, Halt> {
        let mut found = Vec::new();
        for (tree, path) in folders {
            // Folders beside it hold sources only, or another flavour.
            if let Ok(facts) = read_kernel_tree(&self.store.tree_path(*tree), path)
                && uts_releases.contains(&facts.uts_release)
            {
                found.push((*tree, path.clone()));
            }
        }
        match &*found {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|(_, path)| format!("/{}", path.display()))
                    .collect();
                let message = format!("several folders are of this kernel: {}", names.join(", "));
                Err(Failure::new(FailureClass::WrongHeaders, Phase::Unpack, message).into())
            }
        }
    }

    /// Whether a tree has this directory; links out of it lead nowhere.
    fn is_folder(&self, tree: Sha256, inside: &Path) -> bool {
        ForeignFolder::open(&self.store.tree_path(tree)).is_ok_and(|tree| tree.is_folder(inside))
    }

    /// Reads the header tree in the directory `inside` of the tree `root`.
    pub(super) fn read_tree(&self, root: &Path, inside: &Path) -> Result<KernelTreeFacts, Halt> {
        self.tree_facts(read_kernel_tree(root, inside))
    }

    /// What was read of a header tree; a tree that cannot be used is the wrong one.
    pub(super) fn tree_facts<T>(&self, read: Result<T, ReadTreeError>) -> Result<T, Halt> {
        read.map_err(|error| {
            if let Some(error) = error.machine_failure() {
                return self.steps.storage_failure(error, Phase::Unpack);
            }
            let message = error.to_string();
            Failure::new(FailureClass::WrongHeaders, Phase::Unpack, message).into()
        })
    }
}

/// Compares what a tree says of itself with the kernel that was wanted.
pub(super) fn check_claims(
    kernel: &Kernel,
    uts_releases: &[String],
    facts: &KernelTreeFacts,
) -> Result<(), Failure> {
    let wrong = |message| {
        Err(Failure::new(
            FailureClass::WrongHeaders,
            Phase::Unpack,
            message,
        ))
    };
    if !uts_releases.contains(&facts.uts_release) {
        return wrong(format!(
            "the header tree is of kernel {}, not {}: check the packages named for {kernel}",
            facts.uts_release,
            uts_releases.join(" or ")
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
