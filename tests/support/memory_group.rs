//! Limits the memory of a program under test, with its children and page cache: a leak ends in a kill.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const MOUNT: &str = "/sys/fs/cgroup";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A control group with a memory limit; not available if this machine does not allow groups.
pub struct MemoryGroup {
    folder: Option<PathBuf>,
    mebibytes: u64,
}

impl MemoryGroup {
    pub fn new(mebibytes: u64) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("driverkit-matrix-test-{}-{number}", std::process::id());
        let folder = parents()
            .into_iter()
            .find_map(|parent| make(&parent.join(&name), mebibytes << 20).ok());
        Self { folder, mebibytes }
    }

    /// Returns the shell commands that enter the group. The data segment has the same limit, which also works without a
    /// group.
    pub fn entrance(&self) -> String {
        let data = format!("ulimit -d {}", self.mebibytes << 10);
        match &self.folder {
            Some(folder) => format!("echo $$ >{}/cgroup.procs && {data}", folder.display()),
            None => data,
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Processes leave a group shortly after they were waited for.
        for _ in 0..50 {
            let gone = |folder: &PathBuf| std::fs::remove_dir(folder).is_ok();
            if self.folder.as_ref().is_none_or(gone) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Returns the possible parents of a memory group, best first: this process's own group, or the root.
fn parents() -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let is_version_2 = Path::new(MOUNT).join("cgroup.controllers").exists();
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = if is_version_2 {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|one| one == "memory")
        };
        is_it.then_some(path.trim_start_matches('/'))
    });
    let top = if is_version_2 {
        PathBuf::from(MOUNT)
    } else {
        Path::new(MOUNT).join("memory")
    };
    let own = path.map(|path| top.join(path));
    own.into_iter().chain([top]).collect()
}

fn make(folder: &Path, bytes: u64) -> io::Result<PathBuf> {
    std::fs::create_dir(folder)?;
    let is_limited = ["memory.limit_in_bytes", "memory.max"]
        .iter()
        .any(|file| put(&folder.join(file), bytes).is_ok());
    if is_limited {
        Ok(folder.to_owned())
    } else {
        std::fs::remove_dir(folder)?;
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn put(file: &Path, number: u64) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).open(file)?;
    file.write_all(number.to_string().as_bytes())
}
