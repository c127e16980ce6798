//! The shared store, configured by flags, environment variables and matrices.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bucket::{BucketError, BucketKind, BucketSettings, BucketUrl};
use crate::engine::{Events, Stop, StopReason};
use crate::event::EventKind;
use crate::matrix::{Kept, Matrix, SharedStore};
use crate::remote::{
    Finished, Keep, Keys, KeysError, Remote, RemoteError, RemoteSettings, Trust, USUAL_LEASE,
};
use crate::resolve::{Context, ResolveError, said_while_busy};
use crate::run::RunResult;
use crate::store::Store;
use crate::text::{count, size};

/// The environment variable that contains the keys.
const KEY_VARIABLE: &str = "DRIVERKIT_MATRIX_STORE_KEY";

/// The settings of the shared store from flags and environment variables.
#[derive(Clone, Debug, Default)]
pub struct StoreRequest {
    /// The URL of the bucket.
    pub url: Option<BucketUrl>,
    /// The file that contains the keys.
    pub key_file: Option<PathBuf>,
    /// Whether everyone with write access to the bucket is trusted.
    pub is_trusted: bool,
    /// Whether the shared store is only read.
    pub is_read_only: bool,
    /// How long a machine holds the exclusive right to compile what it has started.
    pub lease: Option<Duration>,
}

/// An open shared store, with the threads that upload to it.
pub struct OpenStore {
    remote: Arc<Remote>,
    runtime: tokio::runtime::Runtime,
}

impl StoreRequest {
    /// Returns the settings of the shared store; flags and environment variables override the matrices.
    pub fn settings(&self, matrices: &[Matrix]) -> Result<Option<RemoteSettings>, ResolveError> {
        let mut tables = matrices.iter().filter_map(|matrix| matrix.store.as_ref());
        let table = tables.next();
        if let (Some(table), Some(other)) = (table, tables.find(|other| Some(*other) != table))
            && self.url.is_none()
        {
            let url = |table: &SharedStore| table.url.as_ref().map(BucketUrl::to_string);
            return Err(ResolveError::Input {
                message: format!(
                    "the matrices name different stores: {} and {}",
                    url(table).unwrap_or_default(),
                    url(other).unwrap_or_default()
                ),
                help: Some("use the same [store] in each, or set --store".to_owned()),
            });
        }
        let table = table.cloned().unwrap_or_default();
        let Some(url) = self.url.clone().or_else(|| table.url.clone()) else {
            return Ok(None);
        };
        let read_only = self.is_read_only || table.is_read_only.unwrap_or_default();
        let key_file = self.key_file.as_ref().or(table.key.as_ref());
        let keys = match (std::env::var(KEY_VARIABLE), key_file) {
            (Ok(text), _) if !text.is_empty() => Some(Keys::of_text(&text)),
            (_, Some(path)) => Some(Keys::read(path)),
            _ => None,
        };
        let keys = keys.transpose().map_err(of_keys)?;
        let is_trusted = self.is_trusted || table.is_trusted.unwrap_or_default();
        Ok(Some(RemoteSettings {
            bucket: bucket_of(url, &table),
            trust: Trust { keys, is_trusted },
            keep: keep_of(table.keep.as_deref()),
            is_read_only: read_only,
            lease: self.lease.or(table.lease).unwrap_or(USUAL_LEASE),
        }))
    }
}

/// Returns a runtime for requests to the shared store, separate from that of a run.
pub fn new_runtime() -> Result<tokio::runtime::Runtime, ResolveError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            ResolveError::infrastructure(format!("failed to start the runtime: {error}"))
        })
}

fn bucket_of(url: BucketUrl, table: &SharedStore) -> BucketSettings {
    let (endpoint, region) = match url.kind() {
        BucketKind::S3 => ("AWS_ENDPOINT_URL", "AWS_REGION"),
        BucketKind::Gcs => ("GOOGLE_BASE_URL", ""),
        BucketKind::Azure => ("AZURE_STORAGE_ENDPOINT", ""),
        BucketKind::Directory => ("", ""),
    };
    let mut bucket = BucketSettings::from_environment(url);
    for (name, value) in [(endpoint, &table.endpoint), (region, &table.region)] {
        if let Some(value) = value
            && !name.is_empty()
        {
            bucket = bucket.with_default(name, value);
        }
    }
    bucket
}

fn keep_of(kept: Option<&[Kept]>) -> Keep {
    let Some(kept) = kept else {
        return Keep::default();
    };
    Keep {
        artifacts: kept.contains(&Kept::Artifacts),
        logs: kept.contains(&Kept::Logs),
        headers: kept.contains(&Kept::Headers),
        prepared: kept.contains(&Kept::Prepared),
    }
}

fn of_keys(error: KeysError) -> ResolveError {
    match error {
        KeysError::File(error) => ResolveError::File(error),
        KeysError::Short => ResolveError::Input {
            message: format!("the keys of the store cannot be used: {error}"),
            help: Some("create a key with `openssl rand -hex 32`".to_owned()),
        },
    }
}

