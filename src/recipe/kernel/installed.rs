//! A kernel's header tree that is installed on this machine, used instead of packages.
//!
//! The tree is copied into the store like a package's tree, together with the directories that its links and the
//! includes of its Makefile refer to, at the same paths. So a build sees nothing else of this machine, and a changed
//! tree is a different tree.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::work::Work;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::{self, FileError, blocking};
use crate::kernel::Kernel;
use crate::recipe::kernel::inspect::check_claims;
use crate::recipe::kernel::tree::{Inspection, KernelInputs, Origin, shown_at};
use crate::recipe::kernel::view::{kernel_trees, tree_facts};
use crate::source::{SourceError, copy_folder};
use crate::store::Store;
use crate::target::Target;
use crate::unpack::tree_digest_of_folder;
use crate::verify::{read_installed_tree, read_kernel_tree};

/// The maximum number of directories, more than any header tree refers to.
const MOST_FOLDERS: usize = 16;

/// The depth at which a directory belongs to a single package: `/usr/lib/linux-kbuild-6.1`.
const DEPTH_OF_A_PACKAGE: usize = 3;

/// Returns the directory of the header tree, if a kernel's only package is a directory of this machine.
pub(crate) fn installed_folder(kernel: &Kernel) -> Option<&Path> {
    match &*kernel.packages {
        [only] => Some(Path::new(&*only.url)).filter(|path| path.is_absolute() && path.is_dir()),
        _ => None,
    }
}

/// Copies header trees that are installed on this machine.
pub(crate) struct Installed {
    engine: Arc<Engine>,
}

impl Installed {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Returns the kernel's installed tree.
    pub(crate) async fn inputs(
        &self,
        target: &dyn Target,
        kernel: &Kernel,
        folder: &Path,
        mode: Mode,
    ) -> Result<Arc<KernelInputs>, Halt> {
        let failed = |error: SourceError| -> Halt {
            if let Some(error) = error.machine_failure() {
                return self.engine.steps.storage_failure(error, Phase::Unpack);
            }
            let message = format!("the installed headers {}: {error}", folder.display());
            Failure::new(FailureClass::WrongHeaders, Phase::Unpack, message).into()
        };
        let (given, of) = (folder.to_owned(), kernel.clone());
        let found = mode.blocking(move || Found::of(&given, &of)).await;
        let Found {
            folder,
            folders,
            digests,
        } = found.map_err(failed)?;
        let mut step = KeyBuilder::new("installed", 2);
        for (path, digest) in folders.iter().zip(digests) {
            step = step.field(format!("folder {}", path.display()), digest);
        }
        let take = async || {
            self.engine.may_begin(Mode::Run)?;
            let (store, folders) = (self.engine.store.clone(), folders.clone());
            match blocking(move || copy_into_store(&store, &folders)).await {
                Ok(sha256) => Ok(Work::of_tree(sha256, TreeRole::Package)),
                Err(error) => Err(failed(error).of_step([])),
            }
        };
        let done = self
            .engine
            .step(mode, Phase::Unpack, step.clone(), Box::pin(take()));
        let tree = done.await?.tree(Phase::Unpack)?;
        if mode == Mode::Run {
            let whose = format!("the installed headers {}", folder.display());
            let trees = &self.engine.trees;
            trees
                .ensure(&[tree], &step, Phase::Unpack, whose, Box::pin(take()))
                .await?;
        }
        let read = folder.clone();
        let read = mode.blocking(move || read_installed_tree(&read)).await;
        let facts = tree_facts(&self.engine, read)?;
        // The `uname -r` of an installed kernel, or the distribution's name for it.
        let mut releases = target.uts_releases(kernel).unwrap_or_default();
        releases.push(kernel.release.to_string());
        check_claims(kernel, &releases, &facts)?;
        let relative = |path: &PathBuf| path.strip_prefix("/").unwrap_or(path).to_owned();
        let build_folder = if folder.components().count() > 2 {
            folder
        } else {
            shown_at(&relative(&folder))
        };
        let inspection = Inspection {
            mounts: folders.iter().map(|path| (tree, relative(path))).collect(),
            build_folder: build_folder.clone(),
            facts,
            // The programs run on this machine.
            programs: Vec::new(),
        };
        Ok(Arc::new(KernelInputs {
            inputs: Vec::new(),
            build_folder,
            inspection,
            origin: Origin::Packages,
        }))
    }
}

/// An installed header tree.
struct Found {
    /// The tree.
    folder: PathBuf,
    /// The directories that are mounted into a job, sorted.
    folders: Vec<PathBuf>,
    /// The digest of each directory's content.
    digests: Vec<Sha256>,
}

impl Found {
    fn of(given: &Path, kernel: &Kernel) -> Result<Self, SourceError> {
        let folder = given.canonicalize().map_err(FileError::of("find", given))?;
        let folder = tree_of(&folder, kernel);
        let folders = folders_of(&folder)?;
        let digests = folders.iter().map(|folder| tree_digest_of_folder(folder));
        Ok(Self {
            digests: digests.collect::<Result<_, _>>()?,
            folder,
            folders,
        })
    }
}

