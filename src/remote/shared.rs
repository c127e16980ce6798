//! The remote store as a run uses it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::contents;
use super::keys::Trust;
use super::pack::Writer;
use super::packs::{self, Found};
use super::queue::{Queue, State};
use super::trees;
use crate::bucket::{Bucket, BucketError, BucketFault, BucketSettings, PutOptions, TrafficCount};
use crate::cache::{Outcome, StepResult};
use crate::digest::Sha256;
use crate::fs::{self, FileError, blocking};
use crate::store::{Shared, Store};

/// An object that shows what the prefix is, and that it can be written to.
const MARK: &str = "driverkit-matrix";

/// How often the pack of a run is written anew while the run goes on: what a machine that dies loses.
const BETWEEN_PACKS: Duration = Duration::from_mins(10);

/// From so many packs on, the run merges them at its end.
const MERGED_FROM: usize = 48;

/// What the remote store keeps of what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "any of the kinds may be kept without the others"
)]
pub struct Keep {
    /// Modules and probes.
    pub artifacts: bool,
    /// The logs of jobs.
    pub logs: bool,
    /// Header packages, kernel configurations and driver sources, which mirrors delete.
    pub headers: bool,
    /// Header trees that a job made of a kernel source. They are large, so only where that is asked for.
    pub prepared: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            artifacts: true,
            logs: true,
            headers: true,
            prepared: false,
        }
    }
}

/// Where the remote store is and how it is used.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// The bucket.
    pub bucket: BucketSettings,
    /// Whose packs are believed.
    pub trust: Trust,
    /// What is kept.
    pub keep: Keep,
    /// Whether nothing is written.
    pub is_read_only: bool,
}

/// Why the remote store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// This machine's disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing says whose outcomes are believed.
    #[error("{0}: nothing says whose outcomes are believed")]
    NoTrust(String),
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Packs that are believed.
    pub packs: usize,
    /// Outcomes in them.
    pub outcomes: usize,
    /// Contents that they name.
    pub contents: usize,
    /// The size of those in bytes.
    pub content_bytes: u64,
    /// Packs that are not believed, with the reason.
    pub refused: Vec<String>,
}

/// What a run left in the remote store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Outcomes that other machines know now.
    pub outcomes: usize,
    /// Contents that were sent.
    pub contents: usize,
    /// Their size in bytes.
    pub content_bytes: u64,
    /// Outcomes of this run that other machines do not know.
    pub withheld: usize,
    /// Why.
    pub problems: Vec<String>,
}

/// A remote store that is open.
pub struct Remote {
    settings: RemoteSettings,
    bucket: Bucket,
    found: Found,
    folder: PathBuf,
    run_id: String,
    queue: Arc<Queue>,
    news: Mutex<News>,
    /// Contents that could not be fetched or are not believed.
    faults: Mutex<BTreeSet<String>>,
}

/// What this run adds.
#[derive(Default)]
struct News {
    outcomes: BTreeMap<Sha256, New>,
    records: BTreeMap<String, Vec<u8>>,
    /// Outcomes that turned out to be of no use.
    forgotten: HashSet<Sha256>,
    /// The pack that holds what was finished so far.
    pack: Option<String>,
}

/// A new outcome.
struct New {
    text: Vec<u8>,
    /// Contents that it is nothing without.
    needs: Vec<Sha256>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remote({})", self.bucket.url())
    }
}