/// Converts an error of the bucket: transient faults are infrastructure errors, all others are errors in the input.
pub fn of_bucket(error: BucketError) -> ResolveError {
    let BucketError {
        fault,
        message,
        help,
    } = error;
    if fault.is_transient() {
        ResolveError::Infrastructure { message, help }
    } else {
        ResolveError::Input { message, help }
    }
}

/// Converts an error of the shared store.
pub fn of_remote(error: RemoteError) -> ResolveError {
    match error {
        RemoteError::Bucket(error) => of_bucket(error),
        RemoteError::File(error) => ResolveError::File(error),
        RemoteError::NoTrust(_) => ResolveError::Input {
            message: error.to_string(),
            help: Some(
                "set a key with --store-key or DRIVERKIT_MATRIX_STORE_KEY, or use --store-trusted if only machines that \
                 you trust can write to the store"
                    .to_owned(),
            ),
        },
    }
}

impl OpenStore {
    /// Opens and reads the shared store. Returns `None` if none is configured.
    pub fn open(
        request: &StoreRequest,
        context: &Context,
        matrices: &[Matrix],
        run_id: &str,
    ) -> Result<Option<Self>, ResolveError> {
        let Some(settings) = request.settings(matrices)? else {
            return Ok(None);
        };
        if context.is_offline && settings.bucket.url.kind() != BucketKind::Directory {
            context.notice("offline: the shared store is not used");
            return Ok(None);
        }
        let runtime = new_runtime()?;
        let url = settings.bucket.url.to_string();
        let line = || format!("reading the shared store {url}");
        let opened = said_while_busy(context, line, || {
            runtime.block_on(Remote::open(settings, &context.cache, run_id))
        });
        let remote = Arc::new(opened.map_err(of_remote)?);
        for refused in remote.refused() {
            context.notice(&refused);
        }
        Ok(Some(Self { remote, runtime }))
    }

    /// Connects the store on disk to the shared store.
    pub fn share(&self, store: Store) -> Arc<Store> {
        let store = Arc::new(store.with_shared(self.remote.clone()));
        let _guard = self.runtime.enter();
        self.remote.start(&store);
        store
    }

    /// Returns the remote side of the shared store.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Returns a function that describes the uploads in progress.
    pub fn sending(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let remote = Arc::clone(&self.remote);
        move || {
            let traffic = remote.traffic();
            let requests = usize::try_from(traffic.requests).unwrap_or(usize::MAX);
            let (requests, sent) = (count(requests, "request"), size(traffic.sent_bytes));
            format!("sending to {}: {requests}, {sent} sent", remote.url())
        }
    }

    /// Waits until the results of a run are uploaded to the shared store, or until a signal. Reports what was not
    /// uploaded, and records it in the result.
    pub fn finish(&self, events: &Events, stop: &Stop, result: &mut RunResult) {
        let signal = async {
            stop.now().cancelled().await;
            if stop.reason() != Some(StopReason::Signal) {
                // What was uploaded until then remains valid.
                std::future::pending::<()>().await;
            }
        };
        let finished = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = signal => self.remote.unfinished(),
                finished = self.remote.finish() => finished,
            }
        });
        tell(events, self.told(&finished), result);
    }

    /// Uploads what can be uploaded within `limit`.
    pub fn try_finish(&self, limit: Duration) {
        let finish = async { tokio::time::timeout(limit, self.remote.finish()).await };
        // The user has already been warned that the upload may be incomplete.
        drop(self.runtime.block_on(finish));
    }

    /// Waits until everything is uploaded to the shared store, and returns the messages about it.
    pub fn wait(&self) -> Told {
        let finished = self.runtime.block_on(self.remote.finish());
        self.told(&finished)
    }

    fn told(&self, finished: &Finished) -> Told {
        let mut messages = self.remote.faults();
        let url = self.remote.url();
        let traffic = self.remote.traffic();
        tracing::info!(
            "{url}: {} requests, {} received, {} sent",
            traffic.requests,
            size(traffic.received_bytes),
            size(traffic.sent_bytes)
        );
        if finished.outcomes > 0 || finished.contents > 0 {
            messages.push(format!(
                "{url}: {} and {} kept for other machines",
                count(finished.outcomes, "outcome"),
                count(finished.contents, "content")
            ));
        }
        let is_complete = finished.withheld == 0 && finished.problems.is_empty();
        if !is_complete {
            messages.push(format!(
                "{url}: failed to upload {} of this run: {}; they are on this machine, and the next run uploads them",
                count(finished.withheld, "outcome"),
                finished.problems.join("; ")
            ));
        }
        Told {
            messages,
            is_complete,
        }
    }
}

/// The messages about the shared store at the end of a run.
#[derive(Debug)]
pub struct Told {
    /// The messages, one line each.
    pub messages: Vec<String>,
    /// Whether everything was uploaded.
    pub is_complete: bool,
}

fn tell(events: &Events, told: Told, result: &mut RunResult) {
    result.is_not_shared |= !told.is_complete;
    for message in told.messages {
        events.send(EventKind::Note { message });
    }
}
