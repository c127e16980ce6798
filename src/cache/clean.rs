//! How large the store is, and making it smaller.
//!
//! Trees can be unpacked and configured again, so they go first, least recently used. Packages, artifacts and logs
//! go when nothing names them any more or when they were not used for long. Outcomes are small and stay as long
//! as what they name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::outcome::{Outcome, Outcomes, StepResult};
use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::store::Store;

/// Sizes of the parts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CacheSizes {
    /// Number of files: packages, artifacts, logs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Number of trees.
    pub trees: u64,
    /// Their bytes.
    pub tree_bytes: u64,
    /// Number of outcomes.
    pub outcomes: u64,
    /// Of these, failures.
    pub failures: u64,
}

/// What a clean-up keeps.
#[derive(Clone, Copy, Debug)]
pub struct CleanLimits {
    /// Trees beyond this many bytes go, least recently used first.
    pub tree_bytes: u64,
    /// Files and outcomes not used for this long go; `None` keeps them for ever.
    pub unused_for: Option<Duration>,
}

/// What a clean-up removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaned {
    /// Number of trees.
    pub trees: u64,
    /// Their bytes.
    pub tree_bytes: u64,
    /// Number of outcomes.
    pub outcomes: u64,
    /// Number of files.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}

struct Entry {
    path: PathBuf,
    size_bytes: u64,
    used: SystemTime,
}

/// Measures the store in folder `root`.
pub fn sizes(root: &Path) -> Result<CacheSizes, FileError> {
    let mut sizes = CacheSizes::default();
    for blob in files(&root.join("blobs"))? {
        sizes.blobs += 1;
        sizes.blob_bytes += blob.size_bytes;
    }
    for tree in trees(root)? {
        sizes.trees += 1;
        sizes.tree_bytes += tree.size_bytes;
    }
    for (_, outcome) in outcomes(root)? {
        sizes.outcomes += 1;
        if matches!(outcome.result, StepResult::Failure(_)) {
            sizes.failures += 1;
        }
    }
    Ok(sizes)
}

/// Makes the store in folder `root` smaller. The caller holds the store for itself alone (see
/// [`Store::open_alone`]).
pub fn clean(store: &Store, limits: CleanLimits) -> Result<Cleaned, FileError> {
    let root = store.root();
    let mut cleaned = Cleaned::default();
    let mut all_trees = trees(root)?;
    all_trees.sort_by_key(|tree| tree.used);
    let mut tree_bytes: u64 = all_trees.iter().map(|tree| tree.size_bytes).sum();
    for tree in all_trees {
        if tree_bytes <= limits.tree_bytes {
            break;
        }
        fs::remove_folder(&tree.path)?;
        tree_bytes -= tree.size_bytes;
        cleaned.trees += 1;
        cleaned.tree_bytes += tree.size_bytes;
    }
    let Some(unused_for) = limits.unused_for else {
        return Ok(cleaned);
    };
    let now = SystemTime::now();
    let is_old = |entry: &Entry| {
        now.duration_since(entry.used)
            .is_ok_and(|age| age > unused_for)
    };
    let mut named = HashSet::new();
    for (entry, outcome) in outcomes(root)? {
        if is_old(&entry) {
            fs::remove_file(&entry.path)?;
            cleaned.outcomes += 1;
        } else {
            named.extend(contents(&outcome));
        }
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

/// The files of the store that an outcome names.
pub(super) fn contents(outcome: &Outcome) -> Vec<Sha256> {
    let artifact = match &outcome.result {
        StepResult::Artifact(facts) => Some(facts.sha256),
        _ => None,
    };
    artifact.into_iter().chain(outcome.log).collect()
}

fn trees(root: &Path) -> Result<Vec<Entry>, FileError> {
    let folder = root.join("trees");
    let mut trees = Vec::new();
    for path in children(&folder)? {
        let size_bytes = files(&path)?.iter().map(|file| file.size_bytes).sum();
        let metadata = std::fs::metadata(&path).map_err(FileError::of("read", &path))?;
        let used = metadata.modified().map_err(FileError::of("read", &path))?;
        trees.push(Entry {
            path,
            size_bytes,
            used,
        });
    }
    Ok(trees)
}

fn outcomes(root: &Path) -> Result<Vec<(Entry, Outcome)>, FileError> {
    let files = files(Outcomes::new(root).folder())?;
    let outcomes = files.into_iter().filter_map(|entry| {
        let bytes = std::fs::read(&entry.path).ok()?;
        Some((entry, serde_json::from_slice(&bytes).ok()?))
    });
    Ok(outcomes.collect())
}

pub(super) fn children(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| Ok(entry.map_err(FileError::of("read folder", folder))?.path()))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FileError::of("read folder", folder)(error)),
    }
}

fn files(folder: &Path) -> Result<Vec<Entry>, FileError> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in walkdir::WalkDir::new(folder) {
        let failed = |error: walkdir::Error| {
            FileError::of("read folder", folder)(
                error
                    .into_io_error()
                    .unwrap_or_else(|| std::io::Error::other("loop")),
            )
        };
        let entry = entry.map_err(failed)?;
        if !entry.file_type().is_file() {
            continue;
        }
        let metadata = entry.metadata().map_err(failed)?;
        files.push(Entry {
            size_bytes: metadata.len(),
            used: metadata
                .modified()
                .map_err(FileError::of("read", entry.path()))?,
            path: entry.into_path(),
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::KeyBuilder;
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
    fn least_recently_used_trees_go_first() {
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
    fn old_files_go_unless_an_outcome_names_them() {
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
