//! Fetches packages from their URLs and unpacks them into trees, each once for the whole run.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cache::{Outcomes, StepResult, TreeRole};
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::engine::memo::Memo;
use crate::engine::work::Work;
use crate::event::{EventKind, InputReport};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::Fetched;
use crate::fs::blocking;
use crate::recipe::downloads::{Download, Downloads};
use crate::recipe::files::{Files, request_for};
use crate::redact;
use crate::target::WantedPackage;
use crate::unpack::{self, UnpackError, unpack_into_store_until};

/// A package of a kernel and its unpacked tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) package: WantedPackage,
    pub(crate) fetched: Fetched,
    pub(crate) tree: Sha256,
    /// How it is downloaded, if it has no URL.
    pub(crate) download: Option<Arc<Download>>,
}

impl Input {
    /// Returns its row of the manifest.
    pub(crate) fn report(&self) -> InputReport {
        InputReport {
            url: match &*self.package.candidates {
                [url] => match redact::url(url) {
                    Cow::Borrowed(_) => Arc::clone(url),
                    Cow::Owned(shown) => shown.into(),
                },
                _ => redact::url(&self.fetched.url).into(),
            },
            sha256: Some(self.fetched.sha256),
            size_bytes: Some(self.fetched.size_bytes),
        }
    }
}

/// Fetches and unpacks packages.
pub(crate) struct Packages {
    engine: Arc<Engine>,
    files: Arc<Files>,
    downloads: Downloads,
    /// Unpacking is bound by the disk as much as by processors.
    slots: Semaphore,
    /// Notices about downloads that have been printed: each is printed once for all builds.
    told: Memo<String, ()>,
}

impl Packages {
    /// Unpacks at most `slots` packages at once.
    pub(crate) fn new(engine: Arc<Engine>, files: Arc<Files>, slots: usize) -> Self {
        Self {
            downloads: Downloads::new(engine.clone()),
            engine,
            files,
            slots: Semaphore::new(slots),
            told: Memo::default(),
        }
    }

