//! All packs of a bucket: read when a run begins, and then used without a connection.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::keys::Trust;
use super::pack::{self, Line};
use crate::bucket::{Bucket, BucketError};
use crate::digest::Sha256;
use crate::fs::{self, FileError, blocking};

/// The prefix of packs in a bucket.
pub(super) const FOLDER: &str = "packs";

/// The maximum size of a pack.
const LIMIT_BYTES: u64 = 1 << 30;

/// The number of packs that are downloaded concurrently.
const AT_ONCE: usize = 16;

/// The position of a text.
#[derive(Clone, Copy)]
struct Spot {
    file: u32,
    length: u32,
    offset: u64,
}

/// The merged content of packs.
#[derive(Default)]
pub(super) struct Index {
    /// The lines of each pack, in an unnamed temporary file.
    files: Vec<File>,
    outcomes: HashMap<Sha256, Spot>,
    records: HashMap<String, Spot>,
    contents: HashMap<Sha256, u64>,
}

impl Index {
    /// Adds the lines of a pack, which have precedence over those of earlier packs.
    fn add(&mut self, lines: &[u8], folder: &Path) -> Result<(), String> {
        let mut file = tempfile::tempfile_in(folder)
            .map_err(FileError::of("write in", folder))
            .map_err(|error| error.to_string())?;
        file.write_all(lines).map_err(|error| error.to_string())?;
        let number = u32::try_from(self.files.len()).map_err(|error| error.to_string())?;
        let spot = |range: std::ops::Range<usize>| Spot {
            file: number,
            offset: range.start as u64,
            length: u32::try_from(range.len()).unwrap_or(0),
        };
        // All lines are checked first, so that an invalid pack adds nothing.
        pack::read(lines, |_| ()).map_err(|error| error.to_string())?;
        self.files.push(file);
        pack::read(lines, |line| match line {
            Line::Outcome(key, range) => {
                self.outcomes.insert(key, spot(range));
            }
            Line::Record(url, range) => {
                self.records.insert(url.to_owned(), spot(range));
            }
            Line::Content(sha256, size_bytes) => {
                self.contents.insert(sha256, size_bytes);
            }
        })
        .map_err(|error| error.to_string())
    }

    fn text(&self, spot: Spot) -> Option<Vec<u8>> {
        let mut text = vec![0; spot.length as usize];
        let file = self.files.get(spot.file as usize)?;
        file.read_exact_at(&mut text, spot.offset).ok()?;
        Some(text)
    }

    pub(super) fn outcome(&self, key: Sha256) -> Option<Vec<u8>> {
        self.outcomes.get(&key).and_then(|&spot| self.text(spot))
    }

    pub(super) fn record(&self, url: &str) -> Option<Vec<u8>> {
        self.records.get(url).and_then(|&spot| self.text(spot))
    }

    pub(super) fn size_of(&self, content: Sha256) -> Option<u64> {
        self.contents.get(&content).copied()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.outcomes.len(), self.contents.len())
    }

    pub(super) fn contents(&self) -> impl Iterator<Item = (Sha256, u64)> + '_ {
        self.contents.iter().map(|(&sha256, &size)| (sha256, size))
    }

    /// Calls `visit` for each outcome in the order of the keys.
    pub(super) fn each_outcome(&self, mut visit: impl FnMut(Sha256, &[u8])) {
        let mut keys: Vec<&Sha256> = self.outcomes.keys().collect();
        keys.sort_unstable();
        for key in keys {
            if let Some(text) = self.outcome(*key) {
                visit(*key, &text);
            }
        }
    }

    /// Calls `visit` for each record in the order of the URLs.
    pub(super) fn each_record(&self, mut visit: impl FnMut(&str, &[u8])) {
        let mut urls: Vec<&String> = self.records.keys().collect();
        urls.sort_unstable();
        for url in urls {
            if let Some(text) = self.record(url) {
                visit(url, &text);
            }
        }
    }
}

/// The packs that were found in a bucket.
#[derive(Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The names of the packs that were read, in order.
    pub(super) names: Vec<String>,
    /// The packs that are not trusted, with the reason.
    pub(super) refused: Vec<(String, String)>,
}

/// Lists the packs of a bucket and reads them; packs that were downloaded earlier are in `folder`.
pub(super) async fn read_all(
    bucket: &Bucket,
    trust: &Trust,
    folder: &Path,
) -> Result<Found, BucketError> {
    let names = list(bucket).await?;
    let mut fetched = futures_util::stream::iter(names)
        .map(|name| async move {
            let pack = fetch(bucket, folder, &name).await?;
            Ok::<_, BucketError>((name, pack))
        })
        .buffered(AT_ONCE);
    let mut found = Found::default();
    // Each pack is checked on arrival, so that untrusted packs do not use memory.
    while let Some((name, pack)) = fetched.try_next().await? {
        let Some(pack) = pack else { continue };
        let (trust, folder) = (trust.clone(), folder.to_owned());
        found = blocking(move || {
            found.add(name, &pack, &trust, &folder);
            found
        })
        .await;
    }
    Ok(found)
}

/// Returns the names of all packs, the oldest first: names start with a time.
pub(super) async fn list(bucket: &Bucket) -> Result<Vec<String>, BucketError> {
    let objects = bucket.list(FOLDER).await?;
    let names = objects.into_iter().filter_map(|object| {
        let name = object.name.strip_prefix(FOLDER)?.strip_prefix('/')?;
        let stem = name.strip_suffix(".pack")?;
        (!stem.contains('/')).then(|| name.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Returns a pack from `folder`, otherwise from the bucket; `None` if it has been merged with others.
async fn fetch(bucket: &Bucket, folder: &Path, name: &str) -> Result<Option<Vec<u8>>, BucketError> {
    let path = folder.join(name);
    let known = {
        let path = path.clone();
        blocking(move || std::fs::read(path).ok()).await
    };
    // The name contains the digest.
    if let Some(pack) = known.filter(|pack| name.contains(&Sha256::of(pack).short())) {
        return Ok(Some(pack));
    }
    let pack = bucket.get(&format!("{FOLDER}/{name}"), LIMIT_BYTES).await?;
    if let Some(pack) = pack.clone() {
        // The copy only saves the next run a request.
        let kept = blocking(move || fs::write_unsynced(&path, pack)).await;
        if let Err(error) = kept {
            tracing::warn!("{error}");
        }
    }
    Ok(pack)
}

impl Found {
    fn add(&mut self, name: String, pack: &[u8], trust: &Trust, folder: &Path) {
        let opened = pack::open(pack, trust).map_err(|error| error.to_string());
        match opened.and_then(|lines| self.index.add(&lines, folder)) {
            Ok(()) => self.names.push(name),
            Err(why) => self.refused.push((name, why)),
        }
    }
}

/// Returns the name of a pack: its time, its run, and its digest.
pub(super) fn name_of(made: &str, pack: &[u8]) -> String {
    format!("{made}-{}.pack", Sha256::of(pack).short())
}

/// Returns the directory on this machine in which the packs of a bucket are cached.
pub(super) fn folder_of(cache: &Path, bucket: &Bucket) -> PathBuf {
    let name = Sha256::of(bucket.url().to_string()).short();
    cache.join("shared").join(name)
}

/// Removes cached packs that the bucket no longer has.
pub(super) fn forget_others(folder: &Path, names: &[String]) {
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !names.contains(name.to_string_lossy().as_ref()) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
