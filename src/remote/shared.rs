//! The remote store in a run.

mod of_store;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::leases::{Done, Leases};
use super::news::{Contents, News};
use super::packs::{self, Found};
use super::queue::Queue;
use super::settings::{Finished, RemoteError, RemoteSettings, Summary};
use super::{clean, leases};
use crate::bucket::{Bucket, BucketError, BucketFault, BucketSettings, PutOptions, TrafficCount};
use crate::cache::Outcome;
use crate::digest::Sha256;
use crate::fs::{self, blocking};
use crate::store::{Shared, Store};

/// An object that identifies the prefix, and shows that it is writable.
const MARK: &str = "driverkit-matrix";

/// The interval at which the pack of a run is rewritten during the run: a machine that crashes loses at most this.
const BETWEEN_PACKS: Duration = Duration::from_mins(10);

/// The number of packs from which on a run merges them at its end.
const MERGED_FROM: usize = 48;

/// An open remote store.
pub struct Remote {
    settings: RemoteSettings,
    bucket: Bucket,
    found: Found,
    folder: PathBuf,
    run_id: String,
    queue: Arc<Queue>,
    leases: Arc<Leases>,
    news: Mutex<News>,
    /// Contents that could not be downloaded or are not trusted, with the reason.
    faults: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remote({})", self.bucket.url())
    }
}

