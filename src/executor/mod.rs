//! Executors run jobs: a script in a hermetic sandbox over a builder image, with read-only input trees.
//!
//! Input: a [`Job`]. Output: the files that the script wrote to `/out`, the script's output streamed to a [`LogSink`],
//! and a [`Completion`]. An executor knows nothing about matrices, drivers or keys.
//!
//! The sandbox is the same for every executor. The image's file system is read-only; there is no network, no capability
//! and no way to gain privileges, and the script does not run as root. `/tmp` is an empty, writable tmpfs, and `/out`
//! is an empty, writable directory whose content is returned. Both are limited by [`Limits::output_bytes`] and
//! [`Limits::output_files`], and nothing else is writable. Each [`Mount`] is read-only at its target. The environment
//! holds only [`Job::environment`] plus `PATH`, `HOME=/tmp`, `LC_ALL=C` and `TZ=UTC`. The working directory is `/tmp`,
//! and `/bin/sh -e` runs the script. An image needs `/bin/sh` and `/usr/bin/env`.
//!
//! A job with [`Network::Host`] is the one exception, described there.
//!
//! Only regular files and directories of `/out` are returned; links, sockets and pipes are removed and never followed.
//! The file `/out/.resources` is not an output: its lines `cpu_seconds <decimal>` and `memory_peak_bytes <integer>`
//! report the resource usage of the script's processes.

mod docker;
mod fake;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod kvm;
mod local;
mod output;
mod owner;
mod plain;
mod sandbox;
mod scratch;
mod writes;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::digest::Sha256;

pub use docker::{DockerAddress, DockerExecutor, DockerPool, ParseDockerAddressError};
pub use fake::{Behaviour, FakeError, FakeExecutor, FakeScript, Rule};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{
    CacheVolume, ClientSettings, KubernetesError, KubernetesExecutor, KubernetesSettings,
    ServerTls, Toleration, is_cpu_quantity, is_name,
};
pub use kvm::{KVM_PROBE_TIME, Kvm, run_empty_machine};
pub use local::{HostToolchain, LocalExecutor, host_toolchain};
pub use plain::PlainExecutor;
pub use writes::is_disk_full;

/// Returns the digest that identifies a builder image: the digest of the diff ids of its layers (`sha256:<64 digits>`,
/// shown by `docker inspect` under `RootFS`), joined by newlines. An image imported from a tar archive has one layer,
/// whose diff id is the digest of the archive.
pub fn image_identity<Id: AsRef<str>>(diff_ids: &[Id]) -> Sha256 {
    let ids: Vec<&str> = diff_ids.iter().map(AsRef::as_ref).collect();
    Sha256::of(ids.join("\n"))
}

/// A directory of this machine that is mounted read-only in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory on this machine. Its content must not change during the lifetime of the executor: a daemon on
    /// another machine gets only one copy.
    pub source: PathBuf,
    /// The absolute path inside the sandbox.
    pub target: PathBuf,
}

/// The resource limits of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time.
    pub timeout: Duration,
    /// Memory in bytes, tmpfs included.
    pub memory_bytes: u64,
    /// The bytes that the job may write: half of them to `/tmp`, half to `/out`. There is no `/dev/shm`. A file counts
    /// by its disk usage or its length, whichever is greater.
    pub output_bytes: u64,
    /// The number of files and directories that the job may create: half of them in `/tmp`, half in `/out`.
    pub output_files: u32,
    /// The number of concurrent processes.
    pub processes: u32,
}

impl Limits {
    /// Returns the number of bytes that may be written to each of `/tmp` and `/out`.
    fn bytes_each(&self) -> u64 {
        (self.output_bytes / 2).max(1)
    }

    /// Returns the number of files that may be created in each of `/tmp` and `/out`.
    fn files_each(&self) -> u32 {
        (self.output_files / 2).max(1)
    }
}

/// The network access of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// No network: the sandbox is hermetic.
    #[default]
    None,
    /// All networks that this machine can reach, for a package manager that needs a subscription. A package manager
    /// runs as root and changes files of the image, so the script runs as root with the container's usual capabilities,
    /// in a copy of the image that is discarded afterwards. Only `docker` supports this; other executors reject such a
    /// job.
    Host,
}

/// The toolchain that a job runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// A builder image.
    Image {
        /// The image's name for the Docker daemon: `driverkit-matrix/builder:bookworm`.
        name: String,
        /// The digest of the image's file system layers (see [`crate::image`]). The executor rejects a different image
        /// of the same name.
        identity: Sha256,
        /// The uncompressed archive of the root file system, if it exists on this machine.
        archive: Option<PathBuf>,
    },
    /// The compilers of this machine; supported by `local` only.
    Host {
        /// The digest of all programs and libraries that affect a build.
        identity: Sha256,
    },
}

impl Toolchain {
    /// Returns the digest that identifies the toolchain in keys.
    pub fn identity(&self) -> Sha256 {
        match self {
            Self::Image { identity, .. } | Self::Host { identity } => *identity,
        }
    }
}

/// A script to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// A short name for labels and logs: `module 8.1.0+driver/x86_64/debian_...`.
    pub name: String,
    /// The run that the job belongs to; containers carry it as a label.
    pub run_id: String,
    /// The toolchain that the script runs with.
    pub toolchain: Toolchain,
    /// The text of the script.
    pub script: String,
    /// The input trees.
    pub mounts: Vec<Mount>,
    /// Additional environment variables.
    pub environment: Vec<(String, String)>,
    /// The network access of the job.
    pub network: Network,
    /// Whether an executor that may use `/dev/kvm` ([`Executor::allow_kvm`]) gives the job this device.
    pub kvm: bool,
    /// The resource limits.
    pub limits: Limits,
    /// An existing, empty directory on this machine that receives the content of `/out`.
    pub output: PathBuf,
}

