//! The store: contents by digest, shared by all runs of a machine.
//!
//! `blobs/` holds files (packages, artifacts, logs), `trees/` holds unpacked directories, both named by their digest
//! and never changed; `files/` holds one name of every file that trees share; `temporary/<run>/` is where things are
//! made before they are renamed into place. Two runs may use one store: a thing appears whole or not at all, and
//! clean-up waits until no run holds the store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod files;
mod shared;
mod tree;

pub use files::{SharedFile, SharedFiles};
pub use shared::{Claim, Shared};
pub use tree::{FoundTree, tree_times};

use crate::digest::{HashingWriter, Sha256};
use crate::fs::{self, FileError, Lock, OpenFolder, PendingFile};

/// A store that is open: it cannot be cleaned up by another process until dropped.
pub struct Store {
    root: OpenFolder,
    temporary: PathBuf,
    shared: Option<Arc<dyn Shared>>,
    _open_lock: Option<Lock>,
    _temporary_lock: Option<Lock>,
}

impl Store {
    /// Opens the store in directory `root`, which is made when missing, for the run `run_id`; removes the temporary
    /// files of runs that are dead.
    pub fn open(root: &Path, run_id: &str) -> Result<Self, FileError> {
        Self::open_with(root, run_id, Lock::shared)
    }

    /// Opens the store for reading: nothing is created, not even the directory.
    pub fn to_read(root: &Path) -> Result<Self, FileError> {
        let lock_path = root.join("lock");
        let open_lock = if lock_path.exists() {
            Some(Lock::shared(&lock_path)?)
        } else {
            None
        };
        Ok(Self {
            root: OpenFolder::new(root.to_owned()),
            temporary: root.join("temporary"),
            shared: None,
            _open_lock: open_lock,
            _temporary_lock: None,
        })
    }

    /// Like [`Self::open`], but waits until no other process has the store open and locks others
    /// out, for clean-up.
    pub fn open_alone(root: &Path, run_id: &str) -> Result<Self, FileError> {
        Self::open_with(root, run_id, Lock::exclusive)
    }

