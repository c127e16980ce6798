//! From a package's addresses to its tree: fetch and unpack, each once for the whole run.

use std::sync::Arc;

use super::kernel_inputs::Input;
use super::pipeline::Pipeline;
use super::step::{Failed, Halt, Mode};
use super::subscription::Download;
use super::work::Work;
use crate::cache::{Outcomes, StepResult, TreeRole};
use crate::digest::{KeyBuilder, Sha256};
use crate::event::EventKind;
use crate::executor::LogSink as _;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, FetchError, Fetched, Request};
use crate::fs::FileError;
use crate::report::{LogLimits, LogWriter};
use crate::target::WantedPackage;
use crate::unpack::{self, UnpackError, unpack_into_store_until};

impl Pipeline {
    /// The file of a package, downloaded unless something of it is known.
    pub(super) async fn fetch(&self, package: &WantedPackage, mode: Mode) -> Result<Fetched, Halt> {
        // A digest from the lock is enough to know what comes of the package; its content is fetched once it is needed.
        let is_believed = |sha256: &Sha256| {
            let is_doubted = || {
                self.fetcher.is_refused(*sha256)
                    || self.fetcher.is_distrusted(&package.candidates)
                    || self.is_outdated_note(package, *sha256)
            };
            !package.is_noted || !is_doubted()
        };
        if let Some(sha256) = package.sha256.filter(is_believed) {
            return Ok(Fetched {
                sha256,
                size_bytes: package.size_bytes.unwrap_or_default(),
                url: package.url().to_string(),
            });
        }
        let mut request = request_for(package);
        request.sha256 = None;
        request.size_bytes = request.size_bytes.filter(|_| !package.is_noted);
        self.fetch_unknown(&request, mode).await
    }

    /// Whether nobody can be asked for what the lock notes, while the store holds what an address gave.
    fn is_outdated_note(&self, package: &WantedPackage, noted: Sha256) -> bool {
        self.fetcher.is_offline()
            && !self.store.has_blob(noted)
            && !was_unpacked(self.steps.outcomes(), noted)
            && self.fetcher.known(&package.candidates, None).is_some()
    }

    /// Has the addresses of packages asked again, whatever they gave earlier: a build with them failed, and is tried
    /// again because somebody doubts that it should.
    pub(super) fn distrust(&self, packages: &[WantedPackage]) {
        for package in packages {
            if package.sha256.is_none() || package.is_noted {
                self.fetcher.distrust(&package.candidates);
            }
        }
    }

    /// The file of a package and the tree that it gives. Bytes that nothing confirms are believed once they have been
    /// unpacked whole: what cannot be unpacked is forgotten, and the next place is asked.
    pub(super) async fn fetch_and_unpack(
        &self,
        package: &WantedPackage,
        mode: Mode,
    ) -> Result<(Fetched, Sha256), Halt> {
        loop {
            let fetched = self.fetch(package, mode).await?;
            let failed = match self.unpack_whole(package, &fetched, mode).await {
                Err(Halt::Failed(failed)) if self.is_doubtful(package, &fetched, &failed) => failed,
                Ok(tree) => {
                    self.tell_refused(package, &fetched);
                    return Ok((fetched, tree));
                }
                Err(halt) => return Err(halt),
            };
            if mode == Mode::Lookup {
                return Err(Halt::Missing);
            }
            self.refuse(&package.candidates, fetched.sha256, &failed.failure.message)?;
        }
    }

    /// Forgets that an address gave bytes that cannot be used.
    pub(super) fn refuse(
        &self,
        candidates: &[Arc<str>],
        sha256: Sha256,
        why: &str,
    ) -> Result<(), Halt> {
        self.fetcher
            .refuse(candidates, sha256, why)
            .map_err(|error| self.steps.storage_failure(&error, Phase::Fetch))
    }

    /// Whether another download of the packages may give the right tree, after these were another kernel's.
    pub(super) fn may_be_other_headers(&self, failed: &Failed, inputs: &[Input]) -> bool {
        failed.failure.class == FailureClass::WrongHeaders
            && !failed.is_cached
            && inputs
                .iter()
                .any(|input| self.is_unconfirmed(&input.package, input.fetched.sha256))
    }

    /// Forgets the packages of a tree that is another kernel's, but for those that an index published. Those that were
    /// refused already are not what is asked for next.
    pub(super) fn refuse_inputs(&self, inputs: &[Input], why: &str) -> Result<(), Halt> {
        for Input {
            package, fetched, ..
        } in inputs
        {
            if self.is_unconfirmed(package, fetched.sha256)
                && !self.fetcher.is_refused(fetched.sha256)
            {
                self.refuse(&package.candidates, fetched.sha256, why)?;
            }
        }
        Ok(())
    }

    /// The tree of a package. Where the lock only notes what it is and nothing of it is here, it is fetched at once:
    /// the note may be wrong.
    async fn unpack_whole(
        &self,
        package: &WantedPackage,
        fetched: &Fetched,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        let tree = self.unpack(package, fetched, None, mode).await?;
        let is_here = || self.store.has_tree(tree) || self.store.has_blob(fetched.sha256);
        if mode == Mode::Run && package.is_noted && !is_here() {
            let unpack = async || {
                self.unpack_now(package, fetched.sha256, None)
                    .await?
                    .map_err(|error| self.unpack_failure(package, fetched.sha256, &error).into())
            };
            self.trees.run(tree, unpack).await?;
        }
        Ok(tree)
    }

