//! A destination: a bucket or a directory, its index, and the replacement of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::error::PublishError;
use super::index::{Entry, Index};
use super::layout::{INDEX_FILE, STATE, SUMS_FILE};
use super::site::site_files;
use crate::bucket::{
    Attribute, Attributes, Bucket, BucketFault, BucketSettings, Object, Put, PutMode, PutOptions,
    UpdateVersion,
};
use crate::digest::{HashingWriter, Sha256};
use crate::fs::{FileError, Lock, blocking};

/// The metadata key for the digest of an object.
const DIGEST: &str = "sha256";

/// The maximum size of an index.
const INDEX_BYTES: u64 = 1 << 30;

/// The maximum size of an artifact.
const ARTIFACT_BYTES: u64 = 1 << 30;

/// The number of attempts to replace the index when other publications replace it at the same time.
const TRIES: u32 = 30;

/// A destination.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(super) bucket: Bucket,
}

/// An object that exists.
#[derive(Debug)]
pub(super) struct Existing {
    pub(super) version: UpdateVersion,
    pub(super) size_bytes: u64,
    /// The digest: from the metadata, or in a directory from the content. `None` if another program wrote the object.
    pub(super) sha256: Option<Sha256>,
}

/// The index as it was read, with its version for a conditional replacement.
pub(super) struct ReadIndex {
    pub(super) index: Option<Index>,
    version: Option<UpdateVersion>,
}

/// Excludes concurrent publications to a directory, which has no conditional writes.
pub(super) struct Turn {
    _lock: Option<Lock>,
}

impl Destination {
    /// Opens a destination; sends no request.
    pub fn open(settings: &BucketSettings) -> Result<Self, PublishError> {
        let bucket = Bucket::open(settings)?;
        Ok(Self { bucket })
    }

    /// Returns the bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Reads the index; returns `None` if nothing has been published yet.
    pub async fn index(&self) -> Result<Option<Index>, PublishError> {
        let index = self.read_index().await?.index;
        if index.is_none() {
            // The response to HEAD has no body, so that a missing bucket or user cannot be recognized.
            self.bucket.get(INDEX_FILE, INDEX_BYTES).await?;
        }
        Ok(index)
    }

    pub(super) async fn turn(&self) -> Result<Turn, PublishError> {
        let Some(directory) = self.bucket.url().directory() else {
            return Ok(Turn { _lock: None });
        };
        let path = directory.join(STATE).join("publish.lock");
        let lock = blocking(move || Lock::exclusive(&path)).await?;
        Ok(Turn { _lock: Some(lock) })
    }

    pub(super) async fn read_index(&self) -> Result<ReadIndex, PublishError> {
        // Reads the version first: if the content is newer, the replacement fails and everything is read again.
        let head = match self.bucket.head(INDEX_FILE).await {
            // The response to HEAD has no body with the reason; that to GET has.
            Err(error)
                if matches!(error.fault, BucketFault::ReadForbidden | BucketFault::Other) =>
            {
                self.bucket.get(INDEX_FILE, INDEX_BYTES).await?;
                return Err(error.into());
            }
            head => head?,
        };
        let Some(found) = head else {
            return Ok(ReadIndex {
                index: None,
                version: None,
            });
        };
        let bytes = self.bucket.get(INDEX_FILE, INDEX_BYTES).await?;
        let index = bytes.map(|bytes| Index::parse(&bytes)).transpose();
        let index = index.map_err(|why| PublishError::Index {
            message: format!("{}: {INDEX_FILE} is {why}", self.bucket.url()),
            help: "choose another prefix, or move the file away".to_owned(),
        })?;
        Ok(ReadIndex {
            index,
            version: Some(found.version),
        })
    }

    /// Changes the index: writes its derived files first, the index last. If another publication has replaced the
    /// index in the meantime, applies the change to the new one.
    pub(super) async fn change_index(
        &self,
        mut read: ReadIndex,
        now: Timestamp,
        public_url: Option<&str>,
        change: impl Fn(&mut Index),
    ) -> Result<Index, PublishError> {
        // Files that were written for a rejected index are written again, regardless of their digests in the new
        // index.
        let mut written = BTreeSet::new();
        for attempt in 0..TRIES {
            let before = read.index.take();
            let mut index = before.clone().unwrap_or_else(|| Index::new(now));
            change(&mut index);
            let files = derived_files(&index, public_url)?;
            let digests = files
                .iter()
                .map(|(name, text)| (name.clone(), Sha256::of(text)));
            let digests: BTreeMap<String, Sha256> = digests.collect();
            for (name, text) in files {
                let is_new = index.files.get(&name) != digests.get(&name);
                if written.contains(&name) || is_new {
                    written.insert(name.clone());
                    self.put_text(&name, text, PutMode::Overwrite).await?;
                }
            }
            index.files = digests;
            if before.as_ref() == Some(&index) {
                return Ok(index);
            }
            index.updated = now;
            let mode = match read.version.take() {
                Some(version) => PutMode::Update(version),
                None => PutMode::Create,
            };
            let text = index.to_json().map_err(encoding)?;
            match self.put_text(INDEX_FILE, text, mode).await? {
                Put::Done(_) => {
                    self.remove_old_files(before.as_ref(), &index).await?;
                    return Ok(index);
                }
                Put::Conflict => {
                    // The wait differs between processes, so that concurrent publications do not collide again.
                    let wait = u64::from(attempt * 50 + std::process::id() % 97);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    read = self.read_index().await?;
                }
            }
        }
        Err(PublishError::Refused {
            message: format!(
                "{}: other publications replaced {INDEX_FILE} during all {TRIES} attempts to update it",
                self.bucket.url()
            ),
            help: "publish again: uploaded artifacts are not uploaded twice".to_owned(),
        })
    }

