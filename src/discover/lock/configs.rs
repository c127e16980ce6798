//! Reads and writes kernel configurations beside a lock: `debian.configs/<digest>.zst`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Lock, LockError};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// The maximum size of a kernel configuration, in bytes. No real one is that large.
const MOST_BYTES: u64 = 16 << 20;

/// The file of a kernel configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// A file that the matrix names.
    Plain(PathBuf),
    /// A file beside a lock, compressed.
    Locked(PathBuf),
}

impl ConfigFile {
    /// Reads the content. Returns an error if it does not have this digest.
    pub fn read(&self, digest: Sha256) -> Result<Vec<u8>, LockError> {
        let (path, content) = match self {
            Self::Plain(path) => (path, fs::read(path)?),
            Self::Locked(path) => {
                let wrong = |message: String| LockError::Config {
                    path: path.clone(),
                    message,
                };
                let bytes = match fs::read(path) {
                    Err(error) if error.is_not_found() => {
                        return Err(wrong("does not exist".to_owned()));
                    }
                    result => result?,
                };
                let mut content = Vec::new();
                zstd::Decoder::with_buffer(bytes.as_slice())
                    .and_then(|decoder| decoder.take(MOST_BYTES).read_to_end(&mut content))
                    .map_err(|error| wrong(format!("is damaged: {error}")))?;
                (path, content)
            }
        };
        let found = Sha256::of(&content);
        if found == digest {
            Ok(content)
        } else {
            Err(LockError::Config {
                path: path.clone(),
                message: format!("has SHA-256 {found}, expected {digest}"),
            })
        }
    }
}

/// Returns the path of a kernel configuration beside a lock.
pub fn config_path(lock: &Path, digest: Sha256) -> PathBuf {
    folder_of(lock).join(format!("{digest}.zst"))
}

fn folder_of(lock: &Path) -> PathBuf {
    lock.with_extension("configs")
}

impl Lock {
    fn config_digests(&self) -> BTreeSet<Sha256> {
        let kernels = self.kernels.iter();
        kernels
            .filter_map(|locked| locked.kernel.config_sha256)
            .collect()
    }

    /// Writes the lock and the kernel configurations that it names, and removes configurations that it does not name
    /// any more. An unchanged file is not written.
    pub fn write(&self, path: &Path, configs: &BTreeMap<Sha256, Vec<u8>>) -> Result<(), FileError> {
        let is_changed = !self.is_in(path)?;
        self.write_changed(path, configs, is_changed)
    }

    /// Like [`Lock::write`], if the caller knows whether the text of the lock differs from the file.
    pub fn write_changed(
        &self,
        path: &Path,
        configs: &BTreeMap<Sha256, Vec<u8>>,
        is_changed: bool,
    ) -> Result<(), FileError> {
        let named = self.config_digests();
        for (digest, content) in configs {
            let file = config_path(path, *digest);
            if named.contains(digest) && !file.exists() {
                let compressed = zstd::encode_all(content.as_slice(), 19)
                    .map_err(FileError::of("compress", &file))?;
                fs::write(&file, compressed)?;
            }
        }
        if is_changed {
            self.write_file(path)?;
        }
        let folder = folder_of(path);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Ok(());
        };
        for entry in entries {
            let file = entry
                .map_err(FileError::of("read directory", &folder))?
                .path();
            let name = file.file_name().and_then(|name| name.to_str());
            let digest: Option<Sha256> = name
                .and_then(|name| name.strip_suffix(".zst"))
                .and_then(|digest| digest.parse().ok());
            if digest.is_some_and(|digest| !named.contains(&digest)) {
                fs::remove_file(&file)?;
            }
        }
        // This fails if the directory contains other files. They may stay.
        drop(std::fs::remove_dir(&folder));
        Ok(())
    }
}
