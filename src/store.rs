//! The store: contents by digest, shared by all runs of a machine.
//!
//! `blobs/` holds files (packages, artifacts, logs), `trees/` holds unpacked folders, both named by their digest and
//! never changed; `files/` holds one name of every file that trees share; `temporary/<run>/` is where things are made before they are renamed into place. Two runs may use
//! one store: a thing appears whole or not at all, and clean-up waits until no run holds the store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

mod files;

pub use files::{SharedFile, SharedFiles};

use crate::digest::{HashingWriter, Sha256};
use crate::fs::{self, FileError, Lock, PendingFile};

/// A store that is open: it cannot be cleaned up by another process until dropped.
pub struct Store {
    root: PathBuf,
    temporary: PathBuf,
    _open_lock: Lock,
    _temporary_lock: Lock,
}

impl Store {
    /// Opens the store in folder `root`, which is made when missing, for the run `run_id`; removes the temporary
    /// files of runs that are dead.
    pub fn open(root: &Path, run_id: &str) -> Result<Self, FileError> {
        Self::open_with(root, run_id, Lock::shared)
    }

    /// The same, waiting until no other process has the store open, and keeping others out: for clean-up.
    pub fn open_alone(root: &Path, run_id: &str) -> Result<Self, FileError> {
        Self::open_with(root, run_id, Lock::exclusive)
    }

    fn open_with(
        root: &Path,
        run_id: &str,
        lock: impl FnOnce(&Path) -> Result<Lock, FileError>,
    ) -> Result<Self, FileError> {
        fs::create_folder(root)?;
        // Backup programs leave a folder alone that holds this file.
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc55\n")?;
        }
        let open_lock = lock(&root.join("lock"))?;
        let all = root.join("temporary");
        let temporary = all.join(run_id);
        // Before the folder: one without a lock that is held counts as a dead run's.
        let temporary_lock = Lock::exclusive(&all.join(format!("{run_id}.lock")))?;
        fs::create_folder(&temporary)?;
        let store = Self {
            root: root.to_owned(),
            temporary,
            _open_lock: open_lock,
            _temporary_lock: temporary_lock,
        };
        store.remove_dead(&all)?;
        Ok(store)
    }

    fn remove_dead(&self, all: &Path) -> Result<(), FileError> {
        let entries = std::fs::read_dir(all).map_err(FileError::of("read folder", all))?;
        for entry in entries {
            let path = entry.map_err(FileError::of("read folder", all))?.path();
            if path == self.temporary || path.extension().is_some() {
                continue;
            }
            let mut lock_path = path.clone().into_os_string();
            lock_path.push(".lock");
            if Lock::try_exclusive(Path::new(&lock_path))?.is_some() {
                fs::remove_folder(&path)?;
                fs::remove_file(Path::new(&lock_path))?;
            }
        }
        Ok(())
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new, empty folder of this run, on the same file system as everything else in the store.
    pub fn temporary_folder(&self) -> Result<tempfile::TempDir, FileError> {
        tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(&self.temporary)
            .map_err(FileError::of("create folder in", &self.temporary))
    }

    /// Where the file with this digest is, if it is there.
    pub fn blob_path(&self, digest: Sha256) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(&name[..2]).join(name)
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

    /// Keeps what `reader` gives; returns its digest and size in bytes.
    pub fn put_blob(&self, mut reader: impl Read) -> Result<(Sha256, u64), FileError> {
        // The digest, and so the name, is known only at the end.
        let scratch = self.temporary.join("blob");
        let pending = PendingFile::create(&scratch)?;
        let mut writer = HashingWriter::new(pending);
        io::copy(&mut reader, &mut writer).map_err(FileError::of("write", &scratch))?;
        let (digest, size_bytes, pending) = writer.finish();
        if !self.has_blob(digest) {
            pending.keep_as(&self.blob_path(digest))?;
        }
        Ok((digest, size_bytes))
    }

    /// The files that trees share.
    pub fn shared_files(&self) -> Result<SharedFiles, FileError> {
        SharedFiles::open(&self.root.join("files"))
    }

    /// Where the folder with this digest is, if it is there.
    pub fn tree_path(&self, digest: Sha256) -> PathBuf {
        self.root.join("trees").join(digest.to_string())
    }

    /// Whether the folder with this digest is there.
    pub fn has_tree(&self, digest: Sha256) -> bool {
        self.tree_path(digest).is_dir()
    }

    /// Notes that the folder with this digest is used, so that clean-up takes others first.
    pub fn touch_tree(&self, digest: Sha256) {
        // A tree that is not noted only goes earlier, and can be made again.
        drop(
            std::fs::File::open(self.tree_path(digest))
                .and_then(|tree| tree.set_modified(std::time::SystemTime::now())),
        );
    }

    /// Keeps the folder `from`, which must be on the store's file system (see [`Self::temporary_folder`]), under
    /// its digest. When it is there already, `from` is left for its owner to remove.
    pub fn put_tree(&self, from: &Path, digest: Sha256) -> Result<(), FileError> {
        let path = self.tree_path(digest);
        fs::create_folder(&self.root.join("trees"))?;
        match fs::rename(from, &path) {
            Err(_) if path.is_dir() => Ok(()),
            result => result,
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn blobs_are_found_by_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "one").unwrap();
        let (digest, size_bytes) = store.put_blob("abc".as_bytes()).unwrap();
        assert_eq!((digest, size_bytes), (Sha256::of("abc"), 3));
        assert_eq!(fs::read(&store.blob_path(digest)).unwrap(), b"abc");
        assert!(!store.has_blob(Sha256::of("other")));
        assert!(!store.has_whole_blob(Sha256::of("other")).unwrap());
        assert!(store.has_whole_blob(digest).unwrap());
        assert_eq!(store.put_blob("abc".as_bytes()).unwrap().0, digest);
    }

    #[test]
    fn a_blob_that_changed_is_not_whole_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "one").unwrap();
        let (digest, _) = store.put_blob("abc".as_bytes()).unwrap();
        fs::write(&store.blob_path(digest), "abd").unwrap();
        assert!(!store.has_whole_blob(digest).unwrap());
        assert!(!store.has_blob(digest));
    }

    #[test]
    fn leftovers_of_dead_runs_go_and_those_of_live_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("temporary/dead/work-1");
        std::fs::create_dir_all(&dead).unwrap();
        let first = Store::open(folder.path(), "first").unwrap();
        let work = first.temporary_folder().unwrap();
        let _second = Store::open(folder.path(), "second").unwrap();
        assert!(!dead.exists());
        assert!(work.path().exists());
    }

    #[test]
    fn a_tree_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "one").unwrap();
        let digest = Sha256::of("tree");
        for content in ["same", "same"] {
            let work = store.temporary_folder().unwrap();
            let tree = work.path().join("tree");
            fs::write(&tree.join("file"), content).unwrap();
            store.put_tree(&tree, digest).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&store.tree_path(digest).join("file")).unwrap(),
            "same"
        );
    }
}
