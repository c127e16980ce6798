//! From a package's addresses to its tree: fetch and unpack, each once for the whole run.

use super::kernel_inputs::Input;
use super::pipeline::Pipeline;
use super::step::{Failed, Halt, Mode};
use super::subscription::Download;
use super::work::Work;
use crate::cache::TreeRole;
use crate::digest::{KeyBuilder, Sha256};
use crate::executor::LogSink as _;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, FetchError, Fetched, Request};
use crate::fs::FileError;
use crate::report::{LogLimits, LogWriter};
use crate::target::WantedPackage;
use crate::unpack::{self, unpack_into_store};

impl Pipeline {
    /// The file of a package, downloaded unless something of it is known.
    pub(super) async fn fetch(&self, package: &WantedPackage, mode: Mode) -> Result<Fetched, Halt> {
        // A digest from the lock is enough to know what comes of the package; its content is fetched once it is needed.
        if let Some(sha256) = package.sha256 {
            return Ok(Fetched {
                sha256,
                size_bytes: package.size_bytes.unwrap_or_default(),
                url: package.url().to_string(),
            });
        }
        self.fetch_unknown(&request_for(package), mode).await
    }

    /// A file, downloaded unless something of it is known.
    pub(super) async fn fetch_unknown(
        &self,
        request: &Request,
        mode: Mode,
    ) -> Result<Fetched, Halt> {
        if let Some(known) = self.fetcher.known(&request.candidates, None) {
            return Ok(known);
        }
        self.may_begin(mode)?;
        let fetched = Box::pin(self.fetcher.fetch(request)).await;
        fetched.map_err(|error| self.not_fetched(&error))
    }

    /// The failure of a build that needs a file which no address has. Where its message cannot name them all, its log does.
    fn not_fetched(&self, error: &FetchError) -> Halt {
        let failure = error.failure();
        if !error.is_shortened() {
            return failure.into();
        }
        Halt::Failed(Box::new(Failed {
            failure,
            // A log that cannot be kept must not hide the failure.
            log: self.log_of(error).ok(),
            is_cached: false,
        }))
    }

    fn log_of(&self, error: &FetchError) -> Result<Sha256, FileError> {
        let folder = self.store.temporary_folder()?;
        let path = folder.path().join("log");
        let title = "Addresses that were tried, and what each answered last:";
        let mut log = LogWriter::create(&path, title, LogLimits::default())?;
        for tried in &error.tried {
            log.write(format!("{tried}\n").as_bytes());
        }
        log.finish()?;
        let file = std::fs::File::open(&path).map_err(FileError::of("read", &path))?;
        Ok(self.store.put_blob(file)?.0)
    }

    /// The tree that a package gives.
    pub(super) async fn unpack(
        &self,
        package: &WantedPackage,
        fetched: &Fetched,
        download: Option<&Download>,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        let key = KeyBuilder::new("unpack", 2).field("package", fetched.sha256);
        let work = async {
            let sha256 = self.unpack_now(package, fetched.sha256, download).await?;
            Ok(Work::of_tree(sha256, TreeRole::Package))
        };
        let done = self.steps.step(mode, Phase::Unpack, key, work).await?;
        done.tree(Phase::Unpack)
    }

    /// Unpacks a package whose outcome is not known or whose tree was cleaned away.
    async fn unpack_now(
        &self,
        package: &WantedPackage,
        sha256: Sha256,
        download: Option<&Download>,
    ) -> Result<Sha256, Halt> {
        self.may_begin(Mode::Run)?;
        if self.store.has_blob(sha256) {
            // Nothing to fetch.
        } else if let Some(download) = download {
            self.download_again(download, sha256).await?;
        } else {
            let mut request = request_for(package);
            request.sha256 = Some(sha256);
            let fetched = Box::pin(self.fetcher.fetch(&request)).await;
            fetched.map_err(|error| self.not_fetched(&error))?;
        }
        let _slot = self
            .unpack_slots
            .acquire()
            .await
            .map_err(|_| Halt::NotRun)?;
        let store = self.store.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            unpack_into_store(&store, sha256, &unpack::Limits::default())
        })
        .await;
        let tree = unpacked.map_err(|_| Halt::NotRun)?;
        tree.map(|tree| tree.sha256)
            .map_err(|error| error.failure(package.url()).into())
    }

    /// Makes sure that the trees are in the store, unpacking those again that were cleaned away.
    pub(super) async fn materialise(&self, inputs: &[Input]) -> Result<(), Halt> {
        for input in inputs {
            if self.store.has_tree(input.tree) {
                self.store.touch_tree(input.tree);
                continue;
            }
            let download = input.download.as_deref();
            let unpack = || self.unpack_now(&input.package, input.fetched.sha256, download);
            let unpacked = self.trees.run(input.tree, unpack).await?;
            if unpacked != input.tree {
                let message = format!(
                    "{} was unpacked to another tree than before; run `driverkit-matrix cache verify`",
                    input.package.url()
                );
                return Err(Failure::new(FailureClass::Unpack, Phase::Unpack, message).into());
            }
        }
        Ok(())
    }
}

/// A package as the fetcher takes it.
pub(super) fn request_for(package: &WantedPackage) -> Request {
    Request {
        candidates: package.candidates.clone(),
        sha256: package.sha256,
        size_bytes: package.size_bytes,
        kind: ContentKind::of_address(package.url()),
    }
}

/// What a distribution publishes of a release in text, as the fetcher takes it.
pub(super) fn request_for_text(published: &WantedPackage, kind: ContentKind) -> Request {
    Request {
        kind,
        ..request_for(published)
    }
}
