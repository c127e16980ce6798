//! The output directory, which receives the artifacts under the names that the loader requests.
//!
//! Checking an existing file that is unchanged since it was placed costs one stat; otherwise the file is compared by
//! digest, and replaced from the store if it differs. Placed files are recorded in `.driverkit-matrix/placed.jsonl` in
//! the directory, with path, size and modification time.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::digest::{HashingWriter, Sha256};
use crate::fs::{self, FileError, FileFacts, OpenFolder};
use crate::report::{STATE_FOLDER, attestation_of};
use crate::store::Store;

/// The record of a file placed under a path.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    size_bytes: u64,
    modified_nanoseconds: i128,
    sha256: Sha256,
    /// The artifact of which this is an additional name.
    alias_of: Option<PathBuf>,
    /// Whether this run found the artifact unchanged, so that it is not checked again.
    is_seen: bool,
}

impl Placed {
    /// Returns the record of an artifact under its own name.
    fn new(facts: &FileFacts, sha256: Sha256) -> Self {
        Self {
            size_bytes: facts.size_bytes,
            modified_nanoseconds: facts.modified_nanoseconds,
            sha256,
            alias_of: None,
            is_seen: false,
        }
    }
}

/// The serialized form of a placed file.
#[derive(Serialize, Deserialize)]
struct Line<P> {
    path: P,
    size_bytes: u64,
    modified_nanoseconds: i128,
    sha256: Sha256,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    alias_of: Option<P>,
}

impl From<Line<PathBuf>> for (PathBuf, Placed) {
    fn from(line: Line<PathBuf>) -> Self {
        let placed = Placed {
            size_bytes: line.size_bytes,
            modified_nanoseconds: line.modified_nanoseconds,
            sha256: line.sha256,
            alias_of: line.alias_of,
            is_seen: false,
        };
        (line.path, placed)
    }
}

/// The result of [`OutFolder::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The file already existed.
    Unchanged,
    /// The file was written.
    Written,
    /// The file was written, and its name was an additional name of the artifact at this path, which stays.
    WrittenInPlaceOf(PathBuf),
}

/// The result of adding a name to an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// The artifact already has the name.
    There,
    /// The name was added, and was an additional name of the artifact at this path before, which stays.
    TakenFrom(PathBuf),
    /// Single files are written, which have only their own names.
    SingleFiles,
    /// The name belongs to the artifact at this path, which stays as it is.
    TakenBy(PathBuf),
}

/// A writable output directory, or single output files.
pub struct OutFolder {
    root: OpenFolder,
    /// The destinations of single artifacts, by their paths in a directory; nothing else is written then.
    exact: Option<HashMap<PathBuf, PathBuf>>,
    placed: Mutex<HashMap<PathBuf, Placed>>,
    changed: Mutex<bool>,
    /// The names in directories of logs, listed once: checking tens of thousands of files one by one takes longer.
    logs: Mutex<HashMap<PathBuf, HashSet<OsString>>>,
}

impl OutFolder {
    /// Opens the directory, creates it if it does not exist, and checks that it is writable.
    pub fn open(root: &Path) -> Result<Self, FileError> {
        let state = root.join(STATE_FOLDER);
        fs::create_folder(&state)?;
        fs::write(
            &state.join("README"),
            "State of driverkit-matrix; the artifacts are beside this directory.\n",
        )?;
        Ok(Self::to_read(root))
    }

    /// Opens an existing directory for look-ups only; creates nothing.
    pub fn to_read(root: &Path) -> Self {
        let placed = root.join(STATE_FOLDER).join("placed.jsonl");
        let text = std::fs::read_to_string(placed).unwrap_or_default();
        // If a line cannot be read, its artifact is compared by digest again.
        let lines = text
            .par_lines()
            .filter_map(|line| serde_json::from_str::<Line<PathBuf>>(line).ok());
        let placed = lines.map(<(PathBuf, Placed)>::from).collect();
        Self {
            root: OpenFolder::new(root.to_owned()),
            exact: None,
            placed: Mutex::new(placed),
            changed: Mutex::new(false),
            logs: Mutex::default(),
        }
    }

    /// Returns single output files instead of a directory: maps the path of each artifact in a directory to an absolute
    /// path. Nothing else is written.
    pub fn of_files(files: HashMap<PathBuf, PathBuf>) -> Self {
        Self {
            root: OpenFolder::new(PathBuf::new()),
            exact: Some(files),
            placed: Mutex::default(),
            changed: Mutex::new(false),
            logs: Mutex::default(),
        }
    }