    /// Returns the downloader for packages without URLs.
    pub(crate) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// Returns the file of a package, downloading it unless its digest is known.
    pub(crate) async fn fetch(&self, package: &WantedPackage, mode: Mode) -> Result<Fetched, Halt> {
        // A digest from the lock is enough to look up the package's outcome; the content is fetched when it is needed.
        let is_believed = |sha256: &Sha256| {
            let is_doubted = || {
                self.engine.fetcher.is_refused(*sha256)
                    || self.engine.fetcher.is_distrusted(&package.candidates)
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
        self.files.fetch_unless_known(&request, mode).await
    }

    /// Returns true if the run is offline and does not have the package that the lock notes, but has one that a URL
    /// returned.
    fn is_outdated_note(&self, package: &WantedPackage, noted: Sha256) -> bool {
        self.engine.fetcher.is_offline()
            && !self.engine.store.has_blob(noted)
            && !was_unpacked(self.engine.steps.outcomes(), noted)
            && self
                .engine
                .fetcher
                .known(&package.candidates, None)
                .is_some()
    }

    /// Requests the URLs of packages again, ignoring earlier responses: a build with these packages failed, and the
    /// user asked to retry it.
    pub(crate) fn distrust(&self, packages: &[WantedPackage]) {
        for package in packages {
            if package.sha256.is_none() || package.is_noted {
                self.engine.fetcher.distrust(&package.candidates);
            }
        }
    }

    /// Returns the file of a package and its tree. Bytes without a trusted digest are accepted once they have been
    /// unpacked completely; if that fails, they are forgotten and the next URL is tried.
    pub(crate) async fn fetch_and_unpack(
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
            self.files
                .refuse(&package.candidates, fetched.sha256, &failed.failure.message)?;
        }
    }

    /// Returns true if another download of the packages may give the right tree, after this one gave another kernel's.
    pub(crate) fn may_be_other_headers(&self, failed: &Failed, inputs: &[Input]) -> bool {
        failed.failure.class == FailureClass::WrongHeaders
            && !failed.is_cached
            && inputs
                .iter()
                .any(|input| self.is_unconfirmed(&input.package, input.fetched.sha256))
    }

    /// Forgets packages that gave the tree of another kernel, except those with a digest from an index and those
    /// already refused.
    pub(crate) fn refuse_inputs(&self, inputs: &[Input], why: &str) -> Result<(), Halt> {
        for Input {
            package, fetched, ..
        } in inputs
        {
            if self.is_unconfirmed(package, fetched.sha256)
                && !self.engine.fetcher.is_refused(fetched.sha256)
            {
                self.files
                    .refuse(&package.candidates, fetched.sha256, why)?;
            }
        }
        Ok(())
    }

    /// Returns the tree of a package. If the lock only notes the package's digest and the store has neither file nor
    /// tree, the package is fetched at once: the note may be wrong.
    async fn unpack_whole(
        &self,
        package: &WantedPackage,
        fetched: &Fetched,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        let tree = self.unpack(package, fetched, None, mode).await?;
        let store = &self.engine.store;
        let is_here = || store.has_tree(tree) || store.has_blob(fetched.sha256);
        if mode == Mode::Run && package.is_noted && !is_here() {
            self.ensure(package, fetched, tree, None).await?;
        }
        Ok(tree)
    }

    /// Returns true if another download may succeed after this failure.
    fn is_doubtful(&self, package: &WantedPackage, fetched: &Fetched, failed: &Failed) -> bool {
        let is_note = package.is_noted
            && package
                .sha256
                .is_some_and(|sha256| !self.engine.fetcher.is_refused(sha256));
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

    /// Returns true if no trusted digest of the package is known, and another download may return something else.
    fn is_unconfirmed(&self, package: &WantedPackage, sha256: Sha256) -> bool {
        (package.sha256.is_none() || package.is_noted)
            && !self.engine.fetcher.is_agreed(&package.candidates, sha256)
            && !self.engine.fetcher.is_one_local_file(&package.candidates)
    }

    fn tell_refused(&self, package: &WantedPackage, fetched: &Fetched) {
        for refused in self
            .engine
            .fetcher
            .refused_of(&package.candidates, fetched.sha256)
        {
            let Fetched { url, sha256, .. } = fetched;
            let message = format!("{refused}; used instead: {url} (SHA-256 {sha256})");
            if self.told.get(&message).is_none() {
                self.told.put(message.clone(), ());
                self.engine.events.send(EventKind::Note { message });
            }
        }
    }

    /// Returns the tree of a package, unpacking it if necessary.
    pub(crate) async fn unpack(
        &self,
        package: &WantedPackage,
        fetched: &Fetched,
        download: Option<&Download>,
        mode: Mode,
    ) -> Result<Sha256, Halt> {
        let key = unpack_key(fetched.sha256);
        if mode == Mode::Lookup {
            // Flavours of a kernel are neighbours and have packages in common.
            let found = self.engine.steps.find_shared(&key, Phase::Unpack)?;
            return found.ok_or(Halt::Missing)?.tree(Phase::Unpack);
        }
        let work = async {
            let unpack = self.unpack_now(package, fetched.sha256, download);
            let tree = Box::pin(unpack).await?;
            Ok(Work::of_tree(tree, TreeRole::Package))
        };
        let done = self
            .engine
            .step(mode, Phase::Unpack, key, Box::pin(work))
            .await?;
        done.tree(Phase::Unpack)
    }

    /// Unpacks a package whose outcome is not cached or whose tree was removed.
    async fn unpack_now(
        &self,
        package: &WantedPackage,
        sha256: Sha256,
        download: Option<&Download>,
    ) -> Result<Sha256, Halt> {
        self.engine.may_begin(Mode::Run)?;
        if self.engine.has_whole_blob(sha256, Phase::Unpack).await? {
            // Nothing to fetch.
        } else if let Some(download) = download {
            self.downloads.again(download, sha256).await?;
        } else {
            let mut request = request_for(package);
            request.sha256 = Some(sha256);
            request.size_bytes = request.size_bytes.filter(|_| !package.is_noted);
            self.files.fetch(&request).await?;
        }
        let _slot = self.slots.acquire().await.map_err(|_| Halt::NotRun)?;
        // The run may have been stopped while this task waited for the slot.
        self.engine.may_begin(Mode::Run)?;
        let (store, stop) = (self.engine.store.clone(), self.engine.stop.now().clone());
        let unpacking = blocking(move || {
            unpack_into_store_until(&stop, &store, sha256, &unpack::Limits::default())
        });
        let unpacked = self.engine.stop.now().run_until_cancelled(unpacking).await;
        let interrupted = || {
            let message = format!("interrupted while {} was unpacked", package.url());
            Failure::new(FailureClass::Cancelled, Phase::Unpack, message)
        };
        match unpacked.ok_or_else(interrupted)? {
            Ok(tree) => Ok(tree.sha256),
            // The file has the expected digest, so the package itself is at fault.
            Err(error) => {
                let failure = self.unpack_failure(package, sha256, &error);
                Err(Halt::from(failure).of_step([]))
            }
        }
    }

    /// Returns the failure for a package that cannot be unpacked. If its bytes have no trusted digest, the class is
    /// `Download`: another download may return different bytes.
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

    /// Ensures that the trees are in the store, unpacking those again that were removed.
    pub(crate) async fn materialise(&self, inputs: &[Input]) -> Result<(), Halt> {
        for input in inputs {
            let download = input.download.as_deref();
            self.ensure(&input.package, &input.fetched, input.tree, download)
                .await?;
        }
        Ok(())
    }

    async fn ensure(
        &self,
        package: &WantedPackage,
        fetched: &Fetched,
        tree: Sha256,
        download: Option<&Download>,
    ) -> Result<(), Halt> {
        let unpack = Box::pin(async {
            let tree = self.unpack_now(package, fetched.sha256, download).await?;
            Ok(Work::of_tree(tree, TreeRole::Package))
        });
        let (step, phase) = (unpack_key(fetched.sha256), Phase::Unpack);
        let trees = &self.engine.trees;
        trees
            .ensure(&[tree], &step, phase, package.url(), unpack)
            .await
    }
}

fn unpack_key(package: Sha256) -> KeyBuilder {
    KeyBuilder::new("unpack", 3).field("package", package)
}

/// Returns true if the package with this digest was unpacked successfully.
pub fn was_unpacked(outcomes: &Outcomes, package: Sha256) -> bool {
    let outcome = outcomes.find(unpack_key(package).key());
    matches!(outcome, Ok(Some(outcome)) if matches!(outcome.result, StepResult::Tree { .. }))
}
