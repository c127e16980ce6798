//! Puts a driver's sources into the store. They come from a tarball at a URL, a local tarball, a local directory, or a
//! commit of a local clone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{KeyBuilder, Sha256};
use crate::driver::{Driver, DriverLocation, DriverVersion};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::Memo;
use crate::engine::work::Work;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fetch::{ContentKind, Request};
use crate::fs::{FileError, blocking};
use crate::recipe::files::Files;
use crate::source::{self, DriverSource, Layout, SourceError};
use crate::store::Store;
use crate::unpack::{self, tree_digest_of_folder};

/// The version of the step that stores sources: 2 since a broken download is not cached.
const SOURCE_VERSION: u32 = 2;

/// Facts about driver sources: their tree in the store and their layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KnownSource {
    pub(crate) tree: Sha256,
    pub(crate) layout: Layout,
    pub(crate) has_probe: bool,
}

/// The sources of a driver after a lookup.
pub(crate) struct FoundSource {
    pub(crate) known: KnownSource,
    step: KeyBuilder,
    place: Place,
}

/// Where sources are on this machine.
#[derive(Clone)]
enum Place {
    /// A directory or tarball.
    File(PathBuf),
    /// The content of a commit.
    Commit { repository: PathBuf, tree: String },
}

/// Puts the sources of drivers into the store.
pub(crate) struct DriverSources {
    engine: Arc<Engine>,
    files: Arc<Files>,
    known: Memo<DriverVersion, Result<Arc<FoundSource>, Halt>>,
    /// The drivers with a cached failure to retry.
    doubted: Memo<DriverVersion, ()>,
}

impl DriverSources {
    pub(crate) fn new(engine: Arc<Engine>, files: Arc<Files>) -> Self {
        Self {
            engine,
            files,
            known: Memo::default(),
            doubted: Memo::default(),
        }
    }

    /// Requests the URL of a driver's sources again, because a cached failure is retried.
    pub(crate) fn doubt(&self, driver: &Driver) {
        self.doubted.put(driver.version.clone(), ());
    }

    /// Forgets all lookups.
    pub(crate) fn forget(&self) {
        self.known.clear();
    }

    /// Returns facts about a driver's sources, which are stored once for the whole run.
    pub(crate) async fn find(&self, driver: &Driver, mode: Mode) -> Result<Arc<FoundSource>, Halt> {
        if let Some(known) = self.known.get(&driver.version) {
            return known;
        }
        let found = self.look_up(driver, mode).await.map(Arc::new);
        if !matches!(found, Err(Halt::Missing | Halt::NotRun)) {
            self.known.put(driver.version.clone(), found.clone());
        }
        found
    }

    /// Finds the sources without the memo. A broken tarball is forgotten, and the next location is tried.
    async fn look_up(&self, driver: &Driver, mode: Mode) -> Result<FoundSource, Halt> {
        let DriverLocation::Url(url) = &driver.location else {
            return self.source_at(driver, None, mode).await;
        };
        let candidates = [Arc::from(url.as_str())];
        if mode == Mode::Run && self.doubted.get(&driver.version).is_some() {
            self.engine.fetcher.distrust(&candidates);
        }
        loop {
            let sha256 = self.fetch_source(url, mode).await?;
            match self.source_at(driver, Some(sha256), mode).await {
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::Download => {
                    self.files
                        .refuse(&candidates, sha256, &failed.failure.message)?;
                }
                found => return found,
            }
        }
    }

    /// Returns facts about the sources at a driver's location, or in the downloaded tarball with the given digest.
    async fn source_at(
        &self,
        driver: &Driver,
        tarball: Option<Sha256>,
        mode: Mode,
    ) -> Result<FoundSource, Halt> {
        let failed = |error: SourceError| self.failure(driver, &error);
        let location = driver.location.clone();
        let blob = tarball.map(|sha256| (sha256, self.engine.store.blob_path(sha256)));
        let found = mode.blocking(move || find(location, blob)).await;
        let (place, step) = found.ok_or(Halt::NotRun)?.map_err(failed)?;
        let work = self.take(driver, &place);
        let done = self
            .engine
            .step(mode, Phase::Configure, step.clone(), Box::pin(work));
        Ok(FoundSource {
            known: done.await?.facts(Phase::Configure)?,
            step,
            place,
        })
    }

