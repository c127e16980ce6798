//! Kernel configurations beside a lock: `debian.configs/<digest>.zst`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Lock, LockError};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// More bytes than any kernel configuration has.
const MOST_BYTES: u64 = 16 << 20;

/// Where a kernel configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// A file that the matrix names.
    Plain(PathBuf),
    /// A file beside a lock, compressed.
    Locked(PathBuf),
}

impl ConfigFile {
    /// The content, which must have this digest.
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
                        return Err(wrong("is missing".to_owned()));
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

/// Where a lock keeps a kernel configuration.
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

    /// Writes the lock and the kernel configurations that it names, and removes those that it does not name any more. A
    /// file that is the same already is not touched.
    pub fn write(&self, path: &Path, configs: &BTreeMap<Sha256, Vec<u8>>) -> Result<(), FileError> {
        let is_changed = !self.is_in(path)?;
        self.write_changed(path, configs, is_changed)
    }

    /// The same, where it is known whether the text of the lock is another one than that of the file.
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
        // Fails when something else is in it, which may stay.
        drop(std::fs::remove_dir(&folder));
        Ok(())
    }
}
