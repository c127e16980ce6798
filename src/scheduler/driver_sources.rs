//! A driver's sources, from wherever they are into the store: a tarball with an address, one of this machine, a folder,
//! or a commit of a local clone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pipeline::Pipeline;
use super::step::{Halt, Mode};
use super::work::Work;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::{Driver, DriverLocation};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Request};
use crate::fs::FileError;
use crate::plan::Build;
use crate::source::{self, DriverSource, Layout, SourceError};
use crate::unpack::{self, tree_digest_of_folder};

/// The version of the step that takes sources: 2 since a broken download is no outcome of it.
const SOURCE_VERSION: u32 = 2;

/// What is known of driver sources: their tree in the store and how they are laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownSource {
    pub(super) tree: Sha256,
    pub(super) layout: Layout,
    pub(super) has_probe: bool,
}

/// Where sources are on this machine.
enum Place {
    /// A folder or tarball.
    File(PathBuf),
    /// The content of a commit.
    Commit { repository: PathBuf, tree: String },
}

impl Pipeline {
    /// What is known of a driver's sources, which are taken into the store once for the whole run.
    pub(super) async fn source(
        &self,
        driver: &Driver,
        mode: Mode,
    ) -> Result<Arc<KnownSource>, Halt> {
        if let Some(known) = self.sources.get(&driver.version) {
            return known;
        }
        let found = self.find_source(driver, mode).await.map(Arc::new);
        if !matches!(found, Err(Halt::Missing | Halt::NotRun)) {
            self.sources.put(driver.version.clone(), found.clone());
        }
        found
    }

    /// The same. A tarball that came broken is forgotten, and the next place is asked.
    async fn find_source(&self, driver: &Driver, mode: Mode) -> Result<KnownSource, Halt> {
        let DriverLocation::Url(url) = &driver.location else {
            return self.source_at(driver, None, mode).await;
        };
        let candidates = [Arc::from(url.as_str())];
        if mode == Mode::Run && self.retried_drivers.get(&driver.version).is_some() {
            self.fetcher.distrust(&candidates);
        }
        loop {
            let sha256 = self.fetch_source(url, mode).await?;
            match self.source_at(driver, Some(sha256), mode).await {
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Download => {
                    self.refuse(&candidates, sha256, &failed.failure.message)?;
                }
                found => return found,
            }
        }
    }

    /// What is known of the sources at a driver's location, or in the downloaded tarball with that digest.
    async fn source_at(
        &self,
        driver: &Driver,
        tarball: Option<Sha256>,
        mode: Mode,
    ) -> Result<KnownSource, Halt> {
        let failed = |error: SourceError| self.source_failure(driver, &error);
        let (place, inputs) = match &driver.location {
            DriverLocation::Url(_) => {
                let sha256 = tarball.ok_or(Halt::NotRun)?;
                let key = KeyBuilder::new("source", SOURCE_VERSION).field("tarball", sha256);
                (Place::File(self.store.blob_path(sha256)), key)
            }
            DriverLocation::Path(path) => {
                (Place::File(path.clone()), local_key(path).map_err(failed)?)
            }
            DriverLocation::Git {
                repository,
                reference,
            } => {
                let tree = source::resolve(repository, reference).map_err(failed)?;
                let key = KeyBuilder::new("source", SOURCE_VERSION).field("git tree", &tree);
                let repository = repository.clone();
                (Place::Commit { repository, tree }, key)
            }
        };
        let work = async {
            self.may_begin(Mode::Run)?;
            if let (DriverLocation::Url(url), Place::File(path)) = (&driver.location, &place) {
                Box::pin(self.have_whole(url, path)).await?;
            }
            match self.take_source(&place) {
                Ok(taken) => Work::of_facts(&taken, Phase::Configure),
                Err(error) => self.own_failure([], failed(error)),
            }
        };
        let done = self
            .steps
            .step(mode, Phase::Configure, inputs, work)
            .await?;
        done.facts(Phase::Configure)
    }