    /// Returns the destination of the artifact at `path` (relative), or `None` if it is not one of the single files.
    pub(super) fn full_path(&self, path: &Path) -> Option<PathBuf> {
        match &self.exact {
            Some(files) => files.get(path).cloned(),
            None => Some(self.root().join(path)),
        }
    }

    fn facts(&self, path: &Path, full: &Path) -> io::Result<FileFacts> {
        let path = if self.exact.is_some() { full } else { path };
        self.root.facts(path)
    }

    /// Returns the path of the directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Whether the artifact at `path` (relative) exists with this content. Does not read the store.
    pub fn has(&self, path: &Path, sha256: Sha256, size_bytes: u64) -> Result<bool, FileError> {
        let is_seen = |known: &Placed| known.is_seen && known.sha256 == sha256;
        if lock(&self.placed).get(path).is_some_and(is_seen) {
            return Ok(true);
        }
        let Some(full) = self.full_path(path) else {
            return Ok(true);
        };
        let facts = match self.facts(path, &full) {
            Ok(facts) if facts.is_file && facts.size_bytes == size_bytes => facts,
            _ => return Ok(false),
        };
        let now = Placed::new(&facts, sha256);
        if let Some(known) = lock(&self.placed).get_mut(path)
            && *known == now
        {
            known.is_seen = true;
            return Ok(true);
        }
        let file = fs::open_file(&full).map_err(FileError::of("read", &full))?;
        let (found, _) = Sha256::of_reader(file).map_err(FileError::of("read", &full))?;
        if found == sha256 {
            let is_seen = true;
            self.remember(path, Placed { is_seen, ..now });
        }
        Ok(found == sha256)
    }

    /// Places the file with this digest from the store at `path` (relative), unless it exists there. An artifact's own
    /// name takes precedence over additional names of other artifacts.
    pub(crate) fn place(
        &self,
        store: &Store,
        path: &Path,
        sha256: Sha256,
        size_bytes: u64,
    ) -> Result<Placement, FileError> {
        if self.has(path, sha256, size_bytes)? {
            return Ok(Placement::Unchanged);
        }
        let Some(full) = self.full_path(path) else {
            return Ok(Placement::Unchanged);
        };
        let holder = match &self.exact {
            Some(_) => None,
            None => self.holder(path, path)?,
        };
        let blob = store.blob_path(sha256);
        let mut source = std::fs::File::open(&blob).map_err(FileError::of("read", &blob))?;
        let mut writer = HashingWriter::new(fs::PendingFile::create(&full)?);
        io::copy(&mut source, &mut writer).map_err(FileError::of("write", &full))?;
        let (written, _, pending) = writer.finish();
        if written != sha256 {
            let error = io::Error::other(format!("its content has digest {written}"));
            return Err(FileError::of("read", blob)(error));
        }
        pending.keep()?;
        let facts = self.facts(path, &full);
        let facts = facts.map_err(FileError::of("read", &full))?;
        self.remember(path, Placed::new(&facts, sha256));
        Ok(holder.map_or(Placement::Written, Placement::WrittenInPlaceOf))
    }

    /// Gives the artifact at `path` an additional name (both relative): a hard link, so that it costs nothing and a
    /// copy to a bucket contains both names. A name of another artifact is left unchanged, unless that artifact is one
    /// of `rivals`, which the plan decided against.
    pub(crate) fn link(
        &self,
        path: &Path,
        alias: &Path,
        rivals: &[PathBuf],
    ) -> Result<Linked, FileError> {
        if self.exact.is_some() {
            return Ok(Linked::SingleFiles);
        }
        let (from, to) = (self.root().join(path), self.root().join(alias));
        let file_of = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let is_there = file_of(&to).is_some_and(|file| file_of(&from) == Some(file));
        let mut holder = None;
        if !is_there {
            holder = self.holder(path, alias)?;
            if let Some(holder) = holder.take_if(|holder| !rivals.contains(holder)) {
                return Ok(Linked::TakenBy(holder));
            }
            let mut temporary = to.clone();
            temporary.set_file_name(format!(
                "{}{}",
                fs::TEMPORARY_PREFIX,
                to.file_name().unwrap_or_default().to_string_lossy()
            ));
            // Remove a leftover of a killed run.
            fs::remove_file(&temporary)?;
            fs::link_or_copy(&from, &temporary)?;
            fs::rename(&temporary, &to)?;
        }
        let own = lock(&self.placed).get(path).cloned();
        if let Some(own) = own {
            let named = Placed {
                alias_of: Some(path.to_owned()),
                is_seen: false,
                ..own
            };
            if lock(&self.placed).get(alias) != Some(&named) {
                self.remember(alias, named);
            }
        }
        Ok(holder.map_or(Linked::There, Linked::TakenFrom))
    }

