//! All packs of a bucket: read when a run begins, then asked without a connection.

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

/// Where packs are in a bucket.
pub(super) const FOLDER: &str = "packs";

/// No pack is larger.
const LIMIT_BYTES: u64 = 1 << 30;

/// How many packs are fetched at once.
const AT_ONCE: usize = 16;

/// Where a text is.
#[derive(Clone, Copy)]
struct Spot {
    file: u32,
    length: u32,
    offset: u64,
}

/// What packs say.
#[derive(Default)]
pub(super) struct Index {
    /// The lines of each pack, in a file without a name.
    files: Vec<File>,
    outcomes: HashMap<Sha256, Spot>,
    records: HashMap<String, Spot>,
    contents: HashMap<Sha256, u64>,
}

impl Index {
    /// Adds the lines of a pack, which win over those of earlier ones.
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
        // First all of it, then what it says: a pack counts whole or not at all.
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

    /// Calls `visit` for each outcome in the order of their keys.
    pub(super) fn each_outcome(&self, mut visit: impl FnMut(Sha256, &[u8])) {
        let mut keys: Vec<&Sha256> = self.outcomes.keys().collect();
        keys.sort_unstable();
        for key in keys {
            if let Some(text) = self.outcome(*key) {
                visit(*key, &text);
            }
        }
    }

    /// The same for records.
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

/// What was found in a bucket.
#[derive(Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The names of the packs that were read, in order.
    pub(super) names: Vec<String>,
    /// The packs that are not believed, and why.
    pub(super) refused: Vec<(String, String)>,
}

/// Lists the packs of a bucket and reads them; those that were fetched earlier are in `folder`.
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
    // Each is judged as it comes, so that bytes nobody answers for are not held.
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

/// The names of all packs, oldest first: they start with a time.
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

/// A pack from `folder` or else from the bucket; none where it was merged with others meanwhile.
async fn fetch(bucket: &Bucket, folder: &Path, name: &str) -> Result<Option<Vec<u8>>, BucketError> {
    let path = folder.join(name);
    let known = {
        let path = path.clone();
        blocking(move || std::fs::read(path).ok()).await
    };
    // Its name says what it must be.
    if let Some(pack) = known.filter(|pack| name.contains(&Sha256::of(pack).short())) {
        return Ok(Some(pack));
    }
    let pack = bucket.get(&format!("{FOLDER}/{name}"), LIMIT_BYTES).await?;
    if let Some(pack) = pack.clone() {
        // Only spares the next run a request.
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

/// The name of a pack: when it was made, by whom, and its digest.
pub(super) fn name_of(made: &str, pack: &[u8]) -> String {
    format!("{made}-{}.pack", Sha256::of(pack).short())
}

/// Where the packs of a bucket are kept on this machine.
pub(super) fn folder_of(cache: &Path, bucket: &Bucket) -> PathBuf {
    let name = Sha256::of(bucket.url().to_string()).short();
    cache.join("shared").join(name)
}

/// Forgets packs on this machine that the bucket no longer has.
pub(super) fn forget_others(folder: &Path, names: &[String]) {
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !names.contains(name.to_string_lossy().as_ref()) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
