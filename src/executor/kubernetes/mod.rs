//! Runs jobs as Jobs of a Kubernetes cluster.
//!
//! Input: [`KubernetesSettings`]. Each job becomes a batch/v1 Job whose pod passes PodSecurity `restricted`. The API
//! server handles only the Jobs and one watch of their pods. Trees, outputs and logs are transferred between the pods
//! and a small server in this process (`server.rs`), or through a bucket (`bucket.rs`), each named by its digest.

mod archive;
mod attempt;
mod bucket;
mod connection;
mod courier;
mod job;
mod manifest;
mod pod_state;
mod request;
mod result;
mod sample;
mod server;
mod settings;
mod sweep;
mod watch;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Config};
use ring::rand::SecureRandom as _;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::archive::Archives;
use self::bucket::Bucket;
use self::courier::Courier;
use self::server::InputServer;
use self::sweep::Home;
use self::watch::Watcher;
use super::owner::Owner;
use super::{Completion, Executor, ExecutorError, Job, LogSink};
use crate::digest::Sha256;

pub use connection::KubernetesError;
pub use settings::{
    CacheVolume, ClientSettings, KubernetesSettings, ServerTls, Toleration, is_cpu_quantity,
    is_name,
};

/// Runs jobs in a cluster.
pub struct KubernetesExecutor {
    settings: KubernetesSettings,
    client: Client,
    /// The client for the watch.
    watching: Client,
    namespace: String,
    way: Way,
    owner: Owner,
    home: Home,
    /// Identifies this process among all that use the namespace.
    id: String,
    archives: Archives,
    session: OnceCell<Session>,
    /// Trees that a pod of this run found complete on the cache volume.
    on_volume: Mutex<HashSet<Sha256>>,
    /// Incremented when a tree is missing where it was found before; pods then verify all trees again.
    epoch: AtomicU64,
    pace: Pace,
    created: AtomicU64,
}

/// The transport of inputs and results.
enum Way {
    /// A server that binds to this address.
    Server(SocketAddr),
    /// A bucket.
    Bucket(Arc<Bucket>),
}

/// The state that exists while there are jobs.
struct Session {
    courier: Courier,
    watcher: Watcher,
}

impl KubernetesExecutor {
    /// Connects to the cluster and checks that the account has the permissions that a run needs. Archives of trees are
    /// cached in the store in directory `store`.
    pub async fn connect(
        settings: KubernetesSettings,
        store: &Path,
    ) -> Result<Self, KubernetesError> {
        let config = connection::configure(&settings).await?;
        let namespace = settings
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let way = match &settings.bucket {
            Some(bucket) => Way::Bucket(Arc::new(Bucket::connect(bucket).await?)),
            None => Way::Server(listen_address(&settings, &config).await?),
        };
        let (client, watching) = connection::clients(&config, &settings.client)?;
        connection::check_rights(&client, &namespace).await?;
        let mut bytes = [0; 5];
        ring::rand::SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| {
                ExecutorError::infrastructure("the system does not provide random numbers")
            })?;
        let executor = Self {
            pace: Pace::new(settings.creations_per_second),
            settings,
            client,
            watching,
            namespace,
            way,
            owner: Owner::this_process()?,
            home: Home::of(store, bytes).map_err(ExecutorError::from)?,
            id: Sha256::of(bytes).short(),
            archives: Archives::new(store).map_err(ExecutorError::from)?,
            session: OnceCell::new(),
            on_volume: Mutex::default(),
            epoch: AtomicU64::new(0),
            created: AtomicU64::new(0),
        };
        let sample = sample::sample(&executor.settings, &executor.id);
        connection::check_namespace(&executor.jobs(), &sample).await?;
        Ok(executor)
    }

    fn jobs(&self) -> Api<BatchJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the courier and the watch, which start with the first job.
    async fn session(&self) -> Result<&Session, ExecutorError> {
        let begin = || async {
            let (address, tls) = (self.settings.address.as_deref(), &self.settings.tls);
            let courier = match &self.way {
                Way::Server(listen) => {
                    let server = InputServer::start(*listen, address, tls.as_ref()).await?;
                    tracing::info!("pods reach the server of inputs at {}", server.base());
                    Courier::Server(server)
                }
                Way::Bucket(bucket) => Courier::Bucket(bucket.clone()),
            };
            let pods: Api<Pod> = Api::namespaced(self.watching.clone(), &self.namespace);
            let labels = format!("{}={}", manifest::EXECUTOR_LABEL, self.id);
            let watcher = Watcher::start(pods, labels);
            Ok(Session { courier, watcher })
        };
        self.session.get_or_try_init(begin).await
    }

    /// Returns a name that no other Job of the namespace has.
    fn next_name(&self, job: &Job) -> String {
        let kind: String = job
            .name
            .chars()
            .take_while(char::is_ascii_lowercase)
            .take(16)
            .collect();
        let number = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        format!("dkm-{}-{kind}-{number}", self.id).replace("--", "-")
    }
}

/// Returns the address to listen on; fails if pods would have no address at which they can reach it.
async fn listen_address(
    settings: &KubernetesSettings,
    config: &Config,
) -> Result<SocketAddr, KubernetesError> {
    if let Some(listen) = settings.listen {
        if settings.address.is_none() && listen.ip().is_unspecified() {
            return Err(KubernetesError::input(
                format!(
                    "the server of inputs binds to {listen}, but pods need one address at which they can reach it"
                ),
                "specify it with --kubernetes-address",
            ));
        }
        return Ok(listen);
    }
    let ip = connection::local_address(config).await?;
    if settings.address.is_none() && ip.is_loopback() {
        return Err(KubernetesError::input(
            "the API server is on this machine's loopback, so the address at which pods can reach this machine is unknown",
            "specify an address with --kubernetes-listen",
        ));
    }
    Ok(SocketAddr::new(ip, 0))
}

/// Limits the number of calls per second.
struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    async fn wait(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + self.interval;
    }
}

#[async_trait]
impl Executor for KubernetesExecutor {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        let version = self.client.apiserver_version().await;
        let version = version.map_err(|error| connection::failure("report its version", &error))?;
        Ok(version.git_version)
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.run_job(job, log, cancel).await
    }

    async fn sweep(&self) -> Result<usize, ExecutorError> {
        sweep::sweep(&self.jobs(), &self.home).await
    }
}
