//! Writes and hashes a tree, entry by entry.

mod files;

use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, chmodat};

use super::attributes::{name_of, set_time};
use super::error::shown;
use super::path::{Leads, clean, leads, split};
use super::tree::{Listing, Node, Tree, digest};
use super::{Limits, UnpackError};
use crate::fs::FileError;
use crate::store::{SharedFile, SharedFiles};

/// The bytes of content that allow one entry beyond `Limits::empty_entries`: a quarter of the average in header
/// packages.
const BYTES_OF_AN_ENTRY: u64 = 1 << 10;

/// The number of entries that may be created before there is enough content; beyond that, the whole archive is surveyed
/// first.
const ENTRIES_ON_CREDIT: u64 = 1_000;

/// A tree that is being written into an empty directory.
///
/// Entries are opened by their bare name in their open parent directory, and every directory above an entry must have
/// been created by this writer: no link of the archive is ever followed.
pub(super) struct TreeWriter<'a> {
    path: &'a Path,
    root: Dir,
    limits: &'a Limits,
    listing: Listing,
    size_bytes: u64,
    /// The directory of the last entry, usually also that of the next one.
    current: Option<(Vec<u8>, Dir)>,
    buffer: Vec<u8>,
    shared: Option<&'a SharedFiles>,
    new_files: Vec<(PathBuf, SharedFile)>,
    /// Reads the whole archive without writing anything, and fails if it exceeds the limits; `None` after it ran.
    survey: Option<Survey<'a>>,
    /// True if entries are only counted.
    is_survey: bool,
    /// The only file whose content is wanted, if the writer searches for one.
    pub(super) sought: Option<Sought<'a>>,
}

/// A file to look for in an archive.
pub(super) struct Sought<'a> {
    /// Returns true for the cleaned path of the file.
    pub(super) is_wanted: &'a dyn Fn(&[u8]) -> bool,
    /// The maximum size of the file in bytes.
    pub(super) limit_bytes: u64,
    /// The content, once found.
    pub(super) found: Option<Vec<u8>>,
}