/// Copies the directories into a tree of the store.
fn copy_into_store(store: &Store, folders: &[PathBuf]) -> Result<Sha256, SourceError> {
    let work = store.temporary_folder()?;
    let tree = work.path().join("tree");
    for folder in folders {
        copy_folder(
            folder,
            &tree.join(folder.strip_prefix("/").unwrap_or(folder)),
        )?;
    }
    remove_foreign_kernels(&tree, folders)?;
    let sha256 = tree_digest_of_folder(&tree)?;
    store.put_tree(&tree, sha256)?;
    Ok(sha256)
}

/// The name of a whole kernel in its tree.
const VMLINUX: &str = "vmlinux";

/// Removes from the copy of `folders` each `vmlinux` that links to a file outside of them: it is the kernel that the
/// machine happens to run (`/sys/kernel/btf/vmlinux`), whose types would end up in modules.
fn remove_foreign_kernels(copy: &Path, folders: &[PathBuf]) -> Result<(), FileError> {
    let entries = WalkDir::new(copy).into_iter().filter_map(Result::ok);
    let is_kernel =
        |entry: &walkdir::DirEntry| entry.path_is_symlink() && entry.file_name() == VMLINUX;
    for entry in entries.filter(is_kernel) {
        let path = entry.path();
        let original = Path::new("/").join(path.strip_prefix(copy).unwrap_or(path));
        let leads_inside = original
            .canonicalize()
            .is_ok_and(|target| folders.iter().any(|folder| target.starts_with(folder)));
        if !leads_inside {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Finds the build tree in a directory: the only one in or below it, or the one of the given kernel, else the directory
/// itself.
fn tree_of(folder: &Path, kernel: &Kernel) -> PathBuf {
    let trees = kernel_trees(folder);
    let is_wanted = |path: &&PathBuf| {
        let facts = read_kernel_tree(folder, path);
        facts.is_ok_and(|facts| facts.uts_release == kernel.release.as_str())
    };
    match &*trees {
        [only] => folder.join(only),
        several => match several.iter().find(is_wanted) {
            Some(tree) => folder.join(tree),
            None => folder.to_owned(),
        },
    }
    .components()
    .collect()
}

/// Returns the directory of a header tree and all directories that it refers to, none inside another.
fn folders_of(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut folders = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(current) = folders.get(next).cloned() {
        next += 1;
        for reference in references(&current)? {
            let is_known = folders.iter().any(|known| reference.starts_with(known));
            if !is_known && folders.len() < MOST_FOLDERS {
                folders.retain(|known| !known.starts_with(&reference));
                folders.push(reference);
                next = next.min(folders.len() - 1);
            }
        }
    }
    folders.sort();
    Ok(folders)
}

/// Returns the directories that the links in a directory and the includes of its Makefile refer to.
fn references(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(FileError::of("read directory", folder))? {
        entries.push(
            entry
                .map_err(FileError::of("read directory", folder))?
                .path(),
        );
    }
    entries.sort();
    let is_kernel = |path: &&PathBuf| path.ends_with(VMLINUX);
    let links = entries.iter().filter(|path| path.is_symlink());
    for path in links.filter(|path| !is_kernel(path)) {
        // Dangling links are ignored.
        found.extend(path.canonicalize().ok());
    }
    let makefile = std::fs::read(folder.join("Makefile")).unwrap_or_default();
    for line in String::from_utf8_lossy(&makefile).lines() {
        let included = line.strip_prefix("include ").map(str::trim);
        let path = included.map(Path::new).filter(|path| path.is_absolute());
        found.extend(path.and_then(|path| path.canonicalize().ok()));
    }
    Ok(found.iter().map(|path| package_of(path)).collect())
}

/// Returns the directory around `path` that belongs to one package.
fn package_of(path: &Path) -> PathBuf {
    let parts: Vec<_> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    if parts.len() <= DEPTH_OF_A_PACKAGE {
        return path.to_owned();
    }
    Path::new("/").join(parts.iter().take(DEPTH_OF_A_PACKAGE).collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_directory_is_found_by_depth() {
        for (path, package) in [
            (
                "/usr/lib/linux-kbuild-6.1/scripts",
                "/usr/lib/linux-kbuild-6.1",
            ),
            (
                "/usr/src/linux-headers-6.1.0-1-common/Makefile",
                "/usr/src/linux-headers-6.1.0-1-common",
            ),
            ("/usr/src/linux", "/usr/src/linux"),
        ] {
            assert_eq!(package_of(Path::new(path)), Path::new(package));
        }
    }

    #[test]
    fn links_and_includes_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        // Three levels deep, like packages.
        let package = |name: &str| root.join(name);
        crate::fs::write(
            &package("arch/Makefile"),
            format!("include {}\n", package("common/Makefile").display()),
        )
        .unwrap();
        crate::fs::write(&package("common/Makefile"), "all:\n").unwrap();
        crate::fs::write(&package("kbuild/scripts/x"), "").unwrap();
        std::os::unix::fs::symlink(package("kbuild/scripts"), package("common/scripts")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", package("common/broken")).unwrap();
        let found = folders_of(&package("arch")).unwrap();
        let deep = |path: PathBuf| package_of(&path);
        let mut expected = vec![
            package("arch"),
            deep(package("common")),
            deep(package("kbuild/scripts")),
        ];
        expected.sort();
        expected.dedup();
        for folder in expected {
            assert!(
                found.iter().any(|found| folder.starts_with(found)),
                "{folder:?} is not in {found:?}"
            );
        }
    }
}
