//! Files of the store in one archive, for a machine without a network.
//!
//! A bundle is a tar archive: first `index.json`, then the contents under the names of their
//! digests. The store that imports a bundle records the URLs of its index, so that a run there
//! queries no server.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::fetcher::name;
use super::record::{Record, Validators};
use super::{Fetcher, Request};
use crate::digest::Sha256;
use crate::fs::{FileError, in_words};
use crate::store::Store;

const SCHEMA_VERSION: u32 = 1;
const INDEX: &str = "index.json";
const CONTENTS: &str = "sha256/";

/// The maximum length of an index.
const LONGEST_INDEX_BYTES: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    schema_version: u32,
    files: Vec<Bundled>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundled {
    sha256: Sha256,
    size: u64,
    /// The URL that returned it, without user name and password; `None` if it is requested by
    /// digest only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Why a bundle cannot be written or imported.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The archive cannot be read or written.
    #[error("the bundle cannot be read or written: {}", in_words(.0))]
    Archive(std::io::Error),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] FileError),
    /// Not a bundle, or one of a newer version of this program.
    #[error("not a bundle that this program can read: {0}")]
    Index(String),
    /// A content whose digest differs from its name.
    #[error("the bundle is damaged: the content named {expected} has SHA-256 {found}")]
    Damaged {
        /// The digest in its name.
        expected: Sha256,
        /// Its actual digest.
        found: Sha256,
    },
    /// A content that the index lists and that is missing in the archive.
    #[error("the bundle is not complete: {0} is missing")]
    Missing(Sha256),
}

impl From<std::io::Error> for BundleError {
    fn from(error: std::io::Error) -> Self {
        Self::Archive(error)
    }
}

/// Converts an error of the first entry. A file that is not an archive fails there.
fn of_first(error: std::io::Error) -> BundleError {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::UnexpectedEof | K::InvalidData | K::Other => {
            BundleError::Index("it is not a tar archive".to_owned())
        }
        _ => BundleError::Archive(error),
    }
}

/// The size of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BundleSize {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Fetcher {
    /// Writes a bundle of the requested files that the store holds. Equal requests result in equal
    /// bytes.
    pub fn export(
        &self,
        requests: &[Request],
        into: impl Write,
    ) -> Result<BundleSize, BundleError> {
        let files: BTreeSet<Bundled> = requests
            .iter()
            .filter_map(|one| self.bundled(one))
            .collect();
        let index = Index {
            schema_version: SCHEMA_VERSION,
            files: files.into_iter().collect(),
        };
        let mut archive = tar::Builder::new(into);
        let text = serde_json::to_vec_pretty(&index).map_err(std::io::Error::other)?;
        append(&mut archive, INDEX, text.len() as u64, text.as_slice())?;
        let mut size = BundleSize::default();
        let mut last = None;
        for file in &index.files {
            // The files are sorted by digest, and one content may have several URLs.
            if last.replace(file.sha256) == Some(file.sha256) {
                continue;
            }
            let content = std::fs::File::open(self.store().blob_path(file.sha256))?;
            let name = format!("{CONTENTS}{}", file.sha256);
            append(&mut archive, &name, file.size, content)?;
            size.files += 1;
            size.bytes += file.size;
        }
        archive.into_inner()?.flush()?;
        Ok(size)
    }

    fn bundled(&self, request: &Request) -> Option<Bundled> {
        if request.sha256.is_some() {
            let fetched = self.known(&request.candidates, request.sha256)?;
            return Some(Bundled {
                sha256: fetched.sha256,
                size: fetched.size_bytes,
                url: None,
            });
        }
        request.candidates.iter().find_map(|url| {
            let fetched = self.known(std::slice::from_ref(url), None)?;
            let address = self.address(url).ok()?;
            // A local file is recognised by its modification time, which another machine does not
            // have.
            matches!(address, Address::Remote(_)).then(|| Bundled {
                sha256: fetched.sha256,
                size: fetched.size_bytes,
                url: Some(name(&address)),
            })
        })
    }
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size_bytes: u64,
    content: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size_bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}

/// Imports a bundle into a store, checking the digest of every content.
pub fn import(store: &Arc<Store>, from: impl Read) -> Result<BundleSize, BundleError> {
    let mut archive = tar::Archive::new(from);
    let mut entries = archive.entries()?;
    let index = match entries.next() {
        Some(entry) => read_index(entry.map_err(of_first)?)?,
        None => return Err(BundleError::Index("it is empty".to_owned())),
    };
    let wanted: BTreeSet<Sha256> = index.files.iter().map(|file| file.sha256).collect();
    let mut found = BTreeSet::new();
    let mut size = BundleSize::default();
    for entry in entries {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let expected = name
            .strip_prefix(CONTENTS)
            .and_then(|digest| digest.parse::<Sha256>().ok())
            .filter(|digest| wanted.contains(digest))
            .ok_or_else(|| {
                BundleError::Index(format!("it contains {name}, which its index does not list"))
            })?;
        let (sha256, size_bytes) = store.put_blob(&mut entry)?;
        if sha256 != expected {
            return Err(BundleError::Damaged {
                expected,
                found: sha256,
            });
        }
        found.insert(sha256);
        size.files += 1;
        size.bytes += size_bytes;
    }
    if let Some(missing) = wanted.difference(&found).next() {
        return Err(BundleError::Missing(*missing));
    }
    for file in index.files {
        if let Some(url) = file.url {
            Record::new(url, file.sha256, file.size, Validators::default()).keep(store)?;
        }
    }
    Ok(size)
}

fn read_index(entry: tar::Entry<'_, impl Read>) -> Result<Index, BundleError> {
    if entry.path()?.to_string_lossy() != INDEX {
        return Err(BundleError::Index(format!(
            "it does not start with {INDEX}"
        )));
    }
    let mut text = Vec::new();
    entry.take(LONGEST_INDEX_BYTES).read_to_end(&mut text)?;
    let index: Index =
        serde_json::from_slice(&text).map_err(|error| BundleError::Index(error.to_string()))?;
    if index.schema_version == SCHEMA_VERSION {
        Ok(index)
    } else {
        let found = index.schema_version;
        Err(BundleError::Index(format!(
            "its version is {found}, expected {SCHEMA_VERSION}"
        )))
    }
}
