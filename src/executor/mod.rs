//! Executors run jobs: a script in a hermetic sandbox over a builder image, with read-only input trees.
//!
//! In: a [`Job`]. Out: the files that the script left in `/out`, its output streamed to a [`LogSink`], and a
//! [`Completion`]. An executor knows nothing of matrices, drivers or keys.
//!
//! Inside the sandbox, the same for every executor: the image's file system read-only, no network, no capabilities,
//! no new privileges, not root; `/tmp` an empty, writable tmpfs and `/out` an empty, writable directory whose content
//! is given back, both bounded by [`Limits::output_bytes`] and [`Limits::output_files`], and nothing else writable;
//! each [`Mount`] read-only at its place; environment only what [`Job::environment`] holds plus `PATH`, `HOME=/tmp`,
//! `LC_ALL=C`, `TZ=UTC`; working directory `/tmp`; the script run by `/bin/sh -e`. An image needs `/bin/sh` and
//! `/usr/bin/env`.
//!
//! The one exception is a job with [`Network::Host`], see there.
//!
//! Of what a script leaves in `/out`, regular files and directories are given back; links, sockets and pipes are
//! removed, never followed. A file `/out/.resources` is not an output: its lines `cpu_seconds <decimal>` and
//! `memory_peak_bytes <integer>` tell what the script's processes used.

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

use futures_util::future::BoxFuture;
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

/// The digest that stands for a builder image: over its layers' diff ids (`sha256:<64 digits>`, as `docker inspect`
/// shows them under `RootFS`), joined by newlines. An image imported from a tar has one layer, whose diff id is the
/// digest of the tar.
pub fn image_identity<Id: AsRef<str>>(diff_ids: &[Id]) -> Sha256 {
    let ids: Vec<&str> = diff_ids.iter().map(AsRef::as_ref).collect();
    Sha256::of(ids.join("\n"))
}

/// A directory of this machine shown inside the sandbox, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory on this machine. It does not change while the executor lives: a daemon on another machine gets
    /// one copy of it.
    pub source: PathBuf,
    /// The absolute path inside.
    pub target: PathBuf,
}

/// What a job may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall time.
    pub timeout: Duration,
    /// Memory in bytes, tmpfs included.
    pub memory_bytes: u64,
    /// Bytes that it may write: half of them to `/tmp`, half to `/out`. There is no `/dev/shm`. Files count by what
    /// they take on the disk or by their length, whichever is more.
    pub output_bytes: u64,
    /// Files and directories that it may make, in `/tmp` and `/out` alike.
    pub output_files: u32,
    /// Processes at once.
    pub processes: u32,
}

impl Limits {
    /// How many bytes may be written to each of `/tmp` and `/out`.
    fn bytes_each(&self) -> u64 {
        (self.output_bytes / 2).max(1)
    }

    /// How many files may be made in each of `/tmp` and `/out`.
    fn files_each(&self) -> u32 {
        (self.output_files / 2).max(1)
    }
}

/// Whether a job may reach others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Nothing: the sandbox is hermetic.
    #[default]
    None,
    /// Everything that this machine can reach: for a package manager that reaches a subscription. Such a manager is
    /// root and changes its own files; so the script is root, with the container's usual capabilities, in a copy of the
    /// image that is thrown away. `docker` only; other executors refuse such a job.
    Host,
}

/// What a job runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// A builder image.
    Image {
        /// Its name for the Docker daemon: `driverkit-matrix/builder:bookworm`.
        name: String,
        /// The digest over its file system layers (see [`crate::image`]); the executor refuses another image
        /// under the same name.
        identity: Sha256,
        /// The uncompressed root file system archive, where there is one on this machine.
        archive: Option<PathBuf>,
    },
    /// The compilers of this machine: `local` only.
    Host {
        /// The digest over the versions of everything that matters.
        identity: Sha256,
    },
}

impl Toolchain {
    /// What stands for the toolchain in keys.
    pub fn identity(&self) -> Sha256 {
        match self {
            Self::Image { identity, .. } | Self::Host { identity } => *identity,
        }
    }
}

/// One script to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// A short name for labels and logs: `module 8.1.0+driver/x86_64/debian_...`.
    pub name: String,
    /// The run that it belongs to; containers carry it as a label.
    pub run_id: String,
    /// What it runs over.
    pub toolchain: Toolchain,
    /// The text of the script.
    pub script: String,
    /// Input trees.
    pub mounts: Vec<Mount>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// Whether it may reach others.
    pub network: Network,
    /// Whether it gets `/dev/kvm` from an executor that may use it ([`Executor::allow_kvm`]).
    pub kvm: bool,
    /// Limits.
    pub limits: Limits,
    /// An existing, empty directory on this machine that receives the content of `/out`.
    pub output: PathBuf,
}