    /// Puts the sources at `place` into the store.
    async fn take(&self, driver: &Driver, place: &Place) -> Result<Work, Halt> {
        self.engine.may_begin(Mode::Run)?;
        if let (DriverLocation::Url(url), Place::File(path)) = (&driver.location, place) {
            Box::pin(self.have_whole(url, path)).await?;
        }
        let (store, place) = (self.engine.store.clone(), place.clone());
        match blocking(move || take_source(&store, &place)).await {
            Ok(taken) => Work::of_facts(&taken, Phase::Configure),
            Err(error) => Err(self.failure(driver, &error).of_step([])),
        }
    }

    async fn fetch_source(&self, url: &str, mode: Mode) -> Result<Sha256, Halt> {
        let request = Request {
            candidates: vec![Arc::from(url)],
            sha256: None,
            size_bytes: None,
            kind: ContentKind::Tarball,
        };
        let fetched = self.files.fetch_unless_known(&request, mode).await?;
        Ok(fetched.sha256)
    }

    /// Downloads a tarball again if its file in the store was damaged on disk.
    async fn have_whole(&self, url: &str, blob: &Path) -> Result<(), Halt> {
        let name = blob.file_name().and_then(|name| name.to_str());
        if let Some(sha256) = name.and_then(|name| name.parse().ok())
            && !self.engine.has_whole_blob(sha256, Phase::Fetch).await?
        {
            self.fetch_source(url, Mode::Run).await?;
        }
        Ok(())
    }

    /// Returns the directory of the sources in the store. Stores them again if they were removed.
    pub(crate) async fn tree(
        &self,
        driver: &Driver,
        source: &FoundSource,
    ) -> Result<PathBuf, Halt> {
        let whose = format!("driver {}", driver.version);
        let take = self.take(driver, &source.place);
        let (tree, phase) = (source.known.tree, Phase::Configure);
        let trees = &self.engine.trees;
        trees
            .ensure(&[tree], &source.step, phase, whose, Box::pin(take))
            .await?;
        Ok(self.engine.store.tree_path(tree))
    }

    /// Returns the failure for sources that cannot be used. A failing disk is not the driver's fault.
    pub(crate) fn failure(&self, driver: &Driver, error: &SourceError) -> Halt {
        if let Some(error) = error.machine_failure() {
            return self.engine.steps.storage_failure(error, Phase::Configure);
        }
        if let SourceError::Unpack(error) = error
            && self.is_downloaded(driver)
        {
            // The tarball has no known digest, and another download may return different content.
            let message = format!("driver {}: {} {error}", driver.version, driver.location);
            return Failure::new(FailureClass::Download, Phase::Configure, message).into();
        }
        let message = format!("driver {}: {error}", driver.version);
        Failure::new(FailureClass::Configure, Phase::Configure, message).into()
    }

    /// Returns true if the driver's tarball is downloaded, so that the next download may differ.
    fn is_downloaded(&self, driver: &Driver) -> bool {
        match &driver.location {
            DriverLocation::Url(url) => {
                let candidates = [Arc::from(url.as_str())];
                !self.engine.fetcher.is_one_local_file(&candidates)
            }
            _ => false,
        }
    }
}

/// Returns the local path of the sources, with the key of the step that stores them; `None` if a tarball is needed and
/// was not downloaded.
fn find(
    location: DriverLocation,
    tarball: Option<(Sha256, PathBuf)>,
) -> Option<Result<(Place, KeyBuilder), SourceError>> {
    let key = KeyBuilder::new("source", SOURCE_VERSION);
    Some(match location {
        DriverLocation::Url(_) => {
            let (sha256, blob) = tarball?;
            Ok((Place::File(blob), key.field("tarball", sha256)))
        }
        DriverLocation::Path(path) => local_key(&path).map(|key| (Place::File(path), key)),
        DriverLocation::Git {
            repository,
            reference,
        } => source::resolve(&repository, &reference).map(|tree| {
            let key = key.field("git tree", &tree);
            (Place::Commit { repository, tree }, key)
        }),
    })
}

/// Copies the parts of the sources at `place` that a build needs into the store.
fn take_source(store: &Store, place: &Place) -> Result<KnownSource, SourceError> {
    let work = store.temporary_folder()?;
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
    store.put_tree(&tree, sha256)?;
    Ok(KnownSource {
        tree: sha256,
        layout: source.layout,
        has_probe: source.has_probe,
    })
}

/// The key of local sources: the content of a tarball, or of the relevant parts of a directory.
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