/// Reads an archive with a writer that writes nothing.
type Survey<'a> = &'a dyn Fn(&mut TreeWriter<'_>) -> Result<(), UnpackError>;

/// A tree that was written.
pub(super) struct Written {
    pub(super) tree: Tree,
    /// Files that could be shared but are in no other tree yet, with their paths in the tree.
    pub(super) new_files: Vec<(PathBuf, SharedFile)>,
}

impl<'a> TreeWriter<'a> {
    /// Starts a tree in the empty directory `path`; files that are in `shared` are linked from there.
    pub(super) fn new(
        path: &'a Path,
        limits: &'a Limits,
        shared: Option<&'a SharedFiles>,
        survey: Survey<'a>,
    ) -> Result<Self, UnpackError> {
        let root = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(FileError::of("open directory", path))?;
        Ok(Self {
            path,
            root,
            limits,
            listing: Listing::new(),
            size_bytes: 0,
            current: None,
            buffer: Vec::new(),
            shared,
            new_files: Vec::new(),
            survey: Some(survey),
            is_survey: false,
            sought: None,
        })
    }

    /// Returns a writer with the same limits that writes nothing.
    fn for_survey(&self) -> Result<Self, UnpackError> {
        let root = self.root.try_clone();
        let root = root.map_err(FileError::of("open directory", self.path))?;
        Ok(Self::that_makes_nothing(self.path, root, self.limits, None))
    }

    /// Returns a writer that writes nothing; `root` is the open directory `path`.
    pub(super) fn that_makes_nothing(
        path: &'a Path,
        root: Dir,
        limits: &'a Limits,
        sought: Option<Sought<'a>>,
    ) -> Self {
        Self {
            path,
            root,
            limits,
            listing: Listing::new(),
            size_bytes: 0,
            current: None,
            buffer: Vec::new(),
            shared: None,
            new_files: Vec::new(),
            survey: None,
            is_survey: true,
            sought,
        }
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.path.join(name_of(path))
    }

    /// Opens the parent directory of `path`, creating missing directories.
    fn enter_parent(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let (parent, _) = split(path);
        if self
            .current
            .as_ref()
            .is_some_and(|(open, _)| open == parent)
        {
            return Ok(());
        }
        self.make_folders(parent, path)?;
        if self.is_survey {
            return Ok(());
        }
        let opened = if parent.is_empty() {
            self.root.try_clone()
        } else {
            self.root.open_dir(name_of(parent))
        };
        let opened = opened.map_err(FileError::of("open directory", self.on_disk(parent)))?;
        self.current = Some((parent.to_vec(), opened));
        Ok(())
    }

    /// Creates `folder` and its parents; `entry` is the path shown in errors.
    fn make_folders(&mut self, folder: &[u8], entry: &[u8]) -> Result<(), UnpackError> {
        match self.listing.get(folder) {
            Some(Node::Folder) => return Ok(()),
            Some(_) => {
                return Err(UnpackError::BelowNoFolder {
                    path: shown(entry),
                    parent: shown(folder),
                });
            }
            None if folder.is_empty() => return Ok(()),
            None => {}
        }
        self.expect_entry()?;
        self.make_folders(split(folder).0, entry)?;
        if !self.is_survey {
            let failed = FileError::of("create directory", self.on_disk(folder));
            self.root.create_dir(name_of(folder)).map_err(failed)?;
        }
        self.insert(folder.to_vec(), Node::Folder)
    }

    /// Fails if there are too many entries, before another one is created.
    ///
    /// `limits.entries` is meant for trees with content. A tree with hardly anything but names is an attack long before
    /// that: each name costs as much disk space as a small file. An archive that starts like one is read once without
    /// writing anything, so that a refused archive costs hardly any disk space.
    fn expect_entry(&mut self) -> Result<(), UnpackError> {
        let paid = self.size_bytes / BYTES_OF_AN_ENTRY;
        let limit = self.limits.entries.min(self.limits.empty_entries + paid);
        let count = self.listing.len() as u64;
        if count >= limit {
            return Err(UnpackError::TooManyEntries(limit));
        }
        if count > ENTRIES_ON_CREDIT + paid
            && let Some(survey) = self.survey.take()
        {
            survey(&mut self.for_survey()?)?;
        }
        Ok(())
    }

    fn insert(&mut self, path: Vec<u8>, node: Node) -> Result<(), UnpackError> {
        match self.listing.entry(path) {
            Entry::Vacant(vacant) => {
                vacant.insert(node);
                Ok(())
            }
            Entry::Occupied(occupied) => Err(UnpackError::Duplicate(shown(occupied.key()))),
        }
    }

    /// Returns the cleaned path of a new entry, which must not be the root.
    fn new_path(&mut self, raw: &[u8]) -> Result<Vec<u8>, UnpackError> {
        self.expect_entry()?;
        let path = clean(raw, self.limits)?;
        if path.is_empty() || self.listing.contains_key(&path) {
            return Err(UnpackError::Duplicate(shown(raw)));
        }
        self.enter_parent(&path)?;
        Ok(path)
    }

    /// Adds a directory, which may already exist.
    pub(super) fn add_folder(&mut self, raw: &[u8]) -> Result<(), UnpackError> {
        let path = clean(raw, self.limits)?;
        match self.listing.get(&path) {
            Some(Node::File { .. } | Node::Link { .. }) => {
                Err(UnpackError::Duplicate(shown(&path)))
            }
            _ => self.make_folders(&path, &path),
        }
    }

    /// Returns the directory that was entered last.
    fn parent(&self) -> &Dir {
        self.current
            .as_ref()
            .map_or(&self.root, |(_, folder)| folder)
    }

    /// Adds a symbolic link.
    pub(super) fn add_link(&mut self, raw: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let path = self.new_path(raw)?;
        // Whether the link leaves the tree is checked at the end, when all links are known; length and depth are
        // checked as for names.
        let depth = target.split(|&byte| byte == b'/').count();
        if target.len() > self.limits.path_bytes || depth > self.limits.path_depth {
            return Err(UnpackError::LongPath {
                path: shown(target),
                limit: format!(
                    "{} bytes and {} segments",
                    self.limits.path_bytes, self.limits.path_depth
                ),
            });
        }
        if target.is_empty() {
            return Err(leaving(&path, target));
        }
        if target.contains(&0) {
            return Err(UnpackError::NulByte(shown(target)));
        }
        if self.is_survey {
            return self.insert(path, Node::Link { target: Vec::new() });
        }
        let name = name_of(split(&path).1);
        self.parent()
            .symlink_contents(name_of(target), name)
            .and_then(|()| set_time(self.parent(), name))
            .map_err(FileError::of("create link", self.on_disk(&path)))?;
        let target = target.to_vec();
        self.insert(path, Node::Link { target })
    }

    /// Adds a hard link to an earlier file.
    pub(super) fn add_hard_link(
        &mut self,
        raw: &[u8],
        raw_target: &[u8],
    ) -> Result<(), UnpackError> {
        let path = self.new_path(raw)?;
        let target = clean(raw_target, self.limits)?;
        let node = match self.listing.get(&target) {
            Some(node @ Node::File { .. }) => node.clone(),
            _ => {
                return Err(UnpackError::HardLinkTarget {
                    path: shown(&path),
                    target: shown(raw_target),
                });
            }
        };
        if self.is_survey {
            return self.insert(path, node);
        }
        let linked = self
            .root
            .hard_link(name_of(&target), self.parent(), name_of(split(&path).1));
        match linked {
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
                return Err(UnpackError::TooManyNames(shown(&path)));
            }
            linked => linked.map_err(FileError::of("create link", self.on_disk(&path)))?,
        }
        self.insert(path, node)
    }

    /// Removes each `vmlinux` that is not a link to a file of this tree: it is the kernel that a machine happens to run
    /// (`/sys/kernel/btf/vmlinux`), whose types would end up in modules.
    fn remove_foreign_kernels(&mut self) -> Result<(), UnpackError> {
        let is_link = |(path, node): &(&Vec<u8>, &Node)| {
            matches!(node, Node::Link { .. }) && split(path).1 == VMLINUX
        };
        let links: Vec<Vec<u8>> = self
            .listing
            .iter()
            .filter(is_link)
            .map(|(path, _)| path.clone())
            .collect();
        for path in links {
            let own = match leads(&self.listing, &path) {
                Leads::Inside(place) => self.listing.contains_key(&place),
                Leads::Outside | Leads::Nowhere => false,
            };
            if !own {
                self.root
                    .remove_file(name_of(&path))
                    .map_err(FileError::of("remove", self.on_disk(&path)))?;
                self.listing.remove(&path);
            }
        }
        Ok(())
    }

    /// Completes the tree.
    pub(super) fn finish(mut self) -> Result<Written, UnpackError> {
        self.remove_foreign_kernels()?;
        let open = |folder: &Path| {
            Ok(chmodat(
                &self.root,
                folder,
                Mode::from_raw_mode(0o755),
                AtFlags::empty(),
            )?)
        };
        open(Path::new(".")).map_err(FileError::of("write", self.path))?;
        for (path, node) in &self.listing {
            match node {
                // Directories come last, because each new entry changes their times. The root keeps its own time: that
                // of its last use.
                Node::Folder => open(name_of(path))
                    .and_then(|()| set_time(&self.root, name_of(path)))
                    .map_err(FileError::of("write", self.on_disk(path)))?,
                // The final target of a link is known only when all links are.
                Node::Link { target } => match leads(&self.listing, path) {
                    Leads::Inside(_) => {}
                    Leads::Outside => return Err(leaving(path, target)),
                    Leads::Nowhere => {
                        return Err(UnpackError::LinkLoop {
                            path: shown(path),
                            target: shown(target),
                        });
                    }
                },
                Node::File { .. } => {}
            }
        }
        let tree = Tree {
            sha256: digest(&self.listing).map_err(UnpackError::Broken)?,
            entries: self.listing.len() as u64,
            size_bytes: self.size_bytes,
        };
        Ok(Written {
            tree,
            new_files: self.new_files,
        })
    }
}

/// The name of a whole kernel in its tree.
const VMLINUX: &[u8] = b"vmlinux";

fn leaving(path: &[u8], target: &[u8]) -> UnpackError {
    UnpackError::LinkLeavesTree {
        path: shown(path),
        target: shown(target),
    }
}
