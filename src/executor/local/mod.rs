//! Runs jobs on this machine in a sandbox made by bubblewrap, without a daemon.
//!
//! Input: a [`Job`] with a builder image's archive, or with this machine's own compilers. Output: see [`Executor`]. The
//! archive is unpacked once into a directory shared by all runs. If this process may create control groups (usually as
//! root), they limit the memory and the processes of a job as a whole; otherwise `prlimit` limits each process
//! separately.
//!
//! The sandbox's processes run as `nobody` if this process is root, as in a container, and otherwise as the same user.
//! They have no capabilities, cannot create namespaces, and are restricted to the system calls of [`seccomp`].

mod group;
mod host;
mod outer;
mod process;
mod rootfs;
mod seccomp;
mod view;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use super::{
    Completion, Executor, ExecutorError, Exit, Job, Kvm, LogSink, Resources, Toolchain, output,
    sandbox, scratch, writes,
};
use crate::digest::Sha256;

use crate::fs::blocking;
use group::Group;
use outer::Outer;
use process::{Ended, Process};
use view::Root;

pub use host::{HostToolchain, host_toolchain};

/// Runs jobs in sandboxes on this machine.
pub struct LocalExecutor {
    rootfs_folder: PathBuf,
    /// Whether bubblewrap can prevent sandboxes from creating namespaces.
    forbids_namespaces: bool,
    owner: Owner,
    /// Set once jobs may use KVM.
    kvm: OnceLock<Kvm>,
    /// The unpacked root file systems.
    roots: Mutex<HashMap<Sha256, Arc<OnceCell<PathBuf>>>>,
}

impl LocalExecutor {
    /// Creates an executor that unpacks root file systems into `rootfs_folder`; fails if sandboxes are not possible
    /// here.
    pub async fn new(rootfs_folder: &Path) -> Result<Self, ExecutorError> {
        Ok(Self {
            forbids_namespaces: process::check_sandbox().await?,
            rootfs_folder: rootfs_folder.to_owned(),
            owner: Owner::this_process()?,
            kvm: OnceLock::new(),
            roots: Mutex::default(),
        })
    }

    async fn ready_root(&self, toolchain: &Toolchain) -> Result<Root, ExecutorError> {
        let Toolchain::Image {
            name,
            identity,
            archive,
        } = toolchain
        else {
            return Ok(Root::Host);
        };
        let cell = Arc::clone(self.roots.lock().await.entry(*identity).or_default());
        let path = cell
            .get_or_try_init(|| async {
                let folder = self.rootfs_folder.clone();
                let (name, identity, archive) = (name.clone(), *identity, archive.clone());
                let unpack = move || rootfs::ensure(&folder, &name, identity, archive.as_deref());
                blocking(unpack).await
            })
            .await?;
        Ok(Root::Image(path.clone()))
    }

    async fn run_sandbox(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        job.without_network("local")?;
        let ready = cancel.run_until_cancelled(self.ready_root(&job.toolchain));
        let Some(root) = ready.await else {
            return Ok(Completion {
                exit: Exit::Cancelled,
                resources: Resources::default(),
            });
        };
        sandbox::open_to_user(&job.output)?;
        let kvm = self.kvm.get().filter(|_| job.kvm);
        let mut outer = Outer::new(kvm.and_then(|kvm| kvm.group));
        let mut arguments = view::arguments(&root?, job, &mut outer, kvm)?;
        if self.forbids_namespaces {
            arguments.insert(0, process::FORBID_NAMESPACES.into());
        }
        let group = Group::create(&self.owner, job.limits);
        let start = Instant::now();
        let mut process = Process::start(&outer, arguments, group, job.limits)?;
        let deadline = start + job.limits.timeout;
        let id = process.id();
        let too_much = async {
            tokio::select! {
                () = writes::exceed(&job.output, job.limits) => {}
                // Bubblewrap limits only the size of a tmpfs.
                () = scratch::exceed(id, job.limits) => {}
            }
        };
        let (ended, usage) = process.follow(log, cancel, deadline, too_much).await?;
        let resources = Resources {
            wall: start.elapsed(),
            cpu: usage.cpu,
            peak_memory_bytes: usage.peak_memory_bytes,
        };
        let is_out_of_memory = usage.was_out_of_memory == Some(true);
        let exit = match ended {
            Ended::Cancelled => Exit::Cancelled,
            Ended::TimedOut => Exit::TimedOut,
            Ended::TooMuchOutput => Exit::TooMuchOutput,
            Ended::Code(0) => Exit::Code(0),
            Ended::Code(_) | Ended::NoSandbox(_) if is_out_of_memory => Exit::OutOfMemory,
            Ended::Code(code) => Exit::Code(code),
            Ended::NoSandbox(message) => {
                return Err(ExecutorError::infrastructure(format!(
                    "bubblewrap failed to create the sandbox of {}: {message}",
                    job.name
                )));
            }
        };
        Ok(output::take_over(job, Completion { exit, resources })?)
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        process::version().await
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.run_sandbox(job, log, cancel).await
    }

    fn allow_kvm(&self, kvm: Kvm) -> Result<(), String> {
        // An earlier permission stays in force.
        drop(self.kvm.set(kvm));
        Ok(())
    }

    /// Sandboxes die with their run; only control groups of dead runs remain.
    async fn sweep(&self) -> Result<usize, ExecutorError> {
        Ok(blocking(group::sweep).await)
    }
}