impl Job {
    /// The host name inside: the last `HOSTNAME` of the environment that is a host name, or the usual one.
    fn host_name(&self) -> &str {
        let is_host = |host: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(is_allowed)
        };
        let named = self.environment.iter().rev();
        let mut hosts = named.filter(|(name, host)| name == "HOSTNAME" && is_host(host));
        hosts.next().map_or(sandbox::HOSTNAME, |(_, host)| host)
    }

    /// Refuses a job that needs the network, for an executor without network access.
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
    /// The script ended with this code.
    Code(i32),
    /// The wall time limit ended it.
    TimedOut,
    /// The memory limit ended it.
    OutOfMemory,
    /// It wrote more than it may.
    TooMuchOutput,
    /// The cancellation token ended it.
    Cancelled,
}

/// What a finished job used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Wall time from the start of the sandbox to its end.
    pub wall: Duration,
    /// Processor time of all its processes, where it is known.
    pub cpu: Option<Duration>,
    /// The highest memory use in bytes, where it is known.
    pub peak_memory_bytes: Option<u64>,
}

/// The result of a job that could be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    /// How it ended.
    pub exit: Exit,
    /// What it used.
    pub resources: Resources,
}

/// Why a job could not be run at all; never the script's fault.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The image is not there, cannot be imported, or is another one than wanted.
    #[error("builder image {image}: {message}")]
    Image {
        /// The image's name.
        image: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The cluster ended the job for its own sake (a node went away, an eviction); nothing is broken, and it may
    /// succeed when tried again.
    #[error("{message}")]
    Lost {
        /// What happened.
        message: String,
    },
    /// The daemon, the sandbox program or the disk failed; may succeed when tried again.
    #[error("{message}")]
    Infrastructure {
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<Cow<'static, str>>,
        /// The cause, which the message does not repeat.
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

/// Receives a job's output as it comes, standard output and error in one stream.
pub trait LogSink: Send {
    /// Takes the next bytes; they may end anywhere in a line.
    fn write(&mut self, bytes: &[u8]);

    /// Hears, perhaps, that the script has ended well and only cleaning up is left: the next one may begin. More output
    /// may come.
    fn script_succeeded(&mut self) {}
}

impl LogSink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Runs jobs.
pub trait Executor: Send + Sync {
    /// Its word on the command line and in the manifest: `docker`.
    fn name(&self) -> &'static str;

    /// The version of the daemon or sandbox program, for the manifest.
    fn version(&self) -> BoxFuture<'_, Result<String, ExecutorError>>;

    /// Runs one job to its end. Whatever it made (containers, temporary files) is gone when this returns, also
    /// when the token is cancelled; a cancelled token ends the job at once with [`Exit::Cancelled`].
    fn run<'a>(
        &'a self,
        job: &'a Job,
        log: &'a mut dyn LogSink,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Completion, ExecutorError>>;

    /// The identity of an image that was not made here, which is pulled when it is missing, or `anew` in any case.
    fn pull<'a>(
        &'a self,
        image: &'a str,
        _anew: bool,
    ) -> BoxFuture<'a, Result<Sha256, ExecutorError>> {
        Box::pin(async move {
            Err(ExecutorError::Image {
                image: image.to_owned(),
                message: format!(
                    "executor `{}` takes only images that were made here; take `--executor docker`, whose daemon can pull it",
                    self.name()
                ),
            })
        })
    }

    /// Removes what dead runs left behind; returns how many things it removed. What belongs to a run that lives, or
    /// may live on another machine, stays.
    fn sweep(&self) -> BoxFuture<'_, Result<usize, ExecutorError>> {
        Box::pin(async { Ok(0) })
    }

    /// How many jobs it can run at once, where that is not for this machine's processors to say.
    fn slots(&self) -> Option<usize> {
        None
    }

    /// Gives the device of KVM to the jobs that ask for it, from now on; otherwise why it cannot.
    fn allow_kvm(&self, _kvm: Kvm) -> Result<(), String> {
        Err(format!("executor `{}` gives jobs no devices", self.name()))
    }

    /// What a person should know at the end of a run of what happened to it meanwhile.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends the run: removes what was kept from one job to the next (copies of trees on another machine). What is
    /// not removed here, because the process died, is removed by a later [`Self::sweep`].
    fn finish(&self) -> BoxFuture<'_, Result<(), ExecutorError>> {
        Box::pin(async { Ok(()) })
    }
}
