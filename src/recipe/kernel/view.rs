//! Inspects unpacked trees: which directories jobs see, which one is the kernel's build tree, and what it records about
//! itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::digest::Sha256;
use crate::engine::Engine;
use crate::engine::halt::Halt;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::ForeignFolder;
use crate::recipe::kernel::tree::{Inspection, TreeProgram, shown_at};
use crate::target::{BuildFolder, Target};
use crate::verify::{ReadTreeError, host_programs, read_kernel_tree};

/// The maximum depth of a build tree in a package.
const DEEPEST_TREE: usize = 8;

/// The build tree that a kernel's packages must contain.
#[derive(Clone)]
pub(crate) struct WantedTree {
    pub(crate) target: &'static dyn Target,
    pub(crate) build_folder: BuildFolder,
    pub(crate) uts_releases: Vec<String>,
}

impl WantedTree {
    /// Returns the message for a build tree that no package contains.
    pub(crate) fn is_missing(&self) -> String {
        let releases = self.uts_releases.join(" or ");
        let names = self.build_folder.names.iter();
        let mut names: Vec<_> = names.map(|name| name.display().to_string()).collect();
        let like = |glob: &&str| format!("/{glob} of kernel {releases}");
        names.extend(self.build_folder.search.iter().map(like));
        if names.is_empty() {
            names.push(format!("the build tree of kernel {releases}"));
        }
        format!("no package holds {}", names.join(" or "))
    }
}

fn wrong_headers(message: String) -> Halt {
    Failure::new(FailureClass::WrongHeaders, Phase::Unpack, message).into()
}

/// The trees to inspect, on a thread that may block.
pub(crate) struct View {
    pub(crate) engine: Arc<Engine>,
    pub(crate) wanted: WantedTree,
    pub(crate) trees: Vec<Sha256>,
}

impl View {
    pub(crate) fn look_inside(&self) -> Result<Inspection, Halt> {
        let mut mounts = self.folders_like(self.wanted.target.mount_points())?;
        let mut alike = self.folders_like(self.wanted.build_folder.search)?;
        self.keep_one_of_each_path(&mut mounts, &self.wanted.uts_releases);
        self.keep_one_of_each_path(&mut alike, &self.wanted.uts_releases);
        let exact = self.wanted.build_folder.names.iter().find_map(|name| {
            let inside = name.strip_prefix("/").unwrap_or(name);
            let (tree, _) = mounts
                .iter()
                .find(|(tree, path)| inside.starts_with(path) && self.is_folder(*tree, inside))?;
            Some((*tree, inside.to_owned()))
        });
        let folder = match exact {
            Some(found) => Some(found),
            None => self.of_release(&alike, &self.wanted.uts_releases)?,
        };
        let folder = folder.ok_or_else(|| wrong_headers(self.wanted.is_missing()))?;
        self.inspection(mounts, folder)
    }

    /// Looks for the tree of the wanted kernel by the typical files of a kernel tree.
    pub(crate) fn look_everywhere(&self) -> Result<Inspection, Halt> {
        let mut mounts = self.folders_like(self.wanted.target.mount_points())?;
        self.keep_one_of_each_path(&mut mounts, &self.wanted.uts_releases);
        let trees = self.trees.iter().flat_map(|&tree| {
            let folders = kernel_trees(&self.engine.store.tree_path(tree));
            folders.into_iter().map(move |path| (tree, path))
        });
        let trees: Vec<(Sha256, PathBuf)> = trees.collect();
        let Some((tree, folder)) = self.of_release(&trees, &self.wanted.uts_releases)? else {
            let found: Vec<String> = trees
                .iter()
                .filter_map(|(tree, path)| {
                    let facts = read_kernel_tree(&self.engine.store.tree_path(*tree), path).ok()?;
                    Some(format!("{} in /{}", facts.uts_release, path.display()))
                })
                .collect();
            let found = if found.is_empty() {
                "they hold no complete kernel tree (Makefile, .config, include/generated, scripts)"
                    .to_owned()
            } else {
                format!("they hold the tree of {}", found.join(", "))
            };
            return Err(wrong_headers(format!(
                "{}; {found}",
                self.wanted.is_missing()
            )));
        };
        let is_shown = |(of, mount): &(Sha256, PathBuf)| *of == tree && folder.starts_with(mount);
        if !mounts.iter().any(is_shown) {
            mounts.push((tree, folder.clone()));
        }
        self.inspection(mounts, (tree, folder))
    }

    /// Returns the directories of the trees that match one of `globs`.
    fn folders_like(&self, globs: &[&str]) -> Result<Vec<(Sha256, PathBuf)>, Halt> {
        if globs.is_empty() {
            return Ok(Vec::new());
        }
        let globs = glob_set(globs).map_err(|error| {
            let class = FailureClass::Infrastructure;
            Halt::from(Failure::new(class, Phase::Unpack, error.to_string()))
        })?;
        let of_tree = |&tree: &Sha256| {
            let folders = matching_folders(&self.engine.store.tree_path(tree), &globs);
            folders.into_iter().map(move |path| (tree, path))
        };
        let found: Vec<(Sha256, PathBuf)> = self.trees.iter().flat_map(of_tree).collect();
        match found.iter().find(|(_, path)| path.to_str().is_none()) {
            Some((_, path)) => Err(wrong_headers(format!(
                "the name of {} is not valid UTF-8",
                path.display()
            ))),
            None => Ok(found),
        }
    }

