//! Runs jobs as containers of a Docker daemon, through its API.
//!
//! In: a [`Job`] with a builder image. Out: see [`Executor`]. The daemon may be on another machine. The first job
//! finds out whether the daemon sees the directories of this machine. If it does not, each tree is copied once into a
//! volume, and outputs are read back from a volume. Containers and volumes carry labels with their owner. The process
//! that created them removes them; if that process died, the next sweep does. Images that were not built here are
//! pulled if the daemon does not have them.

mod address;
mod connection;
mod container;
mod creation;
mod host;
mod image;
mod leftovers;
mod pool;
mod ssh;
mod sweep;
mod volume;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use super::{Completion, Executor, ExecutorError, Job, Kvm, LogSink};
use crate::digest::Sha256;

pub use address::{DockerAddress, ParseDockerAddressError};
use connection::Connection;
use leftovers::{Created, Leftovers, OutputVolume};
pub use pool::DockerPool;
use ssh::Bridge;
use sweep::OWNER_LABEL;

/// The label with the run's name.
const RUN_LABEL: &str = "org.driverkit-matrix.run";
/// The label with the job's name.
const JOB_LABEL: &str = "org.driverkit-matrix.job";

/// Values that are computed once for each key, also if several jobs need one at the same time.
type OnceEach<Key, Value> = Mutex<HashMap<Key, Arc<OnceCell<Value>>>>;

/// A Docker daemon.
pub struct DockerExecutor {
    docker: Docker,
    /// Whether the daemon is Podman, which has the same API and differs in some of its behaviour.
    is_podman: bool,
    /// Carries the connections if the daemon is behind ssh.
    _bridge: Option<Bridge>,
    owner: Owner,
    /// The credentials for registries, by host.
    logins: HashMap<String, DockerCredentials>,
    /// Whether the daemon sees the directories of this machine; set once it is known.
    sees_our_folders: OnceCell<bool>,
    /// Whether the daemon is reached through a Unix socket on this machine.
    is_here: bool,
    /// Set once jobs may use KVM.
    kvm: OnceLock<Kvm>,
    /// The daemon's ids of images whose identity was checked, by name and identity.
    images: OnceEach<(String, Sha256), String>,
    /// Volumes with copies of trees, by the tree's directory.
    trees: OnceEach<PathBuf, String>,
    leftovers: Leftovers,
}

impl DockerExecutor {
    /// Connects to the daemon of `DOCKER_HOST`, or to the one at the default socket. Fails if the daemon does not
    /// answer, denies access, or is too old.
    pub async fn connect() -> Result<Self, ExecutorError> {
        Self::connect_to(&Self::usual_address()?).await
    }

    /// Returns the address in `DOCKER_HOST`, or the default socket.
    fn usual_address() -> Result<DockerAddress, ExecutorError> {
        match std::env::var("DOCKER_HOST") {
            Ok(text) if !text.is_empty() => text
                .parse()
                .map_err(|error| ExecutorError::caused_by("invalid DOCKER_HOST", error)),
            _ => Ok(DockerAddress::usual()),
        }
    }

    /// Connects to the daemon at `address`. Fails like [`Self::connect`].
    pub async fn connect_to(address: &DockerAddress) -> Result<Self, ExecutorError> {
        let Connection {
            docker,
            is_podman,
            bridge,
        } = connection::connect(address).await?;
        Ok(Self {
            docker,
            is_podman,
            _bridge: bridge,
            owner: Owner::this_process()?,
            logins: HashMap::new(),
            // Podman does not report whether it is rootless, and under a rootless one the script's user does not
            // exist on this machine.
            sees_our_folders: OnceCell::new_with(is_podman.then_some(false)),
            is_here: address.kind == address::Kind::Unix,
            kvm: OnceLock::new(),
            images: Mutex::default(),
            trees: Mutex::default(),
            leftovers: Leftovers::default(),
        })
    }

    /// Treats the daemon as one that does not see the directories of this machine.
    #[must_use]
    pub fn copying_trees(mut self) -> Self {
        self.sees_our_folders = OnceCell::new_with(Some(false));
        self
    }

    /// Sets the credentials for pulling images from the registry `host`.
    #[must_use]
    pub fn with_login(mut self, host: &str, user: &str, password: &str) -> Self {
        let credentials = DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.to_owned()),
            serveraddress: Some(host.to_owned()),
            ..DockerCredentials::default()
        };
        self.logins.insert(host.to_owned(), credentials);
        self
    }

    fn created(&self, id: String, output_volume: Option<OutputVolume>) -> Created {
        Created::new(
            self.docker.clone(),
            self.leftovers.clone(),
            id,
            output_volume,
        )
    }

    fn labels(&self, run: &str, job: &str) -> HashMap<String, String> {
        HashMap::from([
            (OWNER_LABEL.to_owned(), self.owner.to_string()),
            (RUN_LABEL.to_owned(), run.to_owned()),
            (JOB_LABEL.to_owned(), job.to_owned()),
        ])
    }
}

#[async_trait]
impl Executor for DockerExecutor {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        let version = self.docker.version().await;
        let version = version.map_err(|error| connection::failure("report its version", error))?;
        Ok(version.version.unwrap_or_default())
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.run_container(job, log, cancel).await
    }

    async fn pull(&self, image: &str, anew: bool) -> Result<Sha256, ExecutorError> {
        image::pull(&self.docker, image, &self.logins, anew).await
    }

    fn allow_kvm(&self, kvm: Kvm) -> Result<(), String> {
        if !self.is_here {
            return Err("the Docker daemon is on another machine".to_owned());
        }
        if self.is_podman {
            return Err("Podman's containers cannot open it".to_owned());
        }
        // The first call counts.
        drop(self.kvm.set(kvm));
        Ok(())
    }

    async fn sweep(&self) -> Result<usize, ExecutorError> {
        sweep::sweep(&self.docker).await
    }

    async fn finish(&self) -> Result<(), ExecutorError> {
        // Containers first, since volumes are in use until their containers are gone. Volumes are removed even if
        // the first step fails.
        let removed = self.leftovers.finish(&self.docker).await;
        self.remove_tree_volumes().await.and(removed)
    }
}