impl Remote {
    /// Opens the bucket and reads its packs, which are also kept below `cache`.
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
        fs::create_folder(&folder)?;
        let found = packs::read_all(&bucket, &settings.trust, &folder).await?;
        if !settings.is_read_only {
            let mark = "The store of driverkit-matrix: packs/ and contents/ belong together.\n";
            bucket.create(MARK, mark).await?;
        }
        let names = found.names.clone();
        let kept = folder.clone();
        blocking(move || packs::forget_others(&kept, &names)).await;
        Ok(Self {
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

    /// How much there is.
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

    /// The packs that are not believed, each with the reason.
    pub fn refused(&self) -> Vec<String> {
        let refused = self
            .found
            .refused
            .iter()
            .map(|(name, why)| format!("{}: pack {name} is refused: {why}", self.bucket.url()));
        refused.collect()
    }

    /// Contents that could not be fetched or are not believed, and why.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().cloned().collect()
    }

    /// What was requested so far.
    pub fn traffic(&self) -> TrafficCount {
        self.bucket.traffic()
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.bucket.url().to_string()
    }

    /// Sends contents of `store` from now on, and writes packs now and then.
    pub fn start(self: &Arc<Self>, store: &Arc<Store>) {
        if self.settings.is_read_only {
            return;
        }
        self.queue.start(self.bucket.clone(), Arc::clone(store));
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

    /// Waits until what the run made is in the bucket, and says what is not.
    pub async fn finish(&self) -> Finished {
        if self.settings.is_read_only {
            return Finished::default();
        }
        self.queue.close().await;
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
            && let Err(error) =
                super::clean::merge(&self.bucket, &self.settings.trust, &self.folder).await
        {
            // The next run or `store gc` does it.
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

    /// What is not in the bucket where the run ends at once.
    pub fn unfinished(&self) -> Finished {
        let withheld = self.news().outcomes.len();
        let problem = "the run was interrupted before it was sent";
        Finished {
            withheld,
            problems: (withheld > 0)
                .then(|| problem.to_owned())
                .into_iter()
                .collect(),
            ..Finished::default()
        }
    }

    /// Writes a pack of everything new whose contents are in the bucket, in the place of the one before. Returns how many
    /// outcomes are in it, and how many have to wait.
    async fn write_pack(&self) -> Result<(usize, usize), BucketError> {
        let failed = |error: std::io::Error| {
            BucketError::new(BucketFault::Files, self.bucket.url(), error.to_string())
        };
        let (pack, counts) = self.pack().map_err(failed)?;
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
            // A pack more does no harm.
            drop(self.bucket.delete([object(&earlier).as_str()]).await);
        }
        Ok(counts)
    }

    fn pack(&self) -> std::io::Result<(Vec<u8>, (usize, usize))> {
        let news = self.news();
        let mut writer = Writer::new()?;
        let (mut ready, mut waiting) = (0, 0);
        let is_there = |content: &Sha256| {
            self.found.index.size_of(*content).is_some()
                || matches!(self.queue.state(*content), Some(State::Sent { .. }))
        };
        let is_lost = |content: &Sha256| self.queue.state(*content) == Some(State::Absent);
        for (key, new) in &news.outcomes {
            if new.needs.iter().all(is_there) {
                writer.outcome(*key, &new.text)?;
                ready += 1;
            } else if !new.needs.iter().any(is_lost) {
                waiting += 1;
            }
        }
        for (url, text) in &news.records {
            writer.record(url, text)?;
        }
        for (content, size_bytes) in self.queue.sent() {
            writer.content(content, size_bytes)?;
        }
        for (tree, content) in self.queue.sent_trees() {
            writer.record(&trees::record_of(tree), content.to_string().as_bytes())?;
        }
        drop(news);
        Ok((writer.finish(&self.settings.trust)?, (ready, waiting)))
    }

    /// Queues the contents of an outcome; returns those that it is nothing without, or none where it is nothing to others.
    fn queue_contents(&self, outcome: &Outcome) -> Option<Vec<Sha256>> {
        let keep = self.settings.keep;
        let mut needs = Vec::new();
        match &outcome.result {
            StepResult::Artifact(facts) if keep.artifacts => needs.push(facts.sha256),
            StepResult::Artifact(_) => return None,
            _ => {}
        }
        let mut more = Vec::new();
        if keep.logs {
            more.extend(outcome.log);
        }
        if keep.headers {
            let fields = outcome.inputs.fields.iter();
            let named = fields.filter(|(name, _)| {
                matches!(
                    (outcome.inputs.kind(), name.as_str()),
                    ("unpack", "package") | ("source", "tarball")
                )
            });
            more.extend(named.filter_map(|(_, value)| value.parse::<Sha256>().ok()));
            if let (StepResult::Facts(facts), "download") = (&outcome.result, outcome.inputs.kind())
            {
                more.extend(digests_in(facts));
            }
        }
        // Those of host programs are as large as what they are made of, and made again in seconds.
        if let (true, StepResult::Tree { sha256, .. }, "prepare") =
            (keep.prepared, &outcome.result, outcome.inputs.kind())
            && self.packed_tree(*sha256).is_none()
        {
            self.queue.add_tree(*sha256);
        }
        for content in needs.iter().chain(&more) {
            if self.found.index.size_of(*content).is_none() {
                self.queue.add(*content);
            }
        }
        Some(needs)
    }

    /// Has a content kept, whatever it is of.
    pub fn note_content(&self, content: Sha256) {
        if !self.settings.is_read_only && self.found.index.size_of(content).is_none() {
            self.queue.add(content);
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

/// The digests of files that a download by a package manager gave.
fn digests_in(facts: &serde_json::Value) -> Vec<Sha256> {
    let files = facts.as_array().into_iter().flatten();
    let digests = files.filter_map(|file| file.get("sha256")?.as_str()?.parse().ok());
    digests.collect()
}

impl Shared for Remote {
    fn outcome(&self, key: Sha256) -> Option<Vec<u8>> {
        if self.news().forgotten.contains(&key) {
            return None;
        }
        self.found.index.outcome(key)
    }

    fn note_outcome(&self, key: Sha256, text: &[u8]) {
        if self.settings.is_read_only
            || self
                .news()
                .outcomes
                .get(&key)
                .is_some_and(|new| new.text == text)
        {
            return;
        }
        let is_known = |known: Vec<u8>| known.trim_ascii_end() == text.trim_ascii_end();
        if self.outcome(key).is_some_and(is_known) {
            return;
        }
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let Ok(outcome) = serde_json::from_slice::<Outcome>(line) else {
            return;
        };
        let Some(needs) = self.queue_contents(&outcome) else {
            return;
        };
        let text = text.to_owned();
        self.news().outcomes.insert(key, New { text, needs });
    }

    fn forget_outcome(&self, key: Sha256) {
        let mut news = self.news();
        news.outcomes.remove(&key);
        news.forgotten.insert(key);
    }

    fn record(&self, url: &str) -> Option<Vec<u8>> {
        self.found.index.record(url)
    }

    fn note_record(&self, url: &str, text: &[u8], content: Sha256) {
        let keep = self.settings.keep;
        if self.settings.is_read_only || !keep.headers || !url.contains("://") {
            return;
        }
        if self.found.index.record(url).as_deref() == Some(text) {
            return;
        }
        self.note_content(content);
        self.news().records.insert(url.to_owned(), text.to_owned());
    }

    fn packed_tree(&self, tree: Sha256) -> Option<Sha256> {
        let record = self.found.index.record(&trees::record_of(tree))?;
        String::from_utf8(record).ok()?.trim().parse().ok()
    }

    fn has(&self, content: Sha256) -> bool {
        self.found.index.size_of(content).is_some()
    }

    fn fetch<'a>(
        &'a self,
        content: Sha256,
        store: &'a Store,
    ) -> BoxFuture<'a, Result<bool, String>> {
        async move {
            let fetched = contents::fetch(&self.bucket, content, store).await;
            fetched.map_err(|error| {
                let why = with_help(&error);
                let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
                faults.insert(why.clone());
                why
            })
        }
        .boxed()
    }
}
