//! Uploads a single artifact.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::destination::{Destination, Existing, ReadIndex, digest_attribute, plain_etag};
use super::error::{PublishError, is_systemic};
use super::index::Entry;
use super::item::Item;
use super::layout::log_key;
use super::options::{PublishOptions, RowState};
use crate::attest::read_attestation;
use crate::bucket::{
    Attribute, Attributes, BucketError, BucketFault, Object, Put, PutMode, PutOptions,
};
use crate::digest::Sha256;
use crate::fs::{self, FileError, blocking};
use crate::report::attestation_of;

/// The Content-Type of attestations.
const ATTESTATION_TYPE: &str = "application/x-ndjson";

/// The advice about an object that another program wrote.
const FOREIGN: &str = "another program wrote it: `publish --audit` lists such objects, --replace-foreign replaces them";

/// The advice about an object that changes unexpectedly.
pub(super) const AGAIN: &str =
    "publish again; if that does not help, another program writes to the destination";

/// The maximum size of artifacts in memory, in MiB.
const MEMORY_MIB: u32 = 64;

/// The shared state of a publication's uploads.
pub(super) struct Uploads<'a> {
    pub(super) destination: &'a Destination,
    pub(super) options: &'a PublishOptions,
    pub(super) index: &'a ReadIndex,
    /// The objects of the destination; `None` if listing is forbidden.
    pub(super) listed: Option<BTreeMap<String, Object>>,
    /// Set when every further request would fail too.
    pub(super) is_over: AtomicBool,
    memory: Arc<Semaphore>,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(
        destination: &'a Destination,
        options: &'a PublishOptions,
        index: &'a ReadIndex,
        listed: Option<BTreeMap<String, Object>>,
    ) -> Self {
        Self {
            destination,
            options,
            index,
            listed,
            is_over: AtomicBool::new(false),
            memory: Arc::new(Semaphore::new(MEMORY_MIB as usize)),
        }
    }

    /// Uploads an artifact unless it already exists; the returned entry has its `ETag`.
    pub(super) async fn upload(&self, item: &Item) -> (RowState, Entry) {
        let mut entry = item.entry.clone();
        if self.is_over.load(Ordering::Relaxed) {
            let reason = "not tried: the destination rejected an earlier upload";
            return (RowState::failed(BucketFault::Other, reason), entry);
        }
        let state = match self.try_upload(item, &mut entry).await {
            Ok(state) => state,
            Err(PublishError::Bucket(error)) => {
                if is_systemic(error.fault) {
                    self.is_over.store(true, Ordering::Relaxed);
                }
                let state = RowState::failed(error.fault, error.message);
                match error.help {
                    Some(help) => state.with_help(help),
                    None => state,
                }
            }
            Err(error) => RowState::failed(BucketFault::Files, error.to_string()),
        };
        (state, entry)
    }

    async fn try_upload(&self, item: &Item, entry: &mut Entry) -> Result<RowState, PublishError> {
        let key = &item.entry.key;
        let known = self.index.entry(key);
        if let Some(known) = known
            && !known.is_same_artifact(&item.entry)
            && (known.alias_of.is_none() || item.entry.alias_of.is_some())
        {
            return Ok(RowState::failed(
                BucketFault::Changed,
                format!(
                    "the name is published for {} and is not replaced by {}",
                    known.build_id, item.entry.build_id
                ),
            ));
        }
        let is_listed = self
            .listed
            .as_ref()
            .is_none_or(|listed| listed.contains_key(key));
        if self.options.skip_published && known.is_none() && self.listed.is_some() && is_listed {
            return Ok(RowState::Skipped);
        }
        // Nothing is uploaded before the name is known to be free or ours.
        let mode = if known.is_some() || (self.listed.is_some() && is_listed) {
            match self.destination.existing(key).await? {
                Some(existing) => match self.judge(item, known, &existing) {
                    Judgement::Found => {
                        entry.etag = plain_etag(&existing.version);
                        self.upload_more(item, entry).await?;
                        return Ok(RowState::Found);
                    }
                    Judgement::Replace => PutMode::Update(existing.version),
                    Judgement::Foreign(why) => {
                        let state = RowState::failed(BucketFault::Changed, why);
                        return Ok(state.with_help(FOREIGN));
                    }
                },
                None => PutMode::Create,
            }
        } else {
            PutMode::Create
        };
        let mib = u32::try_from(item.entry.size_bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let permits = self.memory.acquire_many(mib.clamp(1, MEMORY_MIB)).await;
        let content = verified(&item.file, &item.entry).await?;
        let put = self.put(key, content, mode, &item.entry).await?;
        drop(permits);
        match put {
            Put::Done(version) => entry.etag = plain_etag(&version),
            Put::Conflict => {
                // A concurrent publication, or an interrupted one if listing is forbidden.
                let existing = self.destination.existing(key).await?;
                match existing.map(|existing| (self.judge(item, known, &existing), existing)) {
                    Some((Judgement::Found, existing)) => {
                        entry.etag = plain_etag(&existing.version);
                        self.upload_more(item, entry).await?;
                        return Ok(RowState::Found);
                    }
                    _ => {
                        return Ok(RowState::failed(
                            BucketFault::Changed,
                            "the object changed before it could be replaced",
                        )
                        .with_help(AGAIN));
                    }
                }
            }
        }
        self.upload_more(item, entry).await?;
        Ok(RowState::Published)
    }

    /// Decides whether an object is already the wanted one, may be replaced, or is foreign.
    fn judge(&self, item: &Item, known: Option<&Entry>, existing: &Existing) -> Judgement {
        let wanted = &item.entry;
        match existing.sha256 {
            Some(found) if found == wanted.sha256 => {
                if existing.size_bytes == wanted.size_bytes {
                    Judgement::Found
                } else {
                    // An incomplete upload of this content.
                    Judgement::Replace
                }
            }
            Some(found) if known.is_some_and(|known| known.sha256 == found) => Judgement::Replace,
            _ if self.options.replace_foreign => Judgement::Replace,
            found => Judgement::Foreign(format!(
                "{}, with {}",
                match known {
                    Some(known) => format!(
                        "the object differs from the index ({})",
                        known.sha256.short()
                    ),
                    None => "the name belongs to an object that is not in the index".to_owned(),
                },
                match found {
                    Some(found) => format!("digest {}", found.short()),
                    None => "no digest".to_owned(),
                }
            )),
        }
    }

    async fn put(
        &self,
        key: &str,
        content: Vec<u8>,
        mode: PutMode,
        entry: &Entry,
    ) -> Result<Put, BucketError> {
        let mut attributes = Attributes::from_iter([
            (Attribute::ContentType, self.options.content_type.clone()),
            (digest_attribute(), entry.sha256.to_string()),
        ]);
        if let Some(cache_control) = &self.options.cache_control {
            attributes.insert(Attribute::CacheControl, cache_control.clone().into());
        }
        let options = PutOptions {
            mode,
            attributes,
            ..PutOptions::default()
        };
        self.destination.bucket.put(key, content, options).await
    }

    /// Uploads the attestation and the log of an artifact.
    async fn upload_more(&self, item: &Item, entry: &mut Entry) -> Result<(), PublishError> {
        self.upload_attestation(item, entry).await?;
        self.upload_log(item, entry).await
    }

    async fn upload_attestation(&self, item: &Item, entry: &mut Entry) -> Result<(), PublishError> {
        let Some(attestation) = &mut entry.attestation else {
            // A publication without attestations keeps the attestation of the same content.
            let known = self.index.entry(&entry.key);
            let known = known.filter(|known| known.sha256 == entry.sha256);
            entry.attestation = known.and_then(|known| known.attestation.clone());
            return Ok(());
        };
        if entry.alias_of.is_some() {
            return Ok(());
        }
        let path = attestation_of(&item.file);
        let content = read_attestation(&path)?.unwrap_or_default();
        if Sha256::of(&content) != attestation.sha256 {
            let why = "it changed while it was published";
            return Err(FileError::of("publish", path)(std::io::Error::other(why)).into());
        }
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, ATTESTATION_TYPE.to_owned()),
            // It may be replaced by one with another key.
            (Attribute::CacheControl, "no-cache".to_owned()),
            (digest_attribute(), attestation.sha256.to_string()),
        ]);
        let options = PutOptions {
            mode: PutMode::Overwrite,
            attributes,
            ..PutOptions::default()
        };
        let bucket = &self.destination.bucket;
        if let Put::Done(version) = bucket.put(&attestation.name, content, options).await? {
            attestation.etag = plain_etag(&version);
        }
        Ok(())
    }

    async fn upload_log(&self, item: &Item, entry: &mut Entry) -> Result<(), PublishError> {
        if !self.options.with_logs || item.entry.alias_of.is_some() {
            return Ok(());
        }
        let Some(path) = item.log.as_ref().filter(|path| path.is_file()) else {
            return Ok(());
        };
        let key = log_key(&item.entry.key);
        let attributes = Attributes::from_iter([(Attribute::ContentType, "application/zstd")]);
        let bucket = &self.destination.bucket;
        bucket.put_file(&key, path, attributes.into()).await?;
        entry.log = Some(key);
        Ok(())
    }
}

enum Judgement {
    Found,
    Replace,
    Foreign(String),
}

/// Returns the content of an artifact, after comparing it with the manifest.
async fn verified(path: &Path, entry: &Entry) -> Result<Vec<u8>, PublishError> {
    let (path, expected) = (path.to_owned(), entry.sha256);
    let read = move || {
        let content = fs::read_file(&path)?;
        let found = Sha256::of(&content);
        if found == expected {
            return Ok(content);
        }
        let why = format!(
            "its content has digest {}, the manifest says {}",
            found.short(),
            expected.short()
        );
        Err(FileError::of("publish", path)(std::io::Error::other(why)))
    };
    Ok(blocking(read).await?)
}
