//! Modes, times and names of a tree's files.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, utimensat};

use crate::store::tree_times;

/// Converts bytes of an archive to a path.
pub(super) fn name_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Returns the permissions of a file.
pub(super) fn mode(is_executable: bool) -> Mode {
    Mode::from_raw_mode(if is_executable { 0o755 } else { 0o644 })
}

/// Returns true if this process's umask removes no bits from the modes of files, so that they need not be set again.
pub(super) fn umask_is_harmless() -> bool {
    static IS_HARMLESS: OnceLock<bool> = OnceLock::new();
    *IS_HARMLESS.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        mask.is_some_and(|mask| mask & 0o755 == 0)
    })
}

/// Sets the times of a tree's files on an entry of an open directory.
pub(super) fn set_time(folder: &Dir, name: &Path) -> io::Result<()> {
    Ok(utimensat(
        folder,
        name,
        &tree_times(),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