    /// Whether other bytes may do, after those that came did not.
    fn is_doubtful(&self, package: &WantedPackage, fetched: &Fetched, failed: &Failed) -> bool {
        let is_note = package.is_noted
            && package
                .sha256
                .is_some_and(|sha256| !self.fetcher.is_refused(sha256));
        match failed.failure.class {
            FailureClass::Checksum => is_note,
            FailureClass::Unpack | FailureClass::Download
                if failed.failure.phase == Phase::Unpack =>
            {
                is_note || self.is_unconfirmed(package, fetched.sha256)
            }
            _ => false,
        }
    }

    /// Whether nothing says what the package is, and another download may give something else.
    fn is_unconfirmed(&self, package: &WantedPackage, sha256: Sha256) -> bool {
        (package.sha256.is_none() || package.is_noted)
            && !self.fetcher.is_agreed(&package.candidates, sha256)
            && !self.fetcher.is_one_local_file(&package.candidates)
    }

    fn tell_refused(&self, package: &WantedPackage, fetched: &Fetched) {
        for refused in self.fetcher.refused_of(&package.candidates, fetched.sha256) {
            let Fetched { url, sha256, .. } = fetched;
            let message = format!("{refused}; taken instead: {url} (SHA-256 {sha256})");
            if self.told.get(&message).is_none() {
                self.told.put(message.clone(), ());
                self.events.send(EventKind::Note { message });
            }
        }
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
        let key = unpack_key(fetched.sha256);
        let work = async {
            let unpack = self.unpack_now(package, fetched.sha256, download);
            let unpacked = Box::pin(unpack).await?;
            match unpacked {
                Ok(sha256) => Ok(Work::of_tree(sha256, TreeRole::Package)),
                Err(error) => self.own_failure(
                    [],
                    self.unpack_failure(package, fetched.sha256, &error).into(),
                ),
            }
        };
        let done = self.steps.step(mode, Phase::Unpack, key, work).await?;
        done.tree(Phase::Unpack)
    }

    /// Unpacks a package whose outcome is not known or whose tree was cleaned away. What is wrong with the package itself
    /// comes back as `Ok`: its content is what its digest says.
    async fn unpack_now(
        &self,
        package: &WantedPackage,
        sha256: Sha256,
        download: Option<&Download>,
    ) -> Result<Result<Sha256, UnpackError>, Halt> {
        self.may_begin(Mode::Run)?;
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Unpack);
        if self.store.has_whole_blob(sha256).map_err(stored)? {
            // Nothing to fetch.
        } else if let Some(download) = download {
            self.download_again(download, sha256).await?;
        } else {
            let mut request = request_for(package);
            request.sha256 = Some(sha256);
            request.size_bytes = request.size_bytes.filter(|_| !package.is_noted);
            let fetched = Box::pin(self.fetcher.fetch(&request)).await;
            fetched.map_err(|error| self.not_fetched(&error))?;
        }
        let _slot = self
            .unpack_slots
            .acquire()
            .await
            .map_err(|_| Halt::NotRun)?;
        // The run may have been stopped while this waited for the slot.
        self.may_begin(Mode::Run)?;
        let (store, stop) = (self.store.clone(), self.stop.now().clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            unpack_into_store_until(&stop, &store, sha256, &unpack::Limits::default())
        });
        let unpacked = self.stop.now().run_until_cancelled(unpacking).await;
        let interrupted = || {
            let message = format!("interrupted while {} was unpacked", package.url());
            Failure::new(FailureClass::Cancelled, Phase::Unpack, message)
        };
        let unpacked = unpacked
            .ok_or_else(interrupted)?
            .map_err(|_| Halt::NotRun)?;
        Ok(unpacked.map(|tree| tree.sha256))
    }

    /// The failure of a package that cannot be unpacked. Where nothing confirms its bytes, another download may give
    /// others.
    fn unpack_failure(
        &self,
        package: &WantedPackage,
        sha256: Sha256,
        error: &UnpackError,
    ) -> Failure {
        let mut failure = error.failure(package.url());
        if failure.class == FailureClass::Unpack && self.is_unconfirmed(package, sha256) {
            failure.class = FailureClass::Download;
        }
        failure
    }

    /// Makes sure that the trees are in the store, unpacking those again that were cleaned away.
    pub(super) async fn materialise(&self, inputs: &[Input]) -> Result<(), Halt> {
        for input in inputs {
            let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Unpack);
            if self.has_tree(input.tree).map_err(stored)? {
                continue;
            }
            let download = input.download.as_deref();
            let unpack = async || {
                self.unpack_now(&input.package, input.fetched.sha256, download)
                    .await?
                    .map_err(|error| {
                        self.unpack_failure(&input.package, input.fetched.sha256, &error)
                            .into()
                    })
            };
            let unpacked = Box::pin(self.trees.run(input.tree, unpack)).await?;
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

fn unpack_key(package: Sha256) -> KeyBuilder {
    KeyBuilder::new("unpack", 2).field("package", package)
}

/// Whether the package with this digest was unpacked whole.
pub fn was_unpacked(outcomes: &Outcomes, package: Sha256) -> bool {
    let outcome = outcomes.find(unpack_key(package).key());
    matches!(outcome, Ok(Some(outcome)) if matches!(outcome.result, StepResult::Tree { .. }))
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
