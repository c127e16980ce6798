//! Watches how much a job writes to a directory of this machine that has no size limit of its own.
//!
//! Input: the directory and the job's limits. Output: the wait ends once the job has exceeded them. A tmpfs with a size
//! limit would be better, but its content is lost with the sandbox before this program could move it.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Limits;
use crate::fs::blocking;

/// How often the directory is scanned; a scan takes at most one part in `SHARE_OF_TIME` of the time.
const INTERVAL: Duration = Duration::from_millis(100);
const SHARE_OF_TIME: u32 = 20;

/// A disk with less free space than this counts as full.
const LEAST_FREE_BYTES: u64 = 16 << 20;
const LEAST_FREE_FILES: u64 = 64;

const DISK_BLOCK_BYTES: u64 = 512;

/// Returns once the directory exceeds the limits of one of the job's directories; never returns while it does not.
pub(super) async fn exceed(folder: &Path, limits: Limits) {
    let mut interval = INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        let path = folder.to_owned();
        let start = Instant::now();
        if blocking(move || is_over(&path, limits)).await {
            return;
        }
        interval = INTERVAL.max(start.elapsed() * SHARE_OF_TIME);
    }
}

/// Whether the directory exceeds the limits of one of the job's directories. Links are not followed; files that vanish
/// during the scan do not count.
pub(super) fn is_over(folder: &Path, limits: Limits) -> bool {
    let mut bytes_left = limits.bytes_each();
    let mut files_left = limits.files_each();
    let mut folders = VecDeque::from([PathBuf::from(folder)]);
    while let Some(folder) = folders.pop_front() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let taken_bytes = metadata.blocks().saturating_mul(DISK_BLOCK_BYTES);
            let size_bytes = if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            let (Some(bytes), Some(files)) = (
                bytes_left.checked_sub(taken_bytes.max(size_bytes)),
                files_left.checked_sub(1),
            ) else {
                return true;
            };
            (bytes_left, files_left) = (bytes, files);
            if metadata.is_dir() {
                folders.push_back(entry.path());
            }
        }
    }
    false
}

/// Whether the file system of a directory is full. If it is, a job that ran out of disk space has not reached its own
/// limit.
pub fn is_disk_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_FREE_BYTES
            // Some file systems do not count files.
            || (disk.f_files > 0 && disk.f_favail < LEAST_FREE_FILES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(output_bytes: u64, output_files: u32) -> Limits {
        Limits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1 << 30,
            output_bytes,
            output_files,
            processes: 1,
        }
    }

    #[test]
    fn files_count_by_length_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let is_over = |bytes, files| is_over(folder.path(), limits(bytes, files));
        assert!(!is_over(2 << 20, 10));
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let path = folder.path().join("a/sparse");
        crate::fs::write(&path, "").unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(is_over((2 << 30) - 2, 10));
        assert!(!is_over((2 << 30) + (1 << 20), 10));
        assert!(!is_over(4 << 30, 4));
        assert!(is_over(4 << 30, 3));
        // The target of a link is not the job's.
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        assert!(!is_over(4 << 30, 10));
    }

    #[test]
    fn disk_of_this_test_is_not_full() {
        assert!(!is_disk_full(&std::env::temp_dir()));
        assert!(!is_disk_full(Path::new("/nonexistent")));
    }
}
