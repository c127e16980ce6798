//! Control groups: limits for all processes of a job together, and their resource usage.
//!
//! Supports version 1 (one hierarchy per controller) and version 2 (a single hierarchy). If this process may not create
//! groups, [`super::process`] sets limits for single processes instead.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::Limits;
use super::super::owner::{Liveness, Owner};
use super::outer::Outer;

const MOUNT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "driverkit-matrix-";

/// The number of bubblewrap's own processes: the outer one, which waits. Root's outer sandbox has more.
const OWN_PROCESSES: u32 = 1;

/// The number of groups that all executors of this process have created, for unique names.
static CREATED: AtomicU64 = AtomicU64::new(0);

/// How often to retry removing a group whose last processes are dying.
const REMOVE_INTERVAL: Duration = Duration::from_millis(1);
const REMOVE_ATTEMPTS: u32 = 5000;

/// The resource usage of a job, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Option<Duration>,
    /// Includes the page cache, which is reclaimed before any process is killed.
    pub(super) peak_memory_bytes: Option<u64>,
    /// Whether a process was killed because of the memory limit.
    pub(super) was_out_of_memory: Option<bool>,
}

/// The control group of a job; its directories are removed on drop.
pub(super) struct Group {
    memory: PathBuf,
    processes: PathBuf,
    processor: Option<PathBuf>,
    is_version_2: bool,
}

impl Group {
    /// Creates a group with limits, if this is possible here.
    pub(super) fn create(owner: &Owner, limits: Limits) -> Option<Self> {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{owner}.{number}");
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            return parents_2(&own)
                .into_iter()
                .find_map(|parent| Self::create_2(&parent.join(&name), limits).ok());
        }
        let folder = |controller: &str| make(&parent_1(&own, controller)?.join(&name)).ok();
        let group = Self {
            memory: folder("memory")?,
            processes: folder("pids")?,
            processor: folder("cpuacct"),
            is_version_2: false,
        };
        group.limit_1(limits).ok()?;
        Some(group)
    }

    fn limit_1(&self, limits: Limits) -> io::Result<()> {
        let memory_bytes = limits.memory_bytes.to_string();
        put(&self.memory.join("memory.limit_in_bytes"), &memory_bytes)?;
        let with_swap = self.memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            put(&with_swap, &memory_bytes)?;
        }
        put(&self.processes.join("pids.max"), &process_limit(limits))
    }

    fn create_2(path: &Path, limits: Limits) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            put(&parent.join("cgroup.subtree_control"), "+memory +pids")?;
        }
        let path = make(path)?;
        let group = Self {
            memory: path.clone(),
            processes: path.clone(),
            processor: Some(path.clone()),
            is_version_2: true,
        };
        put(&path.join("memory.max"), &limits.memory_bytes.to_string())?;
        let swap = path.join("memory.swap.max");
        if swap.exists() {
            put(&swap, "0")?;
        }
        put(&path.join("pids.max"), &process_limit(limits))?;
        Ok(group)
    }

    fn folders(&self) -> Vec<&Path> {
        let mut folders = vec![self.memory.as_path(), &self.processes];
        folders.extend(self.processor.as_deref());
        folders.dedup();
        folders
    }

    /// Returns the files through which a process enters the group.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        let files = self.folders().into_iter();
        files.map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Whether a process was killed because of the memory limit.
    fn was_out_of_memory(&self) -> bool {
        let file = if self.is_version_2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        field(&self.memory.join(file), "oom_kill").is_some_and(|kills| kills > 0)
    }

    /// Returns the resource usage of the group's processes so far.
    pub(super) fn usage(&self) -> Usage {
        let processor = self.processor.as_deref();
        let (cpu, peak_memory_bytes) = if self.is_version_2 {
            let microseconds =
                processor.and_then(|path| field(&path.join("cpu.stat"), "usage_usec"));
            let peak = number(&self.memory.join("memory.peak"));
            (microseconds.map(Duration::from_micros), peak)
        } else {
            let nanoseconds = processor.and_then(|path| number(&path.join("cpuacct.usage")));
            let peak = number(&self.memory.join("memory.max_usage_in_bytes"));
            (nanoseconds.map(Duration::from_nanos), peak)
        };
        Usage {
            cpu,
            peak_memory_bytes,
            was_out_of_memory: Some(self.was_out_of_memory()),
        }
    }
}

impl Drop for Group {
    /// Waits for the last processes, which must have been killed, to end: a group with processes cannot be removed.
    fn drop(&mut self) {
        for folder in self.folders() {
            for _ in 0..REMOVE_ATTEMPTS {
                match std::fs::remove_dir(folder) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(REMOVE_INTERVAL);
                    }
                    // A group that cannot be removed stays until the sweep of a later run.
                    _ => break,
                }
            }
        }
    }
}

/// Removes the groups of dead runs and returns their number.
pub(super) fn sweep() -> usize {
    let Ok(own) = std::fs::read_to_string("/proc/self/cgroup") else {
        return 0;
    };
    let mut parents = if Path::new(MOUNT).join("cgroup.controllers").exists() {
        parents_2(&own)
    } else {
        let controllers = ["memory", "pids", "cpuacct"];
        controllers
            .iter()
            .filter_map(|controller| parent_1(&own, controller))
            .collect()
    };
    parents.dedup();
    let mut removed = 0;
    for parent in parents {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner: Option<Owner> = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.rsplit_once('.')?.0.parse().ok());
            if owner.is_some_and(|owner| owner.liveness() == Liveness::Dead)
                && std::fs::remove_dir(entry.path()).is_ok()
            {
                removed += 1;
            }
        }
    }
    removed
}

fn process_limit(limits: Limits) -> String {
    let own = OWN_PROCESSES + Outer::processes();
    limits.processes.saturating_add(own).to_string()
}

/// Returns our own group in the version 1 hierarchy of a controller, or the root if our group is not visible.
fn parent_1(own: &str, controller: &str) -> Option<PathBuf> {
    let mount = Path::new(MOUNT).join(controller);
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let is_it = controllers.split(',').any(|name| name == controller);
        is_it.then(|| fields.next()).flatten()
    })?;
    let ours = mount.join(path.trim_start_matches('/'));
    [ours, mount].into_iter().find(|path| path.is_dir())
}

/// Returns where a version 2 group may be created: in our own group, or at the root, since a group with processes
/// cannot have children with limits.
fn parents_2(own: &str) -> Vec<PathBuf> {
    let mount = PathBuf::from(MOUNT);
    let ours = own.lines().find_map(|line| line.strip_prefix("0::/"));
    ours.map(|path| mount.join(path))
        .into_iter()
        .chain([mount.clone()])
        .collect()
}

fn make(path: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir(path)?;
    Ok(path.to_owned())
}

/// Writes to a control file; the file must not be replaced by a new one.
fn put(path: &Path, value: &str) -> io::Result<()> {
    File::options()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the number that follows a name at the start of a line.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = lines.filter(|(found, _)| *found == name);
    values.next()?.1.trim().parse().ok()
}
