//! Leases: record which machine executes which step, so that two machines do not execute the same one.
//!
//! The machine that is about to compile creates `leases/<key>`, on the condition that it does not exist; the object
//! says until when the machine has the step to itself. When the step is done, the object is replaced by a pack with
//! only the outcome, signed like any other; the outcome is later also in the pack of the run. A machine that finds
//! the object waits while it executes other builds, and checks again now and then. After the expiry time, or if the
//! object has not changed for the length of a lease, another machine takes over. Any error makes two machines do the
//! same work, but never lets one wait forever.

mod step_pack;
mod sweep;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::keys::Trust;
use super::queue::{Queue, State as Sending};
use crate::bucket::{Bucket, BucketError, Put, PutMode, PutOptions, TrafficCount, UpdateVersion};
use crate::digest::Sha256;
use crate::store::Claim;

use step_pack::{open_step, pack_step};
pub(super) use sweep::sweep;

/// The prefix of leases in a bucket.
pub(super) const FOLDER: &str = "leases";

/// How long a claim may delay a compile.
const CLAIM_LIMIT: Duration = Duration::from_secs(3);

/// The timeout of other requests.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// The number of failed requests after which no more steps are claimed.
const MOST_FAULTS: u32 = 3;

/// The first and the longest wait between two checks of another machine's step; the wait doubles each time.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// The maximum size of a lease, or of the pack of a single step.
const LIMIT_BYTES: u64 = 16 << 20;

/// The content of a step's object while the step is executed.
#[derive(Serialize, Deserialize)]
struct Lease {
    /// The run.
    owner: String,
    started: Timestamp,
    /// When another machine may take it over.
    expires: Timestamp,
}

/// The known state of a step's object.
enum Known {
    /// This machine executes the step.
    Own,
    /// It can be claimed: no lease exists, or the lease has expired.
    Free(Option<UpdateVersion>),
    /// The lease is no longer needed.
    Over,
}

/// An outcome from another machine.
pub(super) struct Learned {
    pub(super) text: Vec<u8>,
    /// The contents of the outcome, with their sizes.
    pub(super) contents: Vec<(Sha256, u64)>,
}

/// The content of an object that was checked.
enum Seen {
    Learned(Learned),
    Own,
    Held(Lease),
}

/// The outcome of a step whose contents are being uploaded.
pub(super) struct Done {
    pub(super) text: Vec<u8>,
    /// Contents without which the outcome is useless, and others.
    pub(super) needs: Vec<Sha256>,
    pub(super) more: Vec<Sha256>,
    /// Contents that were already in the bucket.
    pub(super) there: Vec<(Sha256, u64)>,
}

/// The leases of a run.
pub(super) struct Leases {
    bucket: Bucket,
    /// The bucket for claims, without retries, since a compile waits for them.
    claims: Bucket,
    trust: Trust,
    owner: String,
    /// How long a machine has a step to itself; zero disables claims.
    length: Duration,
    known: Mutex<HashMap<Sha256, Known>>,
    faults: AtomicU32,
    /// Objects that are not trusted, and why leases are disabled.
    problems: Mutex<BTreeSet<String>>,
    tasks: TaskTracker,
    /// The runtime of the tasks.
    handle: OnceLock<Handle>,
}

impl Leases {
    pub(super) fn new(
        bucket: Bucket,
        claims: Bucket,
        trust: Trust,
        owner: &str,
        length: Duration,
    ) -> Self {
        Self {
            bucket,
            claims,
            trust,
            owner: owner.to_owned(),
            length,
            known: Mutex::default(),
            faults: AtomicU32::new(0),
            problems: Mutex::default(),
            tasks: TaskTracker::new(),
            handle: OnceLock::new(),
        }
    }

    /// Enables claims; called on a thread of the runtime.
    pub(super) fn start(&self) {
        drop(self.handle.set(Handle::current()));
    }

