//! Measures the store and removes old contents.
//!
//! Trees can be rebuilt, so they are removed first, the least recently used before others. Trees share files: a shared
//! file counts once and is removed with the last tree that contains it. Outcomes are removed when they have not been
//! used for the given time; packages, artifacts and logs when, in addition, no remaining outcome refers to them.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::index;
use super::listing::children;
use super::outcome::{KeptOutcome, Outcome, StepResult};
use super::outcomes::Outcomes;
use super::used::LatelyUsed;
use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::store::Store;

/// Sizes of the parts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CacheSizes {
    /// Number of files: packages, artifacts, logs.
    pub blobs: u64,
    /// Total size of the files in bytes.
    pub blob_bytes: u64,
    /// Number of trees.
    pub trees: u64,
    /// Total size of the trees in bytes; a shared file counts once.
    pub tree_bytes: u64,
    /// Number of outcomes.
    pub outcomes: u64,
    /// Number of outcomes that are failures.
    pub failures: u64,
}

/// The limits of a clean-up.
#[derive(Clone, Copy, Debug)]
pub struct CleanLimits {
    /// Total size in bytes above which trees are removed, least recently used first.
    pub tree_bytes: u64,
    /// Files and outcomes unused for longer than this are removed; `None` keeps all.
    pub unused_for: Option<Duration>,
}

/// What a clean-up removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaned {
    /// Number of trees.
    pub trees: u64,
    /// Bytes freed by removing trees.
    pub tree_bytes: u64,
    /// Number of outcomes.
    pub outcomes: u64,
    /// Number of files.
    pub blobs: u64,
    /// Bytes freed by removing files.
    pub blob_bytes: u64,
}

struct Entry {
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
}

/// Measures the store in directory `root`.
pub fn sizes(root: &Path) -> Result<CacheSizes, FileError> {
    let mut sizes = CacheSizes::default();
    for blob in files(&root.join("blobs"))? {
        sizes.blobs += 1;
        sizes.blob_bytes += blob.size_bytes;
    }
    let trees = Trees::read(root)?;
    sizes.trees = trees.trees.len() as u64;
    sizes.tree_bytes = trees.size_bytes();
    for (_, outcome) in outcomes(root)? {
        sizes.outcomes += 1;
        if matches!(outcome.result, StepResult::Failure(_)) {
            sizes.failures += 1;
        }
    }
    Ok(sizes)
}

/// Removes old contents of the store. The caller must hold the store exclusively (see [`Store::open_alone`]).
pub fn clean(store: &Store, limits: CleanLimits) -> Result<Cleaned, FileError> {
    let root = store.root();
    let mut cleaned = Cleaned::default();
    store.sweep()?;
    let mut trees = Trees::read(root)?;
    let mut tree_bytes = trees.size_bytes();
    while tree_bytes > limits.tree_bytes
        && let Some(tree) = trees.trees.pop()
    {
        fs::remove_folder(&tree.path)?;
        let freed_bytes = trees.without(&tree);
        tree_bytes -= freed_bytes;
        cleaned.trees += 1;
        cleaned.tree_bytes += freed_bytes;
    }
    remove_unshared(&root.join("files"))?;
    remove_archives(store)?;
    let Some(unused_for) = limits.unused_for else {
        return Ok(cleaned);
    };
    let now = SystemTime::now();
    let is_old = |entry: &Entry| {
        now.duration_since(entry.used)
            .is_ok_and(|age| age > unused_for)
    };
    let used = LatelyUsed::read(root, unused_for)?;
    let mut named = HashSet::new();
    for (entry, outcome) in outcomes(root)? {
        if is_old(&entry) && !used.has(outcome.inputs.key()) {
            fs::remove_file(&entry.path)?;
            cleaned.outcomes += 1;
        } else {
            named.extend(contents(&outcome));
        }
    }
    if cleaned.outcomes > 0 {
        // It would only keep its space; the next run writes one without the removed outcomes.
        fs::remove_file(&index::path(root))?;
    }
    for blob in files(&root.join("blobs"))? {
        let digest = blob
            .path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        if is_old(&blob) && !digest.is_some_and(|digest: Sha256| named.contains(&digest)) {
            fs::remove_file(&blob.path)?;
            cleaned.blobs += 1;
            cleaned.blob_bytes += blob.size_bytes;
        }
    }
    Ok(cleaned)
}

