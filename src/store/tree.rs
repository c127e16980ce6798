//! Modes and times of trees in the store, which make them readable for every job and show
//! modifications.
//!
//! Whatever way a tree came, its files get mode 644 or 755, its directories 755, and everything in it but its root
//! (whose time is that of its last use) the same time. A job reads it under any user id, whatever the umask was; and a
//! file that was written to, or a directory in which something came or went, has another time than that.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, chmodat, statat,
    utimensat,
};

use crate::fs::FileError;

/// The time that everything in a tree has: the year 2000. Not 0, which make treats as a missing
/// file.
const TREE_SECONDS: i64 = 946_684_800;

const PERMISSIONS: u32 = 0o7777;

/// Whether something in a tree has the mode and the time of an unmodified tree.
pub(super) fn is_sealed(stat: &Stat) -> bool {
    has_mode(stat) && has_time(stat)
}

fn mode_of(stat: &Stat) -> u32 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_mode & 0o100 == 0 => 0o644,
        _ => 0o755,
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn has_mode(stat: &Stat) -> bool {
    is_link(stat) || stat.st_mode & PERMISSIONS == mode_of(stat)
}

fn has_time(stat: &Stat) -> bool {
    stat.st_mtime == TREE_SECONDS && stat.st_mtime_nsec == 0
}

/// Calls `visit` for the tree's root and everything in it, a directory before what is in it, until it returns false.
fn walk(
    root: &Path,
    mut visit: impl FnMut(&Path, &Stat) -> Result<bool, FileError>,
) -> Result<bool, FileError> {
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| FileError::of("read", &path)(error.into()))?;
        if !visit(&path, &stat)? {
            return Ok(false);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let read = |error| FileError::of("read directory", &path)(error);
        for entry in std::fs::read_dir(&path).map_err(read)? {
            pending.push(entry.map_err(read)?.path());
        }
    }
    Ok(true)
}

/// Whether the tree at `root` is unmodified since it was sealed. Changes below the file system (a
/// failing disk) are not detected.
pub(super) fn is_tree_sealed(root: &Path) -> Result<bool, FileError> {
    walk(root, |path, stat| {
        Ok(has_mode(stat) && (path == root || has_time(stat)))
    })
}

/// Returns the times of a tree's files: of the last change always the same, of the last access whatever it is.
pub fn tree_times() -> Timestamps {
    let modified = Timespec {
        tv_sec: TREE_SECONDS,
        tv_nsec: 0,
    };
    let unchanged = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    Timestamps {
        last_access: unchanged,
        last_modification: modified,
    }
}

/// Sets the mode and time of everything in the tree at `root`. Returns whether anything changed.
pub(super) fn seal(root: &Path) -> Result<bool, FileError> {
    let times = tree_times();
    let mut is_changed = false;
    walk(root, |path, stat| {
        let failed = |error: rustix::io::Errno| FileError::of("write", path)(error.into());
        if !has_mode(stat) {
            is_changed = true;
            let mode = Mode::from_raw_mode(mode_of(stat));
            chmodat(CWD, path, mode, AtFlags::empty()).map_err(failed)?;
        }
        if path != root && !has_time(stat) {
            is_changed = true;
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        Ok(true)
    })?;
    Ok(is_changed)
}

/// The inodes of the files in the tree at `root`.
pub(super) fn inodes(root: &Path) -> Result<HashSet<u64>, FileError> {
    let mut inodes = HashSet::new();
    walk(root, |_, stat| {
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            inodes.insert(stat.st_ino);
        }
        Ok(true)
    })?;
    Ok(inodes)
}

/// The device and inode of a directory, which identify it.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    path.symlink_metadata().ok().map(identity)
}

/// A tree with the identity of its directory, so that only this directory is discarded.
#[derive(Debug)]
pub struct FoundTree {
    pub(super) path: PathBuf,
    pub(super) identity: Option<(u64, u64)>,
}

impl FoundTree {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