impl Remote {
    /// Opens the bucket and reads its packs, which are also cached below `cache`.
    pub async fn open(
        settings: RemoteSettings,
        cache: &Path,
        run_id: &str,
    ) -> Result<Self, RemoteError> {
        if settings.trust.keys.is_none() && !settings.trust.is_trusted {
            return Err(RemoteError::NoTrust(settings.bucket.to_string()));
        }
        let bucket = Bucket::open(&settings.bucket)?;
        let folder = packs::folder_of(cache, &bucket);
        let created = folder.clone();
        blocking(move || fs::create_folder(&created)).await?;
        let found = packs::read_all(&bucket, &settings.trust, &folder).await?;
        if !settings.is_read_only {
            let mark = "The store of driverkit-matrix: packs/ and contents/ belong together.\n";
            bucket.create(MARK, mark).await?;
        }
        let names = found.names.clone();
        let kept = folder.clone();
        blocking(move || packs::forget_others(&kept, &names)).await;
        let is_own = settings.is_read_only || !settings.keep.artifacts;
        let lease = if is_own {
            Duration::ZERO
        } else {
            settings.lease
        };
        let claims = Bucket::open(&BucketSettings {
            retries: 0,
            ..settings.bucket.clone()
        })?;
        let trust = settings.trust.clone();
        let leases = Leases::new(bucket.clone(), claims, trust, run_id, lease);
        Ok(Self {
            leases: Arc::new(leases),
            settings,
            bucket,
            found,
            folder,
            run_id: run_id.to_owned(),
            queue: Arc::new(Queue::new()),
            news: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// Returns the size of the store.
    pub fn summary(&self) -> Summary {
        let (outcomes, contents) = self.found.index.counts();
        Summary {
            packs: self.found.names.len(),
            outcomes,
            contents,
            content_bytes: self.found.index.contents().map(|(_, size)| size).sum(),
            refused: self.refused(),
        }
    }

    /// Returns the packs that are not trusted, with the reason.
    pub fn refused(&self) -> Vec<String> {
        let refused =
            self.found.refused.iter().map(|(name, why)| {
                format!("{}: pack {name} is rejected: {why}", self.bucket.url())
            });
        refused.collect()
    }

    /// Returns the contents that could not be downloaded or are not trusted, with the reason, and why leases are
    /// disabled.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = self.leases.told_problems().into_iter();
        problems.chain(faults.iter().cloned()).collect()
    }

    /// Returns the traffic so far.
    pub fn traffic(&self) -> TrafficCount {
        self.bucket.traffic() + self.leases.traffic()
    }

    /// Returns the URL.
    pub fn url(&self) -> String {
        self.bucket.url().to_string()
    }

    /// Starts uploading contents of `store`, and writing packs periodically.
    pub fn start(self: &Arc<Self>, store: &Arc<Store>) {
        if self.settings.is_read_only {
            return;
        }
        self.queue.start(self.bucket.clone(), Arc::clone(store));
        self.leases.start();
        let remote = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BETWEEN_PACKS).await;
                let Some(remote) = remote.upgrade() else {
                    return;
                };
                if let Err(error) = remote.write_pack().await {
                    tracing::warn!("{error}");
                }
            }
        });
    }

    /// Waits until the additions of the run are in the bucket, and returns what is not.
    pub async fn finish(&self) -> Finished {
        if self.settings.is_read_only {
            return Finished::default();
        }
        self.queue.close().await;
        self.leases.finish().await;
        let mut problems = self.queue.faults();
        let written = self.write_pack().await;
        let (outcomes, withheld) = match written {
            Ok(counts) => counts,
            Err(error) => {
                problems.push(with_help(&error));
                (0, self.news().outcomes.len())
            }
        };
        problems.truncate(3);
        if outcomes > 0
            && self.found.names.len() >= MERGED_FROM
            && let Err(error) = self.tidy().await
        {
            // The next run or `store gc` will merge them.
            tracing::warn!("{error}");
        }
        Finished {
            outcomes,
            contents: self.queue.sent().len(),
            content_bytes: self.queue.sent_bytes(),
            withheld,
            problems,
        }
    }

    async fn tidy(&self) -> Result<(), BucketError> {
        clean::merge(&self.bucket, &self.settings.trust, &self.folder).await?;
        leases::sweep(&self.bucket).await
    }

    /// Returns what is not in the bucket if the run ends immediately.
    pub fn unfinished(&self) -> Finished {
        let withheld = self.news().outcomes.len();
        let problem = "the run was interrupted before the upload";
        Finished {
            withheld,
            problems: (withheld > 0)
                .then(|| problem.to_owned())
                .into_iter()
                .collect(),
            ..Finished::default()
        }
    }

    /// Writes a pack of all additions whose contents are in the bucket, replacing the previous pack of this run.
    /// Returns the number of outcomes in it, and the number of those that have to wait.
    async fn write_pack(&self) -> Result<(usize, usize), BucketError> {
        let failed = |error: std::io::Error| {
            BucketError::new(BucketFault::Files, self.bucket.url(), error.to_string())
        };
        let trust = &self.settings.trust;
        let pack = self.news().pack(&self.found.index, &self.queue, trust);
        let (pack, counts) = pack.map_err(failed)?;
        if counts.0 == 0 && self.news().records.is_empty() {
            return Ok(counts);
        }
        let name = packs::name_of(&self.run_id, &pack);
        if self.news().pack.as_ref() == Some(&name) {
            return Ok(counts);
        }
        let object = |name: &str| format!("{}/{name}", packs::FOLDER);
        self.bucket
            .put(&object(&name), pack, PutOptions::default())
            .await?;
        let earlier = self.news().pack.replace(name);
        if let Some(earlier) = earlier {
            // An additional pack does no harm.
            drop(self.bucket.delete([object(&earlier).as_str()]).await);
        }
        Ok(counts)
    }

    /// Queues the contents of an outcome; returns them, or `None` if the outcome is useless to other machines.
    fn queue_contents(&self, outcome: &Outcome) -> Option<Contents> {
        let contents = Contents::of(outcome, self.settings.keep)?;
        if let Some(tree) = contents.tree
            && self.packed_tree(tree).is_none()
        {
            self.queue.add_tree(tree);
        }
        for content in contents.needs.iter().chain(&contents.more) {
            if !self.has(*content) {
                self.queue.add(*content);
            }
        }
        Some(contents)
    }

    /// Stores a content, whatever it belongs to.
    pub fn note_content(&self, content: Sha256) {
        if !self.settings.is_read_only && !self.has(content) {
            self.queue.add(content);
        }
    }

    fn size_of(&self, content: Sha256) -> Option<u64> {
        let size_bytes = self.found.index.size_of(content);
        size_bytes.or_else(|| self.news().learned.get(&content).copied())
    }

    /// Returns an outcome for machines that wait for it.
    fn done(&self, text: &[u8], contents: Contents) -> Done {
        let all = contents.needs.iter().chain(&contents.more);
        Done {
            there: all
                .filter_map(|&content| Some((content, self.size_of(content)?)))
                .collect(),
            text: text.to_owned(),
            needs: contents.needs,
            more: contents.more,
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_help(error: &BucketError) -> String {
    match &error.help {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}
