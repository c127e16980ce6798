//! Uploads contents to the bucket, a few at a time, in the background.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::{contents, trees};
use crate::bucket::{Bucket, BucketError};
use crate::digest::Sha256;
use crate::store::Store;

/// The number of contents that are uploaded concurrently.
const AT_ONCE: usize = 8;

/// The result of uploading a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    /// The bucket has it.
    Sent {
        size_bytes: u64,
    },
    /// The content is not on this machine any more: it was cleaned up.
    Absent,
    Failed(String),
}

/// An item to upload: a content, or a tree packed as a content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Content(Sha256),
    Tree(Sha256),
}

/// The contents and trees to upload.
pub(super) struct Queue {
    /// The states, by the digest of the content or tree.
    states: Mutex<HashMap<Sha256, State>>,
    /// The content that each uploaded tree is packed in.
    trees: Mutex<HashMap<Sha256, Sha256>>,
    sender: Mutex<Option<UnboundedSender<Item>>>,
    receiver: Mutex<Option<UnboundedReceiver<Item>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    sent_bytes: AtomicU64,
    /// Notified when a state changes.
    changed: Notify,
    /// The error after which no more uploads are tried.
    broken: Mutex<Option<String>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self {
            states: Mutex::default(),
            trees: Mutex::default(),
            sender: Mutex::new(Some(sender)),
            receiver: Mutex::new(Some(receiver)),
            task: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            changed: Notify::new(),
            broken: Mutex::default(),
        }
    }

    /// Queues a content for upload, once.
    pub(super) fn add(&self, content: Sha256) {
        self.add_item(content, Item::Content(content));
    }

    /// Queues a tree for packing and upload, once.
    pub(super) fn add_tree(&self, tree: Sha256) {
        self.add_item(tree, Item::Tree(tree));
    }

    fn add_item(&self, digest: Sha256, item: Item) {
        let mut states = lock(&self.states);
        if states.contains_key(&digest) {
            return;
        }
        states.insert(digest, State::Queued);
        if let Some(sender) = &*lock(&self.sender) {
            // Without a receiver the content stays queued, which is reported at the end.
            let _ = sender.send(item);
        }
    }

    /// Returns the uploaded trees, each with the content that it is packed in.
    pub(super) fn sent_trees(&self) -> Vec<(Sha256, Sha256)> {
        let trees = lock(&self.trees);
        trees
            .iter()
            .map(|(&tree, &content)| (tree, content))
            .collect()
    }

    pub(super) fn state(&self, content: Sha256) -> Option<State> {
        lock(&self.states).get(&content).cloned()
    }

    /// Waits for the result of uploading a content.
    pub(super) async fn settled(&self, content: Sha256) -> Option<State> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = self.state(content);
            if state != Some(State::Queued) {
                return state;
            }
            changed.await;
        }
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> Vec<(Sha256, u64)> {
        let states = lock(&self.states);
        let sent = states.iter().filter_map(|(&content, state)| match state {
            State::Sent { size_bytes } => Some((content, *size_bytes)),
            _ => None,
        });
        sent.collect()
    }

    /// Returns the errors without duplicates.
    pub(super) fn faults(&self) -> Vec<String> {
        let states = lock(&self.states);
        let mut faults: Vec<String> = states
            .values()
            .filter_map(|state| match state {
                State::Failed(why) => Some(why.clone()),
                _ => None,
            })
            .collect();
        faults.sort();
        faults.dedup();
        faults
    }

    /// Starts uploading.
    pub(super) fn start(self: &Arc<Self>, bucket: Bucket, store: Arc<Store>) {
        let Some(mut receiver) = lock(&self.receiver).take() else {
            return;
        };
        let queue = Arc::clone(self);
        let task = tokio::spawn(async move {
            let (queue, bucket, store) = (&queue, &bucket, &store);
            futures_util::stream::poll_fn(|context| receiver.poll_recv(context))
                .for_each_concurrent(AT_ONCE, |item| async move {
                    let (digest, state) = match item {
                        Item::Content(content) => {
                            (content, queue.send(bucket, store, content).await)
                        }
                        Item::Tree(tree) => queue.send_tree(bucket, store, tree).await,
                    };
                    lock(&queue.states).insert(digest, state);
                    queue.changed.notify_waiters();
                })
                .await;
        });
        *lock(&self.task) = Some(task);
    }

    async fn send(&self, bucket: &Bucket, store: &Store, content: Sha256) -> State {
        let broken = lock(&self.broken).clone();
        if let Some(why) = broken {
            return State::Failed(why);
        }
        let path = store.blob_path(content);
        let Ok(metadata) = tokio::fs::metadata(&path).await else {
            return State::Absent;
        };
        match contents::send(bucket, content, &path).await {
            Ok(()) => {
                let size_bytes = metadata.len();
                self.sent_bytes.fetch_add(size_bytes, Ordering::Relaxed);
                State::Sent { size_bytes }
            }
            Err(error) => State::Failed(self.judge(&error)),
        }
    }

    /// Returns the content that the tree is packed in, or the tree itself if it is not packed, with the result.
    async fn send_tree(
        &self,
        bucket: &Bucket,
        store: &Arc<Store>,
        tree: Sha256,
    ) -> (Sha256, State) {
        let broken = lock(&self.broken).clone();
        if let Some(why) = broken {
            return (tree, State::Failed(why));
        }
        if !store.has_tree(tree) {
            return (tree, State::Absent);
        }
        match trees::send(bucket, tree, store).await {
            Ok((content, size_bytes)) => {
                self.sent_bytes.fetch_add(size_bytes, Ordering::Relaxed);
                lock(&self.trees).insert(tree, content);
                (content, State::Sent { size_bytes })
            }
            Err(error) => (tree, State::Failed(self.judge(&error))),
        }
    }

    /// Returns the message of an error. A permanent error stops further uploads.
    fn judge(&self, error: &BucketError) -> String {
        let why = match &error.help {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        };
        if !error.fault.is_transient() {
            lock(&self.broken).get_or_insert_with(|| why.clone());
        }
        why
    }

    /// Waits until everything in the queue is uploaded or has failed; nothing can be added afterwards.
    pub(super) async fn close(&self) {
        drop(lock(&self.sender).take());
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // A panic of the task leaves contents queued, which is reported.
            drop(task.await);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
