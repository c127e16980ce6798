//! The cached state of foreign images: the tags of repositories, and the identity of each image that was pulled. With
//! it, a run whose builds are all cached needs neither a registry nor a daemon, and a moved tag alone does not change
//! any cache key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::fs::{self, FileError, Lock};

/// The error if the cached state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ForeignImagesError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is corrupt.
    #[error("{} is not a valid list of pulled images ({cause}); remove it", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: serde_json::Error,
    },
}

/// The cached state of foreign images.
#[derive(Debug)]
pub struct ForeignImages {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The tags of each repository.
    #[serde(default)]
    repositories: BTreeMap<String, Vec<String>>,
    /// The identity of each image that was pulled, by its full name.
    #[serde(default)]
    identities: BTreeMap<String, Sha256>,
}

impl ForeignImages {
    /// Loads the state from the cache in `folder`; empty if the file does not exist.
    pub fn load(folder: &Path) -> Result<Self, ForeignImagesError> {
        let path = folder.join("foreign-images.json");
        let known = Mutex::new(read(&path)?);
        Ok(Self { path, known })
    }

    /// Returns the tags of a repository, if it was queried before.
    pub fn tags(&self, repository: &str) -> Option<Vec<String>> {
        self.lock().repositories.get(repository).cloned()
    }

    /// Returns the identity of an image, if it was pulled before.
    pub fn identity(&self, name: &str) -> Option<Sha256> {
        self.lock().identities.get(name).copied()
    }

    /// Returns the identities of all images that were pulled.
    pub fn identities(&self) -> BTreeMap<String, Sha256> {
        self.lock().identities.clone()
    }

    /// Stores the tags of a repository.
    pub fn keep_tags(&self, repository: &str, tags: Vec<String>) -> Result<(), ForeignImagesError> {
        self.change(|known| {
            known.repositories.insert(repository.to_owned(), tags);
        })
    }

    /// Stores the identity of an image.
    pub fn keep_identity(&self, name: &str, identity: Sha256) -> Result<(), ForeignImagesError> {
        self.change(|known| {
            known.identities.insert(name.to_owned(), identity);
        })
    }

    /// Updates the cached state, preserving what other processes have added in the meantime.
    fn change(&self, change: impl FnOnce(&mut Known)) -> Result<(), ForeignImagesError> {
        let _lock = Lock::exclusive(&self.path.with_extension("lock"))?;
        let mut known = read(&self.path)?;
        change(&mut known);
        let mut text = serde_json::to_vec_pretty(&known).map_err(|source| self.form(source))?;
        text.push(b'\n');
        fs::write(&self.path, text)?;
        *self.lock() = known;
        Ok(())
    }

    fn form(&self, source: serde_json::Error) -> ForeignImagesError {
        let path = self.path.clone();
        ForeignImagesError::Form {
            path,
            cause: source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Known, ForeignImagesError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|source| ForeignImagesError::Form {
            path: path.to_owned(),
            cause: source,
        }),
        Err(error) if error.is_not_found() => Ok(Known::default()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_several_processes_are_merged_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mine = ForeignImages::load(folder.path()).unwrap();
        let other = ForeignImages::load(folder.path()).unwrap();
        assert_eq!((mine.tags("r"), mine.identity("r:a")), (None, None));
        mine.keep_identity("r:a", Sha256::of("a")).unwrap();
        other.keep_tags("r", vec!["a".to_owned()]).unwrap();
        other.keep_identity("r:b", Sha256::of("b")).unwrap();
        let again = ForeignImages::load(folder.path()).unwrap();
        assert_eq!(again.identity("r:a"), Some(Sha256::of("a")));
        assert_eq!(again.identity("r:b"), Some(Sha256::of("b")));
        assert_eq!(again.tags("r"), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(&folder.path().join("foreign-images.json"), "{").unwrap();
        let error = ForeignImages::load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("foreign-images.json"), "{error}");
    }
}