    /// Returns the artifact other than `path` that has the name `alias`.
    fn holder(&self, path: &Path, alias: &Path) -> Result<Option<PathBuf>, FileError> {
        let full = self.root().join(alias);
        let Ok(file) = fs::open_file(&full) else {
            return Ok(None);
        };
        let known = lock(&self.placed).get(alias).cloned();
        let holder = if let Some(placed) = known {
            Some(placed.alias_of.unwrap_or_else(|| alias.to_owned()))
        } else {
            // Names given by earlier versions are not recorded.
            let (digest, _) = Sha256::of_reader(file).map_err(FileError::of("read", &full))?;
            let placed = lock(&self.placed);
            let mut others = placed.iter().filter(|(_, one)| one.sha256 == digest);
            others.find_map(|(path, one)| one.alias_of.is_none().then(|| path.clone()))
        };
        Ok(holder.filter(|holder| holder != path))
    }

    /// Places the log with this digest from the store at `path` (relative); for single output files, the log stays in
    /// the store. Returns the path of the log: relative to the directory, or in the store.
    pub fn place_log(
        &self,
        store: &Store,
        path: &Path,
        log: Option<Sha256>,
        is_cached: bool,
    ) -> Option<PathBuf> {
        if self.exact.is_some() {
            return Some(store.blob_path(log?)).filter(|path| path.exists());
        }
        if is_cached && self.has_log(path) {
            return Some(path.to_owned());
        }
        let log = log?;
        let size_bytes = std::fs::metadata(store.blob_path(log)).ok()?.len();
        self.place(store, path, log, size_bytes).ok()?;
        Some(path.to_owned())
    }

    /// Clears the lists of directories, which are listed again if needed.
    pub(super) fn forget_lists(&self) {
        *lock(&self.logs) = HashMap::new();
    }