    /// Brings what a build needs of the sources at `place` into the store.
    fn take_source(&self, place: &Place) -> Result<KnownSource, SourceError> {
        let work = self.store.temporary_folder()?;
        let unpacked = work.path().join("unpacked");
        let archived = work.path().join("archived.tar");
        let path = match place {
            Place::File(path) => path,
            Place::Commit { repository, tree } => {
                source::archive(repository, tree, &archived)?;
                &archived
            }
        };
        let folder = if path.is_dir() {
            path
        } else {
            crate::fs::create_folder(&unpacked)?;
            unpack::unpack(path, &unpacked, &unpack::Limits::default())?;
            &unpacked
        };
        let source = source::read_source(folder)?;
        let tree = work.path().join("tree");
        source::copy_parts(&source, &tree)?;
        let sha256 = tree_digest_of_folder(&tree)?;
        self.store.put_tree(&tree, sha256)?;
        Ok(KnownSource {
            tree: sha256,
            layout: source.layout,
            has_probe: source.has_probe,
        })
    }

    async fn fetch_source(&self, url: &str, mode: Mode) -> Result<Sha256, Halt> {
        let request = Request {
            candidates: vec![Arc::from(url)],
            sha256: None,
            size_bytes: None,
            kind: ContentKind::Tarball,
        };
        let fetched = self.fetch_unknown(&request, mode).await?;
        Ok(fetched.sha256)
    }

    /// Downloads a tarball of the store again that a broken disk changed.
    async fn have_whole(&self, url: &str, blob: &Path) -> Result<(), Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Fetch);
        let name = blob.file_name().and_then(|name| name.to_str());
        if let Some(sha256) = name.and_then(|name| name.parse().ok())
            && !self.store.has_whole_blob(sha256).map_err(stored)?
        {
            self.fetch_source(url, Mode::Run).await?;
        }
        Ok(())
    }

    /// The folder of the sources in the store; taken again when it was cleaned away.
    pub(super) fn source_tree(&self, build: &Build, source: &KnownSource) -> Result<PathBuf, Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Configure);
        if !self.has_tree(source.tree).map_err(stored)? {
            let failed = |error: SourceError| self.source_failure(&build.driver, &error);
            let place = match &build.driver.location {
                DriverLocation::Path(path) => Place::File(path.clone()),
                DriverLocation::Url(url) => {
                    let known = self.fetcher.known(&[Arc::from(url.as_str())], None);
                    let known = known.ok_or(Halt::NotRun)?;
                    Place::File(self.store.blob_path(known.sha256))
                }
                DriverLocation::Git {
                    repository,
                    reference,
                } => Place::Commit {
                    repository: repository.clone(),
                    tree: source::resolve(repository, reference).map_err(failed)?,
                },
            };
            self.take_source(&place).map_err(failed)?;
        }
        Ok(self.store.tree_path(source.tree))
    }

    /// What sources that cannot be used mean: a disk that fails says nothing about a driver.
    pub(super) fn source_failure(&self, driver: &Driver, error: &SourceError) -> Halt {
        if let Some(error) = error.machine_failure() {
            return self.steps.storage_failure(error, Phase::Configure);
        }
        if let SourceError::Unpack(error) = error
            && is_downloaded(driver, self)
        {
            // Nothing says what the tarball is, and another download may give something else.
            let message = format!("driver {}: {} {error}", driver.version, driver.location);
            return Failure::new(FailureClass::Download, Phase::Configure, message).into();
        }
        let message = format!("driver {}: {error}", driver.version);
        Failure::new(FailureClass::Configure, Phase::Configure, message).into()
    }
}

/// Whether a driver's tarball comes from somewhere that may give another one next time.
fn is_downloaded(driver: &Driver, pipeline: &Pipeline) -> bool {
    match &driver.location {
        DriverLocation::Url(url) => {
            let candidates = [Arc::from(url.as_str())];
            !pipeline.fetcher.is_one_local_file(&candidates)
        }
        _ => false,
    }
}

/// What stands for sources on this machine: the content of a tarball, or of the parts of a folder that count.
fn local_key(path: &Path) -> Result<KeyBuilder, SourceError> {
    let key = KeyBuilder::new("source", SOURCE_VERSION);
    if path.is_file() {
        let file = std::fs::File::open(path).map_err(FileError::of("read", path))?;
        let (sha256, _) = Sha256::of_reader(file).map_err(FileError::of("read", path))?;
        return Ok(key.field("tarball", sha256));
    }
    let source: DriverSource = source::read_source(path)?;
    let mut key = key;
    for part in source.parts() {
        key = key.field(*part, tree_digest_of_folder(&source.folder.join(part))?);
    }
    Ok(key)
}
