//! Modes, times and names of a tree's files.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::store::TREE_SECONDS;

/// Returns bytes of an archive as a path.
pub(super) fn name_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Returns the permissions of a file.
pub(super) fn mode(is_executable: bool) -> Mode {
    Mode::from_raw_mode(if is_executable { 0o755 } else { 0o644 })
}

/// Whether this process's mask takes nothing away from the modes of files, so that they need not be set once more.
pub(super) fn umask_is_harmless() -> bool {
    static IS_HARMLESS: OnceLock<bool> = OnceLock::new();
    *IS_HARMLESS.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        mask.is_some_and(|mask| mask & 0o755 == 0)
    })
}

/// Returns the times of a tree's files: of the last change always the same, of the last access whatever it is.
pub(super) fn timestamps() -> Timestamps {
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

/// Gives an entry of an open directory the times of a tree's files.
pub(super) fn set_time(folder: &Dir, name: &Path) -> io::Result<()> {
    Ok(utimensat(
        folder,
        name,
        &timestamps(),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
