//! Downloads files once for all builds, and forgets files that turn out to be unusable.

use std::sync::Arc;

use crate::digest::Sha256;
use crate::engine::Engine;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::executor::LogSink as _;
use crate::failure::Phase;
use crate::fetch::{ContentKind, FetchError, Fetched, Request};
use crate::fs::{FileError, blocking};
use crate::report::{LogLimits, LogWriter};
use crate::store::Store;
use crate::target::WantedPackage;

/// Brings files into the store.
pub(crate) struct Files {
    engine: Arc<Engine>,
}

impl Files {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Returns a file, downloading it unless an earlier download is known.
    pub(crate) async fn fetch_unless_known(
        &self,
        request: &Request,
        mode: Mode,
    ) -> Result<Fetched, Halt> {
        let fetcher = &self.engine.fetcher;
        let known = match request.kind {
            // Their content is needed immediately.
            ContentKind::Text | ContentKind::Configuration => {
                fetcher.known(&request.candidates, None)
            }
            _ => fetcher.known_anywhere(&request.candidates),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        self.engine.may_begin(mode)?;
        self.fetch(request).await
    }

    /// Returns a file, downloading it unless the store has it.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Fetched, Halt> {
        match Box::pin(self.engine.fetcher.fetch(request)).await {
            Ok(fetched) => Ok(fetched),
            Err(error) => Err(self.not_fetched(error).await),
        }
    }

    /// Forgets unusable bytes that a URL returned.
    pub(crate) fn refuse(
        &self,
        candidates: &[Arc<str>],
        sha256: Sha256,
        why: &str,
    ) -> Result<(), Halt> {
        self.engine
            .fetcher
            .refuse(candidates, sha256, why)
            .map_err(self.engine.stored(Phase::Fetch))
    }

    /// Returns the failure for a file that no URL has. If the message cannot list all URLs, the log does.
    async fn not_fetched(&self, error: FetchError) -> Halt {
        let failure = error.failure();
        if !error.is_shortened() {
            return failure.into();
        }
        let store = self.engine.store.clone();
        Halt::Failed(Box::new(Failed {
            failure,
            // A log that cannot be stored must not hide the failure.
            log: blocking(move || log_of(&store, &error)).await.ok(),
            is_cached: false,
            own: None,
        }))
    }
}

fn log_of(store: &Store, error: &FetchError) -> Result<Sha256, FileError> {
    let folder = store.temporary_folder()?;
    let path = folder.path().join("log");
    let title = "URLs that were tried, with the last answer of each:";
    let mut log = LogWriter::create(&path, title, LogLimits::default())?;
    for tried in &error.tried {
        log.write(format!("{tried}\n").as_bytes());
    }
    log.finish()?;
    let file = std::fs::File::open(&path).map_err(FileError::of("read", &path))?;
    Ok(store.put_blob(file)?.0)
}

/// Returns the request to fetch a package.
pub(crate) fn request_for(package: &WantedPackage) -> Request {
    Request {
        candidates: package.candidates.clone(),
        sha256: package.sha256,
        size_bytes: package.size_bytes,
        kind: ContentKind::of_address(package.url()),
    }
}

/// Returns the request to fetch a text file that a distribution publishes for a release.
pub(crate) fn request_for_text(published: &WantedPackage, kind: ContentKind) -> Request {
    Request {
        kind,
        ..request_for(published)
    }
}
