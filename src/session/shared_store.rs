//! The store that machines share, as flags, environment and matrices say.

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

/// The variable with the keys themselves.
const KEY_VARIABLE: &str = "DRIVERKIT_MATRIX_STORE_KEY";

/// What flags and environment say of the shared store.
#[derive(Clone, Debug, Default)]
pub struct StoreRequest {
    /// The bucket.
    pub url: Option<BucketUrl>,
    /// The file of the keys.
    pub key_file: Option<PathBuf>,
    /// Whether everybody who may write to the bucket is believed.
    pub is_trusted: bool,
    /// Whether nothing is written.
    pub is_read_only: bool,
    /// How long a machine has what it compiles to itself.
    pub lease: Option<Duration>,
}

/// A shared store that is open, with the threads that send to it.
pub struct OpenStore {
    remote: Arc<Remote>,
    runtime: tokio::runtime::Runtime,
}

impl StoreRequest {
    /// What flags, environment and matrices say; the matrices count where the others say nothing.
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
                help: Some("give the same [store] in each, or --store".to_owned()),
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

/// Threads for requests, apart from those of a run.
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
            help: Some("make one with `openssl rand -hex 32`".to_owned()),
        },
    }
}

/// A bucket that cannot be used: what is transient is the infrastructure's, the rest a person must change.
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

/// A shared store that cannot be used.
pub fn of_remote(error: RemoteError) -> ResolveError {
    match error {
        RemoteError::Bucket(error) => of_bucket(error),
        RemoteError::File(error) => ResolveError::File(error),
        RemoteError::NoTrust(_) => ResolveError::Input {
            message: error.to_string(),
            help: Some(
                "give a key with --store-key or DRIVERKIT_MATRIX_STORE_KEY, or say --store-trusted if only machines that \
                 you trust may write there"
                    .to_owned(),
            ),
        },
    }
}

impl OpenStore {
    /// The shared store, opened and read; none if none is named.
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
        let line = || format!("reading what {url} has");
        let opened = said_while_busy(context, line, || {
            runtime.block_on(Remote::open(settings, &context.cache, run_id))
        });
        let remote = Arc::new(opened.map_err(of_remote)?);
        for refused in remote.refused() {
            context.notice(&refused);
        }
        Ok(Some(Self { remote, runtime }))
    }

    /// The store on disk with what machines share.
    pub fn share(&self, store: Store) -> Arc<Store> {
        let store = Arc::new(store.with_shared(self.remote.clone()));
        let _guard = self.runtime.enter();
        self.remote.start(&store);
        store
    }

    /// What machines share.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Describes what is sent, as long as it goes on.
    pub fn sending(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let remote = Arc::clone(&self.remote);
        move || {
            let traffic = remote.traffic();
            let requests = usize::try_from(traffic.requests).unwrap_or(usize::MAX);
            let (requests, sent) = (count(requests, "request"), size(traffic.sent_bytes));
            format!("sending to {}: {requests}, {sent} sent", remote.url())
        }
    }

    /// Waits until what a run made is in the store that machines share, or until a signal; says what is not there, and
    /// notes it in the result.
    pub fn finish(&self, events: &Events, stop: &Stop, result: &mut RunResult) {
        let signal = async {
            stop.now().cancelled().await;
            if stop.reason() != Some(StopReason::Signal) {
                // What was made until then is as good.
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

    /// Sends what can be sent in a short time.
    pub fn try_finish(&self, limit: Duration) {
        let finish = async { tokio::time::timeout(limit, self.remote.finish()).await };
        // It was said already that this may not happen.
        drop(self.runtime.block_on(finish));
    }

    /// Waits until everything is in the store that machines share; the messages about it.
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
                "{url}: {} of this run did not get there: {}; they are on this machine, and the next run sends them",
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

/// The messages at the end of a run about the store that machines share.
#[derive(Debug)]
pub struct Told {
    /// A line each.
    pub messages: Vec<String>,
    /// Whether everything is there.
    pub is_complete: bool,
}

fn tell(events: &Events, told: Told, result: &mut RunResult) {
    result.is_not_shared |= !told.is_complete;
    for message in told.messages {
        events.send(EventKind::Note { message });
    }
}