    /// Reads the facts that the tree in `folder` records about itself.
    fn inspection(
        &self,
        mounts: Vec<(Sha256, PathBuf)>,
        (tree, folder): (Sha256, PathBuf),
    ) -> Result<Inspection, Halt> {
        let facts = tree_facts(
            &self.engine,
            read_kernel_tree(&self.engine.store.tree_path(tree), &folder),
        )?;
        let mut programs = Vec::new();
        for (tree, mount) in &mounts {
            let found = host_programs(&self.engine.store.tree_path(*tree).join(mount)).map_err(
                |error| match error.machine_failure() {
                    Some(error) => self.engine.steps.storage_failure(error, Phase::Unpack),
                    None => wrong_headers(error.to_string()),
                },
            )?;
            programs.extend(found.into_iter().map(|program| TreeProgram {
                tree: *tree,
                mount: mount.clone(),
                program,
            }));
        }
        let mount = mounts
            .iter()
            .filter(|(of, _)| *of == tree)
            .find(|(_, mount)| folder.starts_with(mount));
        let build_folder = match mount {
            Some((_, mount)) => shown_at(mount).join(folder.strip_prefix(mount).unwrap_or(&folder)),
            None => Path::new("/").join(&folder),
        };
        Ok(Inspection {
            mounts,
            build_folder: build_folder.components().collect(),
            facts,
            programs,
        })
    }

    /// If several packages contain the same directory, keeps the one with the tree of a wanted kernel, else the one
    /// with the smallest digest. So the choice never depends on the order of the packages.
    fn keep_one_of_each_path(&self, folders: &mut Vec<(Sha256, PathBuf)>, uts_releases: &[String]) {
        let mut by_path: BTreeMap<&Path, Vec<Sha256>> = BTreeMap::new();
        for (tree, path) in folders.iter() {
            by_path.entry(path).or_default().push(*tree);
        }
        let is_other = |tree: Sha256, path: &Path| {
            let facts = read_kernel_tree(&self.engine.store.tree_path(tree), path);
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

    /// Returns the one of `folders` that contains the tree of a wanted kernel.
    fn of_release(
        &self,
        folders: &[(Sha256, PathBuf)],
        uts_releases: &[String],
    ) -> Result<Option<(Sha256, PathBuf)>, Halt> {
        let mut found = Vec::new();
        for (tree, path) in folders {
            // Neighbouring directories contain only sources, or another flavour.
            if let Ok(facts) = read_kernel_tree(&self.engine.store.tree_path(*tree), path)
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
                let message = format!(
                    "several directories contain this kernel: {}",
                    names.join(", ")
                );
                Err(wrong_headers(message))
            }
        }
    }

    /// Returns true if the tree has this directory; links out of the tree are not followed.
    fn is_folder(&self, tree: Sha256, inside: &Path) -> bool {
        ForeignFolder::open(&self.engine.store.tree_path(tree))
            .is_ok_and(|tree| tree.is_folder(inside))
    }
}

/// Converts the result of reading a header tree; an unusable tree is a failure of class `WrongHeaders`.
pub(crate) fn tree_facts<T>(engine: &Engine, read: Result<T, ReadTreeError>) -> Result<T, Halt> {
    read.map_err(|error| {
        if let Some(error) = error.machine_failure() {
            return engine.steps.storage_failure(error, Phase::Unpack);
        }
        let message = error.to_string();
        Failure::new(FailureClass::WrongHeaders, Phase::Unpack, message).into()
    })
}

fn glob_set(globs: &[&str]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}

/// Returns the directories below `root` (relative to it) that match, outermost first, sorted.
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

/// Returns the directories below `root` (relative to it) that are kernel build trees, outermost first, sorted: they
/// have a Makefile, scripts, and the generated header with the kernel release.
pub(crate) fn kernel_trees(root: &Path) -> Vec<PathBuf> {
    let is_tree = |folder: &Path| {
        let is_there = |name: &str| folder.join(name).symlink_metadata().is_ok();
        is_there("Makefile")
            && is_there("scripts")
            && (is_there("include/generated/utsrelease.h")
                || is_there("include/linux/utsrelease.h"))
    };
    let mut found = Vec::new();
    let mut entries = walkdir::WalkDir::new(root)
        .max_depth(DEEPEST_TREE)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_dir() && is_tree(entry.path()) {
            found.extend(entry.path().strip_prefix(root).map(Path::to_owned));
            entries.skip_current_dir();
        }
    }
    found
}
