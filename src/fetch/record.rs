//! Records of downloads, so that a URL need not be requested again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::store::Store;

const SCHEMA_VERSION: u32 = 1;

/// The file that a URL returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    schema_version: u32,
    /// The URL, as [`recorded`](super::address::recorded) writes it.
    pub(super) url: String,
    /// The place that returned the file, if it was a mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    /// The digest of the file.
    pub(super) sha256: Sha256,
    /// The size of the file.
    #[serde(rename = "size")]
    pub(super) size_bytes: u64,
    /// Whether another place returned the same file.
    #[serde(default, rename = "agreed", skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_agreed: bool,
    /// The validators of this content.
    #[serde(flatten)]
    pub(super) validators: Validators,
}

/// Properties of a content, reported by the server (or, for a local file, by the file system), that distinguish it
/// from a later content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    /// The header `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// The header `Last-Modified`; for a local file its modification time in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
}

impl Record {
    pub(super) fn new(
        url: String,
        sha256: Sha256,
        size_bytes: u64,
        validators: Validators,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            url,
            place: None,
            sha256,
            size_bytes,
            is_agreed: false,
            validators,
        }
    }

    /// The same record, with the place that returned the file.
    pub(super) fn given_by(self, place: &str) -> Self {
        Self {
            place: (place != self.url).then(|| place.to_owned()),
            ..self
        }
    }

    /// The place that returned the file; its validators are valid for that place only.
    pub(super) fn place(&self) -> &str {
        self.place.as_deref().unwrap_or(&self.url)
    }

    /// The record of a URL, from this store or the shared one. A record that cannot be read counts
    /// as missing, so the file is fetched again.
    pub(super) fn find(store: &Store, url: &str) -> Option<Self> {
        let read = |bytes: &[u8]| {
            serde_json::from_slice(bytes).ok().filter(|record: &Self| {
                record.schema_version == SCHEMA_VERSION && record.url == url
            })
        };
        if let Ok(bytes) = store.read(&path_in_store(url))
            && let Some(record) = read(&bytes)
        {
            if let Some(shared) = store.shared() {
                shared.note_record(url, &bytes, record.sha256);
            }
            return Some(record);
        }
        read(&store.shared()?.record(url)?)
    }

    /// Removes the record of the URL.
    pub(super) fn remove(&self, store: &Store) -> Result<(), FileError> {
        match fs::remove_file(&path(store, &self.url)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn keep(&self, store: &Store) -> Result<(), FileError> {
        let path = path(store, &self.url);
        let text = serde_json::to_vec(self)
            .map_err(|error| FileError::of("write", &path)(std::io::Error::other(error)))?;
        fs::write(&path, &text)?;
        if let Some(shared) = store.shared() {
            shared.note_record(&self.url, &text, self.sha256);
        }
        Ok(())
    }
}

/// Returns the path of each record that cannot be read, is filed under another URL or names a
/// damaged file, with a description of the problem.
pub fn wrong_records(
    store: &Store,
    is_damaged: impl Fn(Sha256) -> bool,
) -> Result<Vec<(PathBuf, String)>, FileError> {
    let root = store.root().join("urls");
    let mut wrong = Vec::new();
    for folder in children(&root)? {
        for file in children(&folder)? {
            if fs::is_temporary(&file) {
                continue;
            }
            let problem = match serde_json::from_slice::<Record>(&fs::read(&file)?) {
                Err(error) => format!("not a record of a download: {error}"),
                Ok(record) if path(store, &record.url) != file => {
                    format!("it belongs to another URL: {}", record.url)
                }
                Ok(record) if is_damaged(record.sha256) => {
                    format!("names {}, which is damaged", record.sha256)
                }
                Ok(_) => continue,
            };
            wrong.push((file, problem));
        }
    }
    wrong.sort();
    Ok(wrong)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = FileError::of("read", folder);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(failed)?,
    };
    Ok(entries.into_iter().map(|entry| entry.path()).collect())
}

fn path(store: &Store, url: &str) -> PathBuf {
    store.root().join(path_in_store(url))
}

fn path_in_store(url: &str) -> PathBuf {
    let name = Sha256::of(url).to_string();
    PathBuf::from(format!("urls/{}/{name}.json", &name[..2]))
}