/// Removes archives whose trees no longer exist (the Kubernetes executor creates them) and incomplete archives. No
/// other process can be writing one, since the store is held exclusively.
fn remove_archives(store: &Store) -> Result<(), FileError> {
    for path in children(&store.root().join("archives"))? {
        let tree: Option<Sha256> = path
            .file_name()
            .and_then(|name| name.to_str()?.split_once('-')?.0.parse().ok());
        match tree {
            Some(tree) if store.has_tree(tree) => {}
            _ if path.is_dir() => fs::remove_folder(&path)?,
            _ => fs::remove_file(&path)?,
        }
    }
    Ok(())
}

/// Returns the digests of the files that an outcome refers to.
pub(super) fn contents(outcome: &Outcome) -> Vec<Sha256> {
    let artifact = match &outcome.result {
        StepResult::Artifact(facts) => Some(facts.sha256),
        _ => None,
    };
    artifact.into_iter().chain(outcome.log).collect()
}

/// The trees of a store, sorted so that the least recently used is last.
struct Trees {
    trees: Vec<Tree>,
    /// Size in bytes of each file and the number of trees that contain it, by inode.
    files: HashMap<u64, (u64, u32)>,
}

struct Tree {
    path: PathBuf,
    used: SystemTime,
    /// The inodes of the tree's files.
    files: Vec<u64>,
}

impl Trees {
    fn read(root: &Path) -> Result<Self, FileError> {
        let mut all = Self {
            trees: Vec::new(),
            files: HashMap::new(),
        };
        for path in children(&root.join("trees"))? {
            let metadata = std::fs::metadata(&path).map_err(FileError::of("read", &path))?;
            let used = metadata.modified().map_err(FileError::of("read", &path))?;
            let mut tree = Tree {
                path,
                used,
                files: Vec::new(),
            };
            for file in walk(&tree.path)? {
                let (_, metadata) = file?;
                tree.files.push(metadata.ino());
                all.files.insert(metadata.ino(), (metadata.len(), 0));
            }
            tree.files.sort_unstable();
            tree.files.dedup();
            all.trees.push(tree);
        }
        for inode in all.trees.iter().flat_map(|tree| &tree.files) {
            if let Some((_, trees)) = all.files.get_mut(inode) {
                *trees += 1;
            }
        }
        all.trees.sort_by_key(|tree| std::cmp::Reverse(tree.used));
        Ok(all)
    }

    fn size_bytes(&self) -> u64 {
        self.files.values().map(|(size_bytes, _)| size_bytes).sum()
    }

    /// Forgets a removed tree; returns the size in bytes of the files that no other tree contains.
    fn without(&mut self, tree: &Tree) -> u64 {
        let mut freed_bytes = 0;
        for inode in &tree.files {
            if let Some((size_bytes, trees)) = self.files.get_mut(inode) {
                *trees -= 1;
                if *trees == 0 {
                    freed_bytes += *size_bytes;
                }
            }
        }
        freed_bytes
    }
}

