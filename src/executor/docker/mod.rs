//! Runs jobs as containers of a Docker daemon, through its API.
//!
//! In: a [`Job`] over a builder image. Out: see [`Executor`]. The daemon may be on another machine: when it does not
//! see this machine's directories (which is found out once, by the first job), each tree is copied once into a volume,
//! and outputs are read back from one. Containers and volumes carry labels that say whose they are, and are removed
//! by the process that made them or, if that process died, by the next sweep. Images that were not made here are pulled
//! when the daemon does not have them.

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

use bollard::Docker;
use bollard::auth::DockerCredentials;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use super::{Completion, Executor, ExecutorError, Job, Kvm, LogSink};
use crate::digest::Sha256;

pub use address::{DockerAddress, ParseDockerAddressError};
use connection::Connection;
use leftovers::Leftovers;
pub use pool::DockerPool;
use ssh::Bridge;

/// The label that every container and volume carries: its owner, for sweeping.
const OWNER_LABEL: &str = "org.driverkit-matrix.owner";
/// The label with the run's name.
const RUN_LABEL: &str = "org.driverkit-matrix.run";
/// The label with the job's name.
const JOB_LABEL: &str = "org.driverkit-matrix.job";

/// Values that are made once for each key, also when several jobs want one at the same time.
type OnceEach<Key, Value> = Mutex<HashMap<Key, Arc<OnceCell<Value>>>>;

/// A Docker daemon.
pub struct DockerExecutor {
    docker: Docker,
    /// Whether it is Podman, which is asked in the same words and differs in some of its answers.
    is_podman: bool,
    /// Carries the connections, where the daemon is behind ssh.
    _bridge: Option<Bridge>,
    owner: Owner,
    /// The credentials for registries, by host.
    logins: HashMap<String, DockerCredentials>,
    /// Set once it is known whether the daemon sees this machine's directories.
    sees_our_folders: OnceCell<bool>,
    /// Whether it is reached through a socket of this machine.
    is_here: bool,
    /// Set once jobs may use it.
    kvm: OnceLock<Kvm>,
    /// The daemon's ids of images that were found to be what they should be.
    images: OnceEach<(String, Sha256), String>,
    /// Volumes with copies of trees, by the tree's directory.
    trees: OnceEach<PathBuf, String>,
    leftovers: Leftovers,
}

impl DockerExecutor {
    /// Connects to the daemon that `DOCKER_HOST` names, or the one at the usual socket; fails when it does not
    /// answer, refuses us, or is too old.
    pub async fn connect() -> Result<Self, ExecutorError> {
        Self::connect_to(&Self::usual_address()?).await
    }

    /// The address that `DOCKER_HOST` names, or the usual socket.
    fn usual_address() -> Result<DockerAddress, ExecutorError> {
        match std::env::var("DOCKER_HOST") {
            Ok(text) if !text.is_empty() => text
                .parse()
                .map_err(|error| ExecutorError::caused_by("invalid DOCKER_HOST", error)),
            _ => Ok(DockerAddress::usual()),
        }
    }

    /// The same for another address.
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
            // Podman does not say whether it is rootless, and then the script's user is none of this machine's.
            sees_our_folders: OnceCell::new_with(is_podman.then_some(false)),
            is_here: address.kind == address::Kind::Unix,
            kvm: OnceLock::new(),
            images: Mutex::default(),
            trees: Mutex::default(),
            leftovers: Leftovers::default(),
        })
    }

    /// Treats the daemon as one that does not see this machine's directories.
    #[must_use]
    pub fn copying_trees(mut self) -> Self {
        self.sees_our_folders = OnceCell::new_with(Some(false));
        self
    }

    /// Pulls images of the registry `host` as `user`.
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

    fn labels(&self, run: &str, job: &str) -> HashMap<String, String> {
        HashMap::from([
            (OWNER_LABEL.to_owned(), self.owner.to_string()),
            (RUN_LABEL.to_owned(), run.to_owned()),
            (JOB_LABEL.to_owned(), job.to_owned()),
        ])
    }
}

impl Executor for DockerExecutor {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn version(&self) -> BoxFuture<'_, Result<String, ExecutorError>> {
        Box::pin(async {
            let version = self.docker.version().await;
            let version =
                version.map_err(|error| connection::failure("ask for its version", error))?;
            Ok(version.version.unwrap_or_default())
        })
    }

    fn run<'a>(
        &'a self,
        job: &'a Job,
        log: &'a mut dyn LogSink,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Completion, ExecutorError>> {
        Box::pin(self.run_container(job, log, cancel))
    }

    fn pull<'a>(
        &'a self,
        image: &'a str,
        anew: bool,
    ) -> BoxFuture<'a, Result<Sha256, ExecutorError>> {
        Box::pin(image::pull(&self.docker, image, &self.logins, anew))
    }

    fn allow_kvm(&self, kvm: Kvm) -> Result<(), String> {
        if !self.is_here {
            return Err("the Docker daemon is on another machine".to_owned());
        }
        if self.is_podman {
            return Err("Podman's containers cannot open it".to_owned());
        }
        // What was allowed before stays.
        drop(self.kvm.set(kvm));
        Ok(())
    }

    fn sweep(&self) -> BoxFuture<'_, Result<usize, ExecutorError>> {
        Box::pin(sweep::sweep(&self.docker))
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), ExecutorError>> {
        Box::pin(async {
            // Both, whatever becomes of the first: volumes are in use until their containers are gone.
            let removed = self.leftovers.finish(&self.docker).await;
            self.remove_tree_volumes().await.and(removed)
        })
    }
}