impl Job {
    /// Returns the host name inside the sandbox: the last valid `HOSTNAME` of the environment, or the default one.
    fn host_name(&self) -> &str {
        let is_host = |host: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(is_allowed)
        };
        let named = self.environment.iter().rev();
        let mut hosts = named.filter(|(name, host)| name == "HOSTNAME" && is_host(host));
        hosts.next().map_or(sandbox::HOSTNAME, |(_, host)| host)
    }

    /// Rejects a job that needs the network, for an executor without network access.
    fn without_network(&self, executor: &str) -> Result<(), ExecutorError> {
        match (self.network, &self.toolchain) {
            (Network::None, _) => Ok(()),
            (Network::Host, toolchain) => Err(ExecutorError::Image {
                image: match toolchain {
                    Toolchain::Image { name, .. } => name.clone(),
                    Toolchain::Host { .. } => "of this machine".to_owned(),
                },
                message: format!(
                    "executor `{executor}` cannot give a job network access, which {} needs: use `--executor docker`",
                    self.name
                ),
            }),
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The script ended with this exit code.
    Code(i32),
    /// The job exceeded the wall time limit.
    TimedOut,
    /// The job exceeded the memory limit.
    OutOfMemory,
    /// The job exceeded a limit on its output.
    TooMuchOutput,
    /// The job was cancelled.
    Cancelled,
}

/// The resource usage of a finished job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Wall time from the start of the sandbox to its end.
    pub wall: Duration,
    /// CPU time of all processes, if known.
    pub cpu: Option<Duration>,
    /// Peak memory usage in bytes, if known.
    pub peak_memory_bytes: Option<u64>,
}

/// The result of a job that ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    /// How the job ended.
    pub exit: Exit,
    /// The resource usage of the job.
    pub resources: Resources,
}

/// The reason a job could not run at all; never the script's fault.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The image does not exist, cannot be imported, or has a different identity than expected.
    #[error("builder image {image}: {message}")]
    Image {
        /// The image's name.
        image: String,
        /// What is wrong and what to do about it.
        message: String,
    },
    /// The cluster ended the job for a reason of its own (a lost node, an eviction). Nothing is broken, and a retry may
    /// succeed.
    #[error("{message}")]
    Lost {
        /// What happened.
        message: String,
    },
    /// The daemon, the sandbox program or the disk failed; a retry may succeed.
    #[error("{message}")]
    Infrastructure {
        /// What is wrong.
        message: String,
        /// What the user can do about it.
        help: Option<Cow<'static, str>>,
        /// The cause; the message does not repeat it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl ExecutorError {
    pub(crate) fn infrastructure(message: impl Into<String>) -> Self {
        Self::Infrastructure {
            message: message.into(),
            help: None,
            source: None,
        }
    }

    pub(crate) fn caused_by(
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Infrastructure {
            message: message.into(),
            help: None,
            source: Some(Box::new(source)),
        }
    }

    /// Adds what the user can do about it.
    pub(crate) fn with_help(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        if let Self::Infrastructure { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Infrastructure { help, .. } => help.as_deref(),
            Self::Image { .. } | Self::Lost { .. } => None,
        }
    }
}

impl From<crate::fs::FileError> for ExecutorError {
    fn from(error: crate::fs::FileError) -> Self {
        Self::infrastructure(error.to_string())
    }
}

/// Receives a job's output as it arrives, with standard output and standard error in one stream.
pub trait LogSink: Send {
    /// Receives the next bytes, which may end in the middle of a line.
    fn write(&mut self, bytes: &[u8]);

    /// Called, by some executors, when the script has succeeded and only cleanup remains, so that the next job may
    /// start. More output may follow.
    fn script_succeeded(&mut self) {}
}

impl LogSink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Runs jobs.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Returns the executor's name on the command line and in the manifest: `docker`.
    fn name(&self) -> &'static str;

    /// Returns the version of the daemon or sandbox program, for the manifest.
    async fn version(&self) -> Result<String, ExecutorError>;

    /// Runs one job to its end. The executor has removed everything that it created (containers, temporary files) when
    /// this returns, even after a cancellation. A cancelled token ends the job at once with [`Exit::Cancelled`].
    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError>;

    /// Returns the identity of an image that was not built here. Pulls the image if it is missing, or in any case with
    /// `anew`.
    async fn pull(&self, image: &str, _anew: bool) -> Result<Sha256, ExecutorError> {
        Err(ExecutorError::Image {
            image: image.to_owned(),
            message: format!(
                "executor `{}` supports only images that were built here; use `--executor docker`, whose daemon can pull it",
                self.name()
            ),
        })
    }

    /// Removes what dead runs left behind and returns the number of removed objects. Objects of a run that is alive, or
    /// may be alive on another machine, stay.
    async fn sweep(&self) -> Result<usize, ExecutorError> {
        Ok(0)
    }

    /// Returns how many jobs can run at once, if this does not depend on the processors of this machine.
    fn slots(&self) -> Option<usize> {
        None
    }

    /// Gives the KVM device to the jobs that request it, from now on; returns the reason if this is not possible.
    fn allow_kvm(&self, _kvm: Kvm) -> Result<(), String> {
        Err(format!(
            "executor `{}` does not give devices to jobs",
            self.name()
        ))
    }

    /// Returns notes about the run for its final report to the user.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the run: removes what was cached between jobs (copies of trees on another machine). If the process dies
    /// before this, a later [`Self::sweep`] removes it.
    async fn finish(&self) -> Result<(), ExecutorError> {
        Ok(())
    }
}
