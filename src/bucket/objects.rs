//! Reading, writing and listing the objects of a bucket.

use std::path::Path;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::{
    Attributes, GetOptions, GetResult, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};
use tokio::io::AsyncReadExt as _;

use super::error::{Action, BucketError, BucketFault};
use super::open::Bucket;
use crate::fs::in_words;

/// Files up to this size are sent in one request.
const SINGLE_REQUEST_BYTES: u64 = 16 << 20;

/// The size of the parts of larger files, and how many are uploaded concurrently.
const PART_BYTES: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 2;

/// The facts of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The name below the bucket's prefix.
    pub name: String,
    /// The size in bytes.
    pub size_bytes: u64,
    /// When the object was last written.
    pub modified: Timestamp,
    /// The version, for a conditional replacement.
    pub version: UpdateVersion,
    /// Content type, cache control and custom metadata; empty in a listing.
    pub attributes: Attributes,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// The object was written.
    Done(UpdateVersion),
    /// The condition was not met: another object has this name.
    Conflict,
}

impl Bucket {
    /// Returns the content of an object with at most `limit_bytes` bytes; `None` if it does not exist.
    pub async fn get(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, BucketError> {
        let Some(found) = self.get_result(name, GetOptions::default()).await? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        self.copy(name, found, limit_bytes, &mut content).await?;
        Ok(Some(content))
    }

    /// Like [`Self::get`], but also returns the version for a conditional replacement.
    pub async fn get_versioned(
        &self,
        name: &str,
        limit_bytes: u64,
    ) -> Result<Option<(Vec<u8>, UpdateVersion)>, BucketError> {
        let Some(found) = self.get_result(name, GetOptions::default()).await? else {
            return Ok(None);
        };
        let version = self.object(found.meta.clone()).version;
        let mut content = Vec::new();
        self.copy(name, found, limit_bytes, &mut content).await?;
        Ok(Some((content, version)))
    }

    /// Writes the content of an object to `writer` as it arrives; returns false if the object does not exist.
    pub async fn get_to(
        &self,
        name: &str,
        limit_bytes: u64,
        writer: &mut (dyn std::io::Write + Send),
    ) -> Result<bool, BucketError> {
        let Some(found) = self.get_result(name, GetOptions::default()).await? else {
            return Ok(false);
        };
        self.copy(name, found, limit_bytes, writer).await?;
        Ok(true)
    }

    async fn get_result(
        &self,
        name: &str,
        options: GetOptions,
    ) -> Result<Option<GetResult>, BucketError> {
        self.note(false);
        match self.store.get_opts(&self.key(name)?, options).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                let error = self.error(Action::Read, &format!("read {name}"), &error);
                if error.fault == BucketFault::NotFound {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    async fn copy(
        &self,
        name: &str,
        found: GetResult,
        limit_bytes: u64,
        writer: &mut (dyn std::io::Write + Send),
    ) -> Result<(), BucketError> {
        let damaged = |why: String| BucketError::new(BucketFault::Damaged, self.url(), why);
        let size_bytes = found.meta.size;
        let url = self.url();
        if size_bytes > limit_bytes {
            return Err(damaged(format!(
                "{url}: {name} has {size_bytes} bytes, more than the limit of {limit_bytes} bytes"
            )));
        }
        let mut left_bytes = size_bytes;
        let mut content = found.into_stream();
        while let Some(part) = content
            .try_next()
            .await
            .map_err(|error| self.error(Action::Read, &format!("read {name}"), &error))?
        {
            left_bytes = left_bytes.checked_sub(part.len() as u64).ok_or_else(|| {
                damaged(format!("{url}: {name} is longer than its content length"))
            })?;
            writer.write_all(&part).map_err(|error| {
                let message = format!("failed to write {name} of {url}: {}", in_words(&error));
                BucketError::new(BucketFault::Files, url, message)
            })?;
        }
        if left_bytes > 0 {
            return Err(damaged(format!(
                "{url}: {name} ends {left_bytes} bytes early"
            )));
        }
        Ok(())
    }

    /// Returns the facts of an object; `None` if it does not exist.
    pub async fn head(&self, name: &str) -> Result<Option<Object>, BucketError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self.get_result(name, options).await?;
        Ok(found.map(|found| Object {
            attributes: found.attributes,
            ..self.object(found.meta)
        }))
    }

    fn object(&self, meta: ObjectMeta) -> Object {
        let seconds = meta.last_modified.timestamp();
        Object {
            name: self.name(&meta.location).to_owned(),
            size_bytes: meta.size,
            modified: Timestamp::from_second(seconds).unwrap_or_default(),
            version: UpdateVersion {
                e_tag: meta.e_tag,
                version: meta.version,
            },
            attributes: Attributes::default(),
        }
    }

    /// Writes an object, replacing an existing one if the mode of `options` allows it. A directory does not store
    /// attributes, and does not support conditional replacement.
    pub async fn put(
        &self,
        name: &str,
        content: impl Into<PutPayload>,
        options: PutOptions,
    ) -> Result<Put, BucketError> {
        self.note(true);
        let options = self.supported(options);
        let key = self.key(name)?;
        let put = self.store.put_opts(&key, content.into(), options);
        match put.await {
            Ok(done) => Ok(Put::Done(done.into())),
            Err(error) => {
                let error = self.error(Action::Write, &format!("write {name}"), &error);
                if error.fault == BucketFault::Changed {
                    Ok(Put::Conflict)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Creates an object; returns false if one with this name exists.
    pub async fn create(
        &self,
        name: &str,
        content: impl Into<PutPayload>,
    ) -> Result<bool, BucketError> {
        let put = self.put(name, content, PutMode::Create.into()).await?;
        Ok(put != Put::Conflict)
    }

    fn supported(&self, options: PutOptions) -> PutOptions {
        if !self.is_directory() {
            return options;
        }
        PutOptions {
            mode: match options.mode {
                PutMode::Update(_) => PutMode::Overwrite,
                mode => mode,
            },
            ..PutOptions::default()
        }
    }

    /// Writes a file as an object: in one request, or in parts, which appear together or not at all. Parts do not
    /// support conditions: the mode of `options` only applies to files of up to 16 MiB.
    pub async fn put_file(
        &self,
        name: &str,
        path: &Path,
        options: PutOptions,
    ) -> Result<Put, BucketError> {
        let failed = |error: std::io::Error| {
            let message = format!("failed to read {}: {}", path.display(), in_words(&error));
            BucketError::new(BucketFault::Files, self.url(), message)
        };
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        let size_bytes = file.metadata().await.map_err(failed)?.len();
        if size_bytes <= SINGLE_REQUEST_BYTES {
            let mut content = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
            file.read_to_end(&mut content).await.map_err(failed)?;
            return self.put(name, content, options).await;
        }
        self.note(true);
        let wrote = |error| self.error(Action::Write, &format!("write {name}"), &error);
        let options = PutMultipartOptions {
            attributes: self.supported(options).attributes,
            ..PutMultipartOptions::default()
        };
        let key = self.key(name)?;
        let upload = self.store.put_multipart_opts(&key, options);
        let upload = upload.await.map_err(wrote)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut chunk = vec![0; 1 << 20];
        loop {
            let read = match file.read(&mut chunk).await {
                Ok(read) => read,
                Err(error) => {
                    drop(writer.abort().await);
                    return Err(failed(error));
                }
            };
            if read == 0 {
                break;
            }
            writer
                .wait_for_capacity(PARTS_AT_ONCE)
                .await
                .map_err(wrote)?;
            writer.write(&chunk[..read]);
        }
        let done = writer.finish().await.map_err(wrote)?;
        Ok(Put::Done(done.into()))
    }

    /// Lists the objects in the directory `below`, recursively; all objects if it is empty.
    pub async fn list(&self, below: &str) -> Result<Vec<Object>, BucketError> {
        self.note(false);
        let whole = [self.url().prefix(), below.trim_matches('/')];
        let whole = whole.into_iter().filter(|part| !part.is_empty());
        let whole: Vec<&str> = whole.collect();
        let prefix = self.whole_key(&whole.join("/"))?;
        let mut found = self.store.list(Some(&prefix));
        let mut objects = Vec::new();
        loop {
            match found.try_next().await {
                Ok(Some(meta)) => objects.push(self.object(meta)),
                Ok(None) => return Ok(objects),
                Err(error) => {
                    let what = format!("list {}", if below.is_empty() { "it" } else { below });
                    return Err(self.error(Action::List, &what, &error));
                }
            }
        }
    }

    /// Removes objects; a missing one counts as removed.
    pub async fn delete(&self, names: impl IntoIterator<Item = &str>) -> Result<(), BucketError> {
        let removals = names.into_iter().map(async |name| {
            self.note(true);
            match self.store.delete(&self.key(name)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.error(Action::Delete, &format!("remove {name}"), &error)),
            }
        });
        let mut running = FuturesUnordered::new();
        for removal in removals {
            running.push(removal);
            if running.len() >= 16
                && let Some(done) = running.next().await
            {
                done?;
            }
        }
        while let Some(done) = running.next().await {
            done?;
        }
        Ok(())
    }

    /// Renames an object on the server, if the new name is free. Returns false, without changes, if the object does
    /// not exist or the new name is in use.
    pub async fn move_to(&self, name: &str, new_name: &str) -> Result<bool, BucketError> {
        self.note(true);
        let (from, to) = (self.key(name)?, self.key(new_name)?);
        if self.head(new_name).await?.is_some() {
            return Ok(false);
        }
        match self.store.rename(&from, &to).await {
            Ok(()) => Ok(true),
            Err(error) => {
                let what = format!("move {name} to {new_name}");
                let read = self.error(Action::Read, &what, &error);
                if read.fault == BucketFault::NotFound {
                    return Ok(false);
                }
                Err(self.error(Action::Write, &what, &error))
            }
        }
    }

    /// Returns a URL with which anyone can send one kind of request for an object for a limited time.
    pub async fn signed_url(
        &self,
        method: reqwest::Method,
        name: &str,
        lifetime: Duration,
    ) -> Result<String, BucketError> {
        let Some(signer) = &self.signer else {
            let message = format!("{}: a directory does not support signed URLs", self.url());
            return Err(BucketError::new(BucketFault::Settings, self.url(), message));
        };
        let url = signer.signed_url(method, &self.key(name)?, lifetime).await;
        url.map(String::from)
            .map_err(|error| self.error(Action::Sign, &format!("sign a URL of {name}"), &error))
    }

    /// Counts an operation on a directory, which sends no requests that are counted elsewhere.
    fn note(&self, is_write: bool) {
        if self.is_directory() {
            self.traffic.note(is_write);
        }
    }
}
