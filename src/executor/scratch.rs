//! Watches how many files a job creates in `/tmp`, for sandboxes that can limit only the size of that tmpfs.
//!
//! Input: a process outside of the sandbox or in it. Output: the wait ends once there are more files than the job may
//! create. The files themselves are not read: a tmpfs counts its files.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FsWord, statfs};

use super::Limits;
use super::sandbox::TMP;
use crate::fs::blocking;

const INTERVAL: Duration = Duration::from_millis(100);

/// The file system type of a tmpfs in the result of `statfs`.
const TMPFS: FsWord = 0x0102_1994;

/// The maximum depth of the chain of processes from the sandbox's creator to the script.
const DEEPEST: usize = 64;

/// Returns once the `/tmp` of the sandbox that `process` created, or runs in, holds more files than allowed. Never
/// returns while it does not, or if this process may not read it.
pub(super) async fn exceed(process: u32, limits: Limits) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let files = blocking(move || files(innermost(process), limits)).await;
        if files.is_some_and(|files| files > u64::from(limits.files_each())) {
            return;
        }
    }
}

/// Returns the number of files in the tmpfs that a process sees at `/tmp`, if its size shows that it is the job's.
fn files(process: u32, limits: Limits) -> Option<u64> {
    let path = PathBuf::from(format!("/proc/{process}/root{TMP}"));
    let found = statfs(&path).ok()?;
    let block_bytes = u64::try_from(found.f_bsize)
        .ok()
        .filter(|&bytes| bytes > 0)?;
    let is_job =
        found.f_type == TMPFS && found.f_blocks == limits.bytes_each().div_ceil(block_bytes);
    // The directory itself counts as one.
    is_job.then(|| {
        found
            .f_files
            .saturating_sub(found.f_ffree)
            .saturating_sub(1)
    })
}

/// Returns the last process of the chain of first children: each process that creates a sandbox starts the next one,
/// and the last one is inside.
fn innermost(mut process: u32) -> u32 {
    for _ in 0..DEEPEST {
        let path = format!("/proc/{process}/task/{process}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let first = children.split_whitespace().next();
        let Some(child) = first.and_then(|child| child.parse().ok()) else {
            break;
        };
        process = child;
    }
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn innermost_process_is_the_one_that_was_started_last() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'sleep 60; true'; true"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let name = |process: u32| std::fs::read_to_string(format!("/proc/{process}/comm"));
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while name(innermost(child.id())).unwrap_or_default() != "sleep\n" {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(10));
        }
        let sleeping = innermost(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = rustix::process::Pid::from_raw(sleeping.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    #[test]
    fn folder_that_is_not_the_jobs_is_not_counted() {
        let limits = Limits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1 << 30,
            // No tmpfs has this size.
            output_bytes: 12_347 << 12,
            output_files: 1,
            processes: 1,
        };
        assert_eq!(files(std::process::id(), limits), None);
    }
}