    /// Whether the log at `path` (relative) existed when its directory was listed.
    fn has_log(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let mut logs = lock(&self.logs);
        if !logs.contains_key(folder) {
            let entries = std::fs::read_dir(self.root().join(folder));
            let entries = entries.into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).collect();
            logs.insert(folder.to_owned(), names);
        }
        logs.get(folder).is_some_and(|names| names.contains(name))
    }

    /// Removes the artifact at `path` (relative) and its attestation.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), FileError> {
        if let Some(full) = self.full_path(path) {
            fs::remove_file(&full)?;
            fs::remove_file(&attestation_of(&full))?;
        }
        if lock(&self.placed).remove(path).is_some() {
            *lock(&self.changed) = true;
        }
        Ok(())
    }

    fn remember(&self, path: &Path, placed: Placed) {
        if self.exact.is_some() {
            return;
        }
        lock(&self.placed).insert(path.to_owned(), placed);
        *lock(&self.changed) = true;
    }

    /// Saves the records of placed files for the next run.
    pub fn save(&self) -> Result<(), FileError> {
        if !*lock(&self.changed) {
            return Ok(());
        }
        let placed = lock(&self.placed);
        let mut all: Vec<(&PathBuf, &Placed)> = placed.iter().collect();
        all.sort_unstable_by_key(|(path, _)| *path);
        let path = self.root().join(STATE_FOLDER).join("placed.jsonl");
        let mut text = Vec::new();
        for (own, placed) in all {
            let line = Line {
                path: own,
                size_bytes: placed.size_bytes,
                modified_nanoseconds: placed.modified_nanoseconds,
                sha256: placed.sha256,
                alias_of: placed.alias_of.as_ref(),
            };
            serde_json::to_writer(&mut text, &line)
                .map_err(io::Error::from)
                .and_then(|()| text.write_all(b"\n"))
                .map_err(FileError::of("write", &path))?;
        }
        fs::write(&path, text)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, Store, OutFolder, Sha256) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), "run").unwrap();
        let out = OutFolder::open(&folder.path().join("out")).unwrap();
        let (digest, _) = store.put_blob("module".as_bytes()).unwrap();
        (folder, store, out, digest)
    }

    #[test]
    fn an_artifact_is_placed_once_and_replaced_if_changed() {
        let (folder, store, out, digest) = folders();
        let path = Path::new("v/x86_64/falco.ko");
        let place = |out: &OutFolder| out.place(&store, path, digest, 6).unwrap();
        assert_eq!(place(&out), Placement::Written);
        assert_eq!(place(&out), Placement::Unchanged);
        out.save().unwrap();
        let full = folder.path().join("out").join(path);
        fs::write(&full, "m0dule").unwrap();
        let again = OutFolder::open(&folder.path().join("out")).unwrap();
        assert!(!again.has(path, digest, 6).unwrap());
        assert_eq!(place(&again), Placement::Written);
        assert_eq!(fs::read(&full).unwrap(), b"module");
    }

    #[test]
    fn an_output_directory_without_state_is_compared_by_content() {
        let (folder, store, out, digest) = folders();
        let path = Path::new("falco.ko");
        out.place(&store, path, digest, 6).unwrap();
        let again = OutFolder::open(&folder.path().join("out")).unwrap();
        assert!(again.has(path, digest, 6).unwrap());
    }

    #[test]
    fn single_files_are_written_and_no_other_files() {
        let (folder, store, _, digest) = folders();
        let output = folder.path().join("new/falco.ko");
        let path = Path::new("v/x86_64/falco.ko");
        let out = OutFolder::of_files(HashMap::from([(path.to_owned(), output.clone())]));
        assert!(!out.has(path, digest, 6).unwrap());
        let placement = out.place(&store, path, digest, 6).unwrap();
        assert_eq!(placement, Placement::Written);
        assert!(out.has(path, digest, 6).unwrap());
        assert_eq!(
            out.link(path, Path::new("other.ko"), &[]).unwrap(),
            Linked::SingleFiles
        );
        let log = out.place_log(&store, Path::new("log"), Some(digest), false);
        assert_eq!(log, Some(store.blob_path(digest)));
        out.save().unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"module");
        assert_eq!(
            std::fs::read_dir(folder.path().join("new"))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn alias_is_the_same_file_and_never_replaces_another_artifact() {
        let (folder, store, out, digest) = folders();
        let [a, b, c] = ["a.ko", "b.ko", "c.ko"].map(Path::new);
        out.place(&store, a, digest, 6).unwrap();
        for _ in 0..2 {
            assert_eq!(out.link(a, b, &[]).unwrap(), Linked::There);
        }
        let (other, size_bytes) = store.put_blob("another".as_bytes()).unwrap();
        out.place(&store, c, other, size_bytes).unwrap();
        assert_eq!(out.link(a, c, &[]).unwrap(), Linked::TakenBy(c.to_owned()));
        assert_eq!(out.link(c, b, &[]).unwrap(), Linked::TakenBy(a.to_owned()));
        out.save().unwrap();
        let content = |name: &str| fs::read(&folder.path().join("out").join(name)).unwrap();
        assert_eq!(content("c.ko"), b"another");
        assert_eq!(content("b.ko"), b"module");

        // The next run knows which artifact has the name, and a run without the state finds out by the content.
        let next = OutFolder::open(&folder.path().join("out")).unwrap();
        assert_eq!(next.link(c, b, &[]).unwrap(), Linked::TakenBy(a.to_owned()));
        fs::remove_file(&folder.path().join("out/.driverkit-matrix/placed.jsonl")).unwrap();
        let bare = OutFolder::open(&folder.path().join("out")).unwrap();
        assert!(bare.has(a, digest, 6).unwrap() && bare.has(c, other, size_bytes).unwrap());
        assert_eq!(bare.link(c, b, &[]).unwrap(), Linked::TakenBy(a.to_owned()));

        // An artifact that the plan decided against loses the name, and an artifact takes back its own name.
        let rivals = [a.to_owned()];
        let moved = next.link(c, b, &rivals).unwrap();
        assert_eq!(moved, Linked::TakenFrom(a.to_owned()));
        assert_eq!(next.link(c, b, &rivals).unwrap(), Linked::There);
        assert_eq!(content("b.ko"), b"another");
        let placement = next.place(&store, b, digest, 6).unwrap();
        assert_eq!(placement, Placement::WrittenInPlaceOf(c.to_owned()));
        assert_eq!(
            next.link(c, b, &[a.to_owned()]).unwrap(),
            Linked::TakenBy(b.to_owned())
        );
        assert_eq!(content("b.ko"), b"module");
    }
}