    /// Removes files that are no longer derived from the index, such as the site's file of a driver version without
    /// artifacts.
    async fn remove_old_files(
        &self,
        before: Option<&Index>,
        index: &Index,
    ) -> Result<(), PublishError> {
        let old = before.iter().flat_map(|before| before.files.keys());
        let old: Vec<&str> = old
            .filter(|name| !index.files.contains_key(*name))
            .map(String::as_str)
            .collect();
        Ok(self.bucket.delete(old).await?)
    }

    async fn put_text(
        &self,
        name: &str,
        text: Vec<u8>,
        mode: PutMode,
    ) -> Result<Put, PublishError> {
        let content_type = match name {
            SUMS_FILE => "text/plain; charset=utf-8",
            _ => "application/json",
        };
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, content_type.to_owned()),
            // Only these objects and attestations change under their names.
            (Attribute::CacheControl, "no-cache".to_owned()),
            (digest_attribute(), Sha256::of(&text).to_string()),
        ]);
        let options = PutOptions {
            mode,
            attributes,
            ..PutOptions::default()
        };
        Ok(self.bucket.put(name, text, options).await?)
    }

    /// Returns the object with this name; `None` if it does not exist.
    pub(super) async fn existing(&self, key: &str) -> Result<Option<Existing>, PublishError> {
        let Some(found) = self.bucket.head(key).await? else {
            return Ok(None);
        };
        let sha256 = if self.bucket.is_directory() {
            self.content_digest(key).await?
        } else {
            let digest = found.attributes.get(&digest_attribute());
            digest.and_then(|digest| digest.parse().ok())
        };
        Ok(Some(Existing {
            version: found.version,
            size_bytes: found.size_bytes,
            sha256,
        }))
    }

    /// Returns the digest of an object's content; `None` if it does not exist.
    pub(super) async fn content_digest(&self, key: &str) -> Result<Option<Sha256>, PublishError> {
        let mut hashing = HashingWriter::new(std::io::sink());
        let is_there = self
            .bucket
            .get_to(key, ARTIFACT_BYTES, &mut hashing)
            .await?;
        Ok(is_there.then(|| hashing.finish().0))
    }

    /// Returns the names of all objects below some directories, with one listing for each.
    pub async fn published_names(
        &self,
        directories: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, PublishError> {
        let mut names = BTreeSet::new();
        for directory in directories {
            names.extend(self.listed(directory).await?.into_keys());
        }
        Ok(names)
    }

    /// Returns the objects below a directory, by name.
    pub(super) async fn listed(
        &self,
        below: &str,
    ) -> Result<BTreeMap<String, Object>, PublishError> {
        let objects = self.bucket.list(below).await?.into_iter();
        Ok(objects
            .map(|object| (object.name.clone(), object))
            .collect())
    }
}

impl ReadIndex {
    /// Returns the entry of a key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.index.as_ref()?.artifacts.get(key)
    }
}

/// The metadata attribute for the digest of an object.
pub(super) fn digest_attribute() -> Attribute {
    Attribute::Metadata(DIGEST.into())
}

/// Returns the `ETag` of a version without quotes, which headers and listings have in common.
pub(super) fn plain_etag(version: &UpdateVersion) -> Option<String> {
    let etag = version.e_tag.as_deref()?;
    Some(etag.trim_matches('"').to_owned())
}

fn encoding(error: serde_json::Error) -> FileError {
    FileError::of("encode", INDEX_FILE)(error.into())
}

fn derived_files(
    index: &Index,
    public_url: Option<&str>,
) -> Result<BTreeMap<String, Vec<u8>>, PublishError> {
    let mut files = site_files(index, public_url).map_err(encoding)?;
    files.insert(SUMS_FILE.to_owned(), index.sums().into_bytes());
    Ok(files)
}