    fn open_with(
        root: &Path,
        run_id: &str,
        lock: impl FnOnce(&Path) -> Result<Lock, FileError>,
    ) -> Result<Self, FileError> {
        fs::create_folder(root)?;
        // Backup programs leave a directory alone that holds this file.
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc55\n")?;
        }
        let all = root.join("temporary");
        let lock_path = root.join("lock");
        if has_dead(&all)?
            && let Some(_alone) = Lock::try_exclusive(&lock_path)?
        {
            sweep(root)?;
        }
        let open_lock = lock(&lock_path)?;
        let temporary = all.join(run_id);
        // Before the directory: one without a lock that is held counts as a dead run's.
        let temporary_lock = Lock::exclusive(&all.join(format!("{run_id}.lock")))?;
        fs::create_folder(&temporary)?;
        let store = Self {
            root: OpenFolder::new(root.to_owned()),
            temporary,
            shared: None,
            _open_lock: Some(open_lock),
            _temporary_lock: Some(temporary_lock),
        };
        for dead in dead(&all)? {
            fs::remove_folder(&dead.folder)?;
            fs::remove_file(&dead.lock_path)?;
        }
        Ok(store)
    }

    /// Removes the files that killed runs had not finished. The caller holds the store alone (see
    /// [`Self::open_alone`]).
    pub fn sweep(&self) -> Result<(), FileError> {
        sweep(self.root())
    }

    /// Adds a store that several machines share.
    #[must_use]
    pub fn with_shared(mut self, shared: Arc<dyn Shared>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// The shared store, if there is one.
    pub fn shared(&self) -> Option<&Arc<dyn Shared>> {
        self.shared.as_ref()
    }

    /// Whether this store or the shared store has a content.
    pub fn knows_blob(&self, digest: Sha256) -> bool {
        self.has_blob(digest) || self.is_shared(digest)
    }

    /// Whether the shared store has a content.
    pub fn is_shared(&self, digest: Sha256) -> bool {
        let has = |shared: &Arc<dyn Shared>| shared.has(digest);
        self.shared.as_ref().is_some_and(has)
    }

    /// Copies a content from the shared store, unless this store has it. Returns whether it is here
    /// afterwards; an unusable content is logged as a warning, since other places may have it.
    pub async fn fetch_shared(self: &Arc<Self>, digest: Sha256) -> bool {
        if self.has_blob(digest) {
            return true;
        }
        let Some(shared) = &self.shared else {
            return false;
        };
        match shared.fetch(digest, self).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("{error}");
                false
            }
        }
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The content of the file at `path` below that directory.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.root.open(path)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// A new, empty directory of this run, on the same file system as everything else in the store.
    pub fn temporary_folder(&self) -> Result<tempfile::TempDir, FileError> {
        tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(&self.temporary)
            .map_err(FileError::of("create a directory in", &self.temporary))
    }

    /// Where the file with this digest is, if it is there.
    pub fn blob_path(&self, digest: Sha256) -> PathBuf {
        let name = digest.to_string();
        self.root().join("blobs").join(&name[..2]).join(name)
    }

    /// Whether the file with this digest is there.
    pub fn has_blob(&self, digest: Sha256) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Whether the file with this digest is there with its content; one that a broken disk changed is removed.
    pub fn has_whole_blob(&self, digest: Sha256) -> Result<bool, FileError> {
        let path = self.blob_path(digest);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FileError::of("read", path)(error)),
        };
        let (found, _) = Sha256::of_reader(file).map_err(FileError::of("read", &path))?;
        if found != digest {
            fs::remove_file(&path)?;
        }
        Ok(found == digest)
    }

    /// Stores the bytes of `reader`; returns their digest and size in bytes.
    pub fn put_blob(&self, mut reader: impl Read) -> Result<(Sha256, u64), FileError> {
        // The digest, and so the name, is known only at the end.
        let scratch = self.temporary.join("blob");
        let pending = PendingFile::create(&scratch)?;
        let mut writer = HashingWriter::new(pending);
        io::copy(&mut reader, &mut writer).map_err(FileError::of("write", &scratch))?;
        let (digest, size_bytes, pending) = writer.finish();
        // Replaces an existing file, which may be damaged: these bytes are right.
        pending.keep_as(&self.blob_path(digest))?;
        Ok((digest, size_bytes))
    }

    /// The files that trees share.
    pub fn shared_files(&self) -> Result<SharedFiles, FileError> {
        SharedFiles::open(&self.root().join("files"))
    }

    /// Where the directory with this digest is, if it is there.
    pub fn tree_path(&self, digest: Sha256) -> PathBuf {
        self.root().join("trees").join(digest.to_string())
    }

    /// Whether the directory with this digest is there.
    pub fn has_tree(&self, digest: Sha256) -> bool {
        self.tree_path(digest).is_dir()
    }

    /// The tree with this digest as it is now, if it is there.
    pub fn find_tree(&self, digest: Sha256) -> Option<FoundTree> {
        let path = self.tree_path(digest);
        let identity = tree::identity(&path);
        path.is_dir().then_some(FoundTree { path, identity })
    }

    /// The tree that a path leads into.
    pub fn tree_of(&self, path: &Path) -> Option<Sha256> {
        let inside = path.strip_prefix(self.root().join("trees")).ok()?;
        inside
            .components()
            .next()?
            .as_os_str()
            .to_str()?
            .parse()
            .ok()
    }

    /// Whether a tree is unmodified since it was put into the store, as far as the file system knows.
    pub fn is_untouched(&self, tree: &FoundTree) -> Result<bool, FileError> {
        tree::is_tree_sealed(&tree.path)
    }

    /// Gives a tree whose content is right the modes and times that it would get today.
    pub fn seal_tree(&self, tree: &FoundTree) -> Result<(), FileError> {
        tree::seal(&tree.path).map(drop)
    }

    /// Removes a damaged tree from the store, with its shared files. Jobs that use it now keep it
    /// until this run ends.
    pub fn discard_tree(&self, tree: &FoundTree) -> Result<(), FileError> {
        // Another job may have rebuilt it meanwhile.
        if tree::identity(&tree.path) != tree.identity {
            return Ok(());
        }
        let aside = self.temporary_folder()?.keep().join("tree");
        match fs::rename(&tree.path, &aside) {
            Err(error) if error.is_not_found() => return Ok(()),
            renamed => renamed?,
        }
        self.shared_files()?.forget(&tree::inodes(&aside)?)
    }

    /// Marks the directory with this digest as used, so that clean-up removes others first.
    pub fn touch_tree(&self, digest: Sha256) {
        // Ignored: an unmarked tree is only removed earlier, and can be rebuilt.
        drop(
            std::fs::File::open(self.tree_path(digest))
                .and_then(|tree| tree.set_modified(std::time::SystemTime::now())),
        );
    }

    /// Keeps the directory `from`, which must be on the store's file system (see [`Self::temporary_folder`]), under
    /// its digest, durably and readable for every job. When it is there already, `from` is left for its owner to
    /// remove.
    pub fn put_tree(&self, from: &Path, digest: Sha256) -> Result<(), FileError> {
        let path = self.tree_path(digest);
        let failed = FileError::of("keep", from);
        if !from.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if tree::seal(from)? {
            // Once for all files, before the tree gets its name: a tree that has one is whole.
            std::fs::File::open(from)
                .and_then(|opened| Ok(rustix::fs::syncfs(&opened)?))
                .map_err(failed)?;
        }
        fs::create_folder(&self.root().join("trees"))?;
        match fs::rename(from, &path) {
            Err(_) if path.is_dir() => Ok(()),
            result => result,
        }
    }
}

/// What a dead run left in `temporary/`, locked against others who would remove it too.
struct Dead {
    folder: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

fn dead(all: &Path) -> Result<Vec<Dead>, FileError> {
    let entries = match std::fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::of("read directory", all))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let folder = entry.map_err(FileError::of("read directory", all))?.path();
        if folder.extension().is_some() {
            continue;
        }
        let mut lock_path = folder.clone().into_os_string();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        if let Some(lock) = Lock::try_exclusive(&lock_path)? {
            found.push(Dead {
                folder,
                lock_path,
                _lock: lock,
            });
        }
    }
    Ok(found)
}

fn has_dead(all: &Path) -> Result<bool, FileError> {
    Ok(!dead(all)?.is_empty())
}

/// Removes temporary files beside the final ones. Trees hold none: they are made elsewhere.
fn sweep(root: &Path) -> Result<(), FileError> {
    let entries = walkdir::WalkDir::new(root)
        .max_depth(4)
        .into_iter()
        .filter_entry(|entry| entry.depth() != 1 || entry.file_name() != "trees");
    for entry in entries {
        let failed = |error: walkdir::Error| FileError::of("read", root)(error.into());
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_file() && fs::is_temporary(entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Store {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        drop(fs::remove_folder(&self.temporary));
        let mut lock_path = self.temporary.clone().into_os_string();
        lock_path.push(".lock");
        drop(fs::remove_file(Path::new(&lock_path)));
    }
}

#[cfg(test)]
mod tests;
