//! Watches how many files a job makes in its `/tmp`, where the sandbox can give that tmpfs a size and no more.
//!
//! In: a process that is outside of the sandbox or in it. Out: the end of the wait, once there are more files than the
//! job may make. Nothing is read of the files themselves: a tmpfs knows how many it has.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FsWord, statfs};

use super::Limits;
use super::sandbox::TMP;

const INTERVAL: Duration = Duration::from_millis(100);

/// What `statfs` calls a tmpfs.
const TMPFS: FsWord = 0x0102_1994;

/// So many processes may start one another before the script's.
const DEEPEST: usize = 64;

/// Returns once the `/tmp` of the sandbox that `process` started, or is in, holds more files than it may; never while
/// it does not, nor where this process may not look.
pub(super) async fn exceed(process: u32, limits: Limits) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if files(innermost(process), limits)
            .is_some_and(|files| files > u64::from(limits.files_each()))
        {
            return;
        }
    }
}

/// How many files the tmpfs holds that a process sees at `/tmp`, if that is the job's: its size tells.
fn files(process: u32, limits: Limits) -> Option<u64> {
    let path = PathBuf::from(format!("/proc/{process}/root{TMP}"));
    let found = statfs(&path).ok()?;
    let block_bytes = u64::try_from(found.f_bsize)
        .ok()
        .filter(|&bytes| bytes > 0)?;
    let is_job =
        found.f_type == TMPFS && found.f_blocks == limits.bytes_each().div_ceil(block_bytes);
    // The directory itself is one.
    is_job.then(|| {
        found
            .f_files
            .saturating_sub(found.f_ffree)
            .saturating_sub(1)
    })
}

/// The first child of the first child, and so on: a sandbox is made by processes that start one another, the last of
/// them in it.
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