/// Removes the shared files that no tree contains any more.
fn remove_unshared(folder: &Path) -> Result<(), FileError> {
    for file in walk(folder)? {
        let (path, metadata) = file?;
        if metadata.nlink() == 1 {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn outcomes(root: &Path) -> Result<Vec<(Entry, Outcome)>, FileError> {
    let files = files(Outcomes::new(root).folder())?;
    let outcomes = files.into_iter().filter_map(|entry| {
        let bytes = std::fs::read(&entry.path).ok()?;
        Some((entry, KeptOutcome::read(&bytes).ok()?.outcome))
    });
    Ok(outcomes.collect())
}

fn files(folder: &Path) -> Result<Vec<Entry>, FileError> {
    let entry = |file: Result<(PathBuf, Metadata), FileError>| {
        let (path, metadata) = file?;
        let used = metadata.modified().map_err(FileError::of("read", &path))?;
        Ok(Entry {
            path,
            size_bytes: metadata.len(),
            used,
        })
    };
    walk(folder)?.map(entry).collect()
}

/// Iterates over the files below a directory; empty if the directory does not exist.
fn walk(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<(PathBuf, Metadata), FileError>>, FileError> {
    let there = folder
        .try_exists()
        .map_err(FileError::of("read directory", folder))?;
    let entries = there.then(|| walkdir::WalkDir::new(folder).into_iter());
    let failed = move |error: walkdir::Error| {
        let path = error.path().unwrap_or(folder).to_owned();
        let cause = error.into_io_error();
        FileError::of("read directory", path)(
            cause.unwrap_or_else(|| std::io::Error::other("loop")),
        )
    };
    Ok(entries.into_iter().flatten().filter_map(move |entry| {
        let read = |entry: walkdir::DirEntry| Ok((entry.metadata()?, entry.into_path()));
        match entry {
            Ok(entry) if !entry.file_type().is_file() => None,
            entry => Some(
                entry
                    .and_then(read)
                    .map(|(metadata, path)| (path, metadata))
                    .map_err(&failed),
            ),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::KeyBuilder;
    use crate::store::SharedFile;
    use std::time::Duration;

    fn store_with(folder: &Path) -> Store {
        let store = Store::open(folder, "run").unwrap();
        for (name, seconds) in [("old", 1), ("new", 2)] {
            let work = store.temporary_folder().unwrap();
            let tree = work.path().join("tree");
            fs::write(&tree.join("file"), vec![0; 1000]).unwrap();
            let digest = Sha256::of(name);
            store.put_tree(&tree, digest).unwrap();
            set_used(&store.tree_path(digest), seconds);
        }
        store
    }

    fn set_used(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn least_recently_used_trees_are_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path());
        let limits = CleanLimits {
            tree_bytes: 1500,
            unused_for: None,
        };
        let cleaned = clean(&store, limits).unwrap();
        assert_eq!((cleaned.trees, cleaned.tree_bytes), (1, 1000));
        assert!(!store.has_tree(Sha256::of("old")));
        assert!(store.has_tree(Sha256::of("new")));
    }

    #[test]
    fn shared_file_counts_once_and_is_removed_with_its_last_tree() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path());
        let shared = store.shared_files().unwrap();
        let file = SharedFile {
            sha256: Sha256::of(vec![0; 1000]),
            is_executable: false,
        };
        shared
            .add(&store.tree_path(Sha256::of("old")).join("file"), file)
            .unwrap();
        let new = store.tree_path(Sha256::of("new"));
        fs::remove_file(&new.join("file")).unwrap();
        let open = std::fs::File::open(&new).unwrap();
        assert!(shared.link(file, 1000, &open, Path::new("file")).unwrap());
        set_used(&new, 2);
        let limits = |tree_bytes| CleanLimits {
            tree_bytes,
            unused_for: None,
        };
        let names = || walk(&folder.path().join("files")).unwrap().count();

        assert_eq!(sizes(folder.path()).unwrap().tree_bytes, 1000);
        let cleaned = clean(&store, limits(1000)).unwrap();
        assert_eq!((cleaned.trees, names()), (0, 1));
        let cleaned = clean(&store, limits(999)).unwrap();
        assert_eq!((cleaned.trees, cleaned.tree_bytes), (2, 1000));
        assert_eq!(names(), 0);
        assert!(!shared.link(file, 1000, &open, Path::new("other")).unwrap());
    }

    #[test]
    fn archives_are_removed_with_their_trees() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path());
        let archive = |name: &str| {
            let tree = Sha256::of(name);
            folder
                .path()
                .join(format!("archives/{tree}-0123456789ab.tar.zst"))
        };
        let half_made = folder.path().join("archives/.dkm-tmp-x/y.tar.zst");
        for path in [&archive("old"), &archive("new"), &half_made] {
            fs::write(path, "archive").unwrap();
        }
        let limits = CleanLimits {
            tree_bytes: 1500,
            unused_for: None,
        };
        clean(&store, limits).unwrap();
        assert!(archive("new").exists());
        assert!(!archive("old").exists() && !half_made.exists());
    }

    #[test]
    fn old_files_are_removed_unless_an_outcome_refers_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path());
        let (named, _) = store.put_blob("log".as_bytes()).unwrap();
        let (loose, _) = store.put_blob("loose".as_bytes()).unwrap();
        for digest in [named, loose] {
            set_used(&store.blob_path(digest), 1);
        }
        let outcome = Outcome {
            inputs: KeyBuilder::new("check", 1),
            result: StepResult::Check { passed: true },
            log: Some(named),
            wall: Duration::ZERO,
            cpu: None,
            peak_memory_bytes: None,
            failure_rules: 0,
            run_id: None,
            done_at: None,
        };
        Outcomes::new(folder.path()).put(&outcome).unwrap();
        let limits = CleanLimits {
            tree_bytes: u64::MAX,
            unused_for: Some(Duration::from_hours(1)),
        };
        let cleaned = clean(&store, limits).unwrap();
        assert_eq!((cleaned.blobs, cleaned.outcomes, cleaned.trees), (1, 0, 0));
        assert!(store.has_blob(named) && !store.has_blob(loose));
        assert_eq!(sizes(folder.path()).unwrap().outcomes, 1);
    }
}