    /// Returns the traffic of claims.
    pub(super) fn traffic(&self) -> TrafficCount {
        self.claims.traffic()
    }

    fn is_on(&self) -> bool {
        self.handle.get().is_some()
            && !self.length.is_zero()
            && self.faults.load(Ordering::Relaxed) < MOST_FAULTS
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Sha256, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: Sha256, known: Known) {
        self.known().insert(key, known);
    }

    /// Records a failed request. A permanent error disables further claims.
    fn failed(&self, error: &BucketError) {
        let weight = if error.fault.is_transient() {
            1
        } else {
            MOST_FAULTS
        };
        self.fault(&error.to_string(), weight);
    }

    fn late(&self, name: &str) {
        self.fault(&format!("{}: {name} took too long", self.bucket.url()), 1);
    }

    fn fault(&self, error: &str, weight: u32) {
        let before = self.faults.fetch_add(weight, Ordering::Relaxed);
        tracing::warn!("{error}");
        if before < MOST_FAULTS && before + weight >= MOST_FAULTS {
            let url = self.bucket.url();
            self.problems().insert(format!(
                "{url}: leases are disabled: machines may compile the same steps: {error}"
            ));
        }
    }

    fn problems(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the objects that are not trusted, with the reason, and why leases are disabled.
    pub(super) fn told_problems(&self) -> Vec<String> {
        self.problems().iter().cloned().collect()
    }

    /// Claims a step.
    pub(super) async fn claim(&self, key: Sha256) -> Claim {
        if !self.is_on() {
            return Claim::Granted;
        }
        let expired = match self.known().get(&key) {
            Some(Known::Own | Known::Over) => return Claim::Granted,
            Some(Known::Free(version)) => version.clone(),
            None => None,
        };
        let mode = expired.map_or(PutMode::Create, PutMode::Update);
        let started = Timestamp::now();
        let expires = started.saturating_add(self.length);
        let lease = Lease {
            owner: self.owner.clone(),
            started,
            expires: expires.unwrap_or(Timestamp::MAX),
        };
        let name = name_of(key);
        let put = serde_json::to_vec(&lease).unwrap_or_default();
        let put = self.claims.put(&name, put, mode.into());
        match tokio::time::timeout(CLAIM_LIMIT, put).await {
            Ok(Ok(Put::Done(_))) => self.note(key, Known::Own),
            Ok(Ok(Put::Conflict)) => return Claim::Taken,
            Ok(Err(error)) => self.failed(&error),
            Err(_) => {
                // The lease may have been created.
                self.note(key, Known::Own);
                self.late(&name);
            }
        }
        Claim::Granted
    }

    /// Waits until another machine has finished the step, and returns the outcome; returns `None` if the step can be
    /// claimed again.
    pub(super) async fn wait_for(&self, key: Sha256) -> Option<Learned> {
        let (known, learned) = self.watch(key).await;
        self.note(key, known);
        learned
    }

    /// Returns the state of a step once there is nothing to wait for, with the outcome if there is one.
    async fn watch(&self, key: Sha256) -> (Known, Option<Learned>) {
        let begun = Instant::now();
        let mut pause = WAITS.0;
        let mut unchanged: Option<(UpdateVersion, Instant)> = None;
        loop {
            let name = name_of(key);
            let get = self.bucket.get_versioned(&name, LIMIT_BYTES);
            let found = match tokio::time::timeout(REQUEST_LIMIT, get).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    self.failed(&error);
                    return (Known::Over, None);
                }
                Err(_) => {
                    self.late(&name);
                    return (Known::Over, None);
                }
            };
            let Some((content, version)) = found else {
                // The other machine released the step.
                return (Known::Free(None), None);
            };
            match self.read(key, &content) {
                Ok(Seen::Learned(learned)) => return (Known::Over, Some(learned)),
                Ok(Seen::Own) => return (Known::Own, None),
                Ok(Seen::Held(lease)) => {
                    let since = match &unchanged {
                        Some((seen, since)) if *seen == version => *since,
                        _ => Instant::now(),
                    };
                    if Timestamp::now() >= lease.expires || since.elapsed() >= self.length {
                        return (Known::Free(Some(version)), None);
                    }
                    unchanged = Some((version, since));
                }
                Err(why) => {
                    let why = format!("{}: {name} is rejected: {why}", self.bucket.url());
                    self.problems().insert(why);
                    return (Known::Over, None);
                }
            }
            // Several machines were killed during the step.
            if begun.elapsed() >= self.length * 2 {
                return (Known::Over, None);
            }
            tokio::time::sleep(pause.min(self.length)).await;
            pause = (pause * 2).min(WAITS.1);
        }
    }

    fn read(&self, key: Sha256, content: &[u8]) -> Result<Seen, String> {
        match serde_json::from_slice::<Lease>(content) {
            Ok(lease) if lease.owner == self.owner => Ok(Seen::Own),
            Ok(lease) => Ok(Seen::Held(lease)),
            Err(_) => open_step(key, content, &self.trust).map(Seen::Learned),
        }
    }

    /// Publishes the outcome of a step of this machine to waiting machines, once its contents are uploaded.
    pub(super) fn done(self: &Arc<Self>, key: Sha256, done: Done, queue: &Arc<Queue>) {
        if !self.take_own(key) {
            return;
        }
        let (leases, queue) = (Arc::clone(self), Arc::clone(queue));
        self.spawn(async move {
            let mut contents = done.there;
            for content in done.needs.iter().chain(&done.more) {
                if contents.iter().any(|(there, _)| there == content) {
                    continue;
                }
                match queue.settled(*content).await {
                    Some(Sending::Sent { size_bytes }) => contents.push((*content, size_bytes)),
                    // Without this content, the outcome is useless to other machines.
                    _ if done.needs.contains(content) => return leases.give_up(key).await,
                    _ => {}
                }
            }
            let pack = pack_step(key, &done.text, &contents, &leases.trust);
            let Ok(pack) = pack else {
                return leases.give_up(key).await;
            };
            let name = name_of(key);
            let put = leases.bucket.put(&name, pack, PutOptions::default());
            match tokio::time::timeout(REQUEST_LIMIT, put).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => leases.failed(&error),
                Err(_) => leases.late(&name),
            }
        });
    }

    /// Releases the claim of a step without an outcome.
    pub(super) fn release(self: &Arc<Self>, key: Sha256) {
        if self.take_own(key) {
            let leases = Arc::clone(self);
            self.spawn(async move { leases.give_up(key).await });
        }
    }

    /// Removes this machine's claim of a step; returns false if there was none.
    fn take_own(&self, key: Sha256) -> bool {
        let mut known = self.known();
        let is_own = matches!(known.get(&key), Some(Known::Own));
        if is_own {
            known.remove(&key);
        }
        is_own
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = self.handle.get() {
            self.tasks.spawn_on(task, handle);
        }
    }

    async fn give_up(&self, key: Sha256) {
        let name = name_of(key);
        let delete = self.bucket.delete([name.as_str()]);
        // A lease that is not deleted expires.
        if let Ok(Err(error)) = tokio::time::timeout(REQUEST_LIMIT, delete).await {
            tracing::warn!("{error}");
        }
    }

    /// Releases all claims, and waits until the outcomes are published.
    pub(super) async fn finish(self: &Arc<Self>) {
        let left: Vec<Sha256> = {
            let known = self.known();
            let own = known
                .iter()
                .filter(|(_, known)| matches!(known, Known::Own));
            own.map(|(&key, _)| key).collect()
        };
        for key in left {
            self.release(key);
        }
        self.tasks.close();
        // After the timeout, the leases expire.
        drop(tokio::time::timeout(REQUEST_LIMIT, self.tasks.wait()).await);
    }
}

fn name_of(key: Sha256) -> String {
    format!("{FOLDER}/{key}")
}
