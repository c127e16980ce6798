//! A file from wherever it can be had: downloaded once, and forgotten where it turns out to be of no use.

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

    /// A file, downloaded unless something of it is known.
    pub(crate) async fn fetch_unless_known(
        &self,
        request: &Request,
        mode: Mode,
    ) -> Result<Fetched, Halt> {
        let fetcher = &self.engine.fetcher;
        let known = match request.kind {
            // They are read at once.
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

    /// A file, downloaded unless the store holds it.
    pub(crate) async fn fetch(&self, request: &Request) -> Result<Fetched, Halt> {
        match Box::pin(self.engine.fetcher.fetch(request)).await {
            Ok(fetched) => Ok(fetched),
            Err(error) => Err(self.not_fetched(error).await),
        }
    }

    /// Forgets that an address gave bytes that cannot be used.
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

    /// The failure of a build that needs a file which no address has. Where its message cannot name them all, its log does.
    async fn not_fetched(&self, error: FetchError) -> Halt {
        let failure = error.failure();
        if !error.is_shortened() {
            return failure.into();
        }
        let store = self.engine.store.clone();
        Halt::Failed(Box::new(Failed {
            failure,
            // A log that cannot be kept must not hide the failure.
            log: blocking(move || log_of(&store, &error)).await.ok(),
            is_cached: false,
            own: None,
        }))
    }
}

fn log_of(store: &Store, error: &FetchError) -> Result<Sha256, FileError> {
    let folder = store.temporary_folder()?;
    let path = folder.path().join("log");
    let title = "Addresses that were tried, and what each answered last:";
    let mut log = LogWriter::create(&path, title, LogLimits::default())?;
    for tried in &error.tried {
        log.write(format!("{tried}\n").as_bytes());
    }
    log.finish()?;
    let file = std::fs::File::open(&path).map_err(FileError::of("read", &path))?;
    Ok(store.put_blob(file)?.0)
}

/// A package as the fetcher takes it.
pub(crate) fn request_for(package: &WantedPackage) -> Request {
    Request {
        candidates: package.candidates.clone(),
        sha256: package.sha256,
        size_bytes: package.size_bytes,
        kind: ContentKind::of_address(package.url()),
    }
}

/// What a distribution publishes of a release in text, as the fetcher takes it.
pub(crate) fn request_for_text(published: &WantedPackage, kind: ContentKind) -> Request {
    Request {
        kind,
        ..request_for(published)
    }
}
