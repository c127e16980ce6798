//! Flags that say where a Kubernetes cluster is and how jobs run there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::CliError;
use crate::bucket::{BucketSettings, BucketUrl};
use crate::executor::{
    CacheVolume, KubernetesError, KubernetesSettings, ServerTls, Toleration, is_cpu_quantity,
    is_name,
};
use crate::matrix::parse_time;

/// The cluster of `--executor kubernetes`; see docs/kubernetes.md.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Kubernetes (--executor kubernetes)")]
pub(super) struct ClusterArguments {
    /// Kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else the pod's service account]
    #[arg(long, hide_short_help = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(
        long,
        hide_short_help = true,
        value_name = "NAME",
        env = "DRIVERKIT_MATRIX_KUBERNETES_CONTEXT"
    )]
    kubernetes_context: Option<String>,
    /// Namespace of the Jobs [default: the context's]
    #[arg(long, hide_short_help = true, value_name = "NAME", env = "DRIVERKIT_MATRIX_KUBERNETES_NAMESPACE", value_parser = parse_name)]
    kubernetes_namespace: Option<String>,
    /// Prefix of the names of builder images, such as registry.example/
    #[arg(
        long,
        hide_short_help = true,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true,
        env = "DRIVERKIT_MATRIX_KUBERNETES_IMAGE_PREFIX"
    )]
    kubernetes_image_prefix: String,
    /// Secret for pulling images; repeatable
    #[arg(long, hide_short_help = true, value_name = "SECRET", env = "DRIVERKIT_MATRIX_KUBERNETES_IMAGE_PULL_SECRET", value_delimiter = ',', value_parser = parse_name)]
    kubernetes_image_pull_secret: Vec<String>,
    /// Service account of the pods, whose token is not mounted [default: default]
    #[arg(long, hide_short_help = true, value_name = "NAME", env = "DRIVERKIT_MATRIX_KUBERNETES_SERVICE_ACCOUNT", value_parser = parse_name)]
    kubernetes_service_account: Option<String>,
    /// User and group that scripts run as
    #[arg(long, hide_short_help = true, value_name = "UID[:GID]", env = "DRIVERKIT_MATRIX_KUBERNETES_RUN_AS", default_value = "65534", value_parser = parse_user)]
    kubernetes_run_as: (u32, u32),
    /// Label that nodes must have, in addition to their architecture; repeatable
    #[arg(long, hide_short_help = true, value_name = "KEY=VALUE", env = "DRIVERKIT_MATRIX_KUBERNETES_NODE_SELECTOR", value_delimiter = ',', value_parser = parse_label)]
    kubernetes_node_selector: Vec<(String, String)>,
    /// Taint that pods tolerate; repeatable
    #[arg(
        long,
        hide_short_help = true,
        value_name = "KEY[=VALUE][:EFFECT]",
        env = "DRIVERKIT_MATRIX_KUBERNETES_TOLERATION",
        value_delimiter = ','
    )]
    kubernetes_toleration: Vec<Toleration>,
    /// CPUs that each pod requests
    #[arg(long, hide_short_help = true, value_name = "QUANTITY", env = "DRIVERKIT_MATRIX_KUBERNETES_CPU", default_value = "1", value_parser = parse_cpu)]
    kubernetes_cpu: String,
    /// Where trees are cached between jobs: pvc:NAME, a claim that all nodes share, or `host:/DIR` on each node
    #[arg(
        long,
        hide_short_help = true,
        value_name = "VOLUME",
        env = "DRIVERKIT_MATRIX_KUBERNETES_CACHE",
        default_value = "none"
    )]
    kubernetes_cache: CacheVolume,
    /// Remove cached trees that no job used for this many days
    #[arg(
        long,
        hide_short_help = true,
        value_name = "DAYS",
        env = "DRIVERKIT_MATRIX_KUBERNETES_CACHE_DAYS",
        default_value = "30"
    )]
    kubernetes_cache_days: u32,
    /// Address that the input server binds to [default: the one that faces the API server]
    #[arg(
        long,
        hide_short_help = true,
        value_name = "IP:PORT",
        env = "DRIVERKIT_MATRIX_KUBERNETES_LISTEN"
    )]
    kubernetes_listen: Option<SocketAddr>,
    /// Address at which pods reach the input server [default: the one that it binds to]
    #[arg(long, hide_short_help = true, value_name = "HOST[:PORT]", env = "DRIVERKIT_MATRIX_KUBERNETES_ADDRESS", value_parser = parse_address)]
    kubernetes_address: Option<String>,
    /// Certificate of the input server in PEM, which enables TLS
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_KUBERNETES_TLS_CERTIFICATE",
        requires = "kubernetes_tls_key"
    )]
    kubernetes_tls_certificate: Option<PathBuf>,
    /// Key of the certificate in PEM
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_KUBERNETES_TLS_KEY",
        requires = "kubernetes_tls_certificate"
    )]
    kubernetes_tls_key: Option<PathBuf>,
    /// Certificate authority that pods trust [default: the certificate itself]
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_KUBERNETES_TLS_AUTHORITY",
        requires = "kubernetes_tls_certificate"
    )]
    kubernetes_tls_authority: Option<PathBuf>,
    /// Bucket that carries inputs and results if pods cannot reach this program: s3://, gs:// or az://; the
    /// environment provides its endpoint and credentials
    #[arg(
        long,
        hide_short_help = true,
        value_name = "URL",
        env = "DRIVERKIT_MATRIX_KUBERNETES_BUCKET"
    )]
    kubernetes_bucket: Option<BucketUrl>,
    /// How long a pod may wait for its node, image and inputs
    #[arg(long, hide_short_help = true, value_name = "DURATION", env = "DRIVERKIT_MATRIX_KUBERNETES_START_TIMEOUT", default_value = "10m", value_parser = parse_time)]
    kubernetes_start_timeout: Duration,
    /// Maximum number of Jobs created per second
    #[arg(long, hide_short_help = true, value_name = "N", env = "DRIVERKIT_MATRIX_KUBERNETES_CREATIONS", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    kubernetes_creations: u32,
}

impl ClusterArguments {
    /// Returns the settings that the flags describe.
    pub(super) fn settings(&self) -> KubernetesSettings {
        let tls = |certificate: &PathBuf| {
            Some(ServerTls {
                certificate: certificate.clone(),
                key: self.kubernetes_tls_key.clone()?,
                authority: self.kubernetes_tls_authority.clone(),
            })
        };
        let (run_as_user, run_as_group) = self.kubernetes_run_as;
        KubernetesSettings {
            kubeconfig: self.kubeconfig.clone(),
            context: self.kubernetes_context.clone(),
            is_in_cluster: false,
            namespace: self.kubernetes_namespace.clone(),
            image_prefix: self.kubernetes_image_prefix.clone(),
            image_pull_secrets: self.kubernetes_image_pull_secret.clone(),
            service_account: self.kubernetes_service_account.clone(),
            run_as_user,
            run_as_group,
            node_selector: self.kubernetes_node_selector.iter().cloned().collect(),
            tolerations: self.kubernetes_toleration.clone(),
            cpu: self.kubernetes_cpu.clone(),
            cache: self.kubernetes_cache.clone(),
            cache_days: self.kubernetes_cache_days,
            listen: self.kubernetes_listen,
            address: self.kubernetes_address.clone(),
            tls: self.kubernetes_tls_certificate.as_ref().and_then(tls),
            bucket: self
                .kubernetes_bucket
                .clone()
                .map(BucketSettings::from_environment),
            start_timeout: self.kubernetes_start_timeout,
            creations_per_second: self.kubernetes_creations,
            ..KubernetesSettings::default()
        }
    }
}

impl From<KubernetesError> for CliError {
    fn from(error: KubernetesError) -> Self {
        match error {
            KubernetesError::Input { message, help } => Self::Input {
                message,
                help: Some(help),
            },
            KubernetesError::Infrastructure(error) => crate::session::infrastructure(&error),
        }
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a Kubernetes name of lower-case letters, digits, `-` and `.`".to_owned())
    }
}

fn parse_user(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    match (user.parse(), group.parse()) {
        (Ok(0), Ok(_)) => Err("scripts never run as root: give a user other than 0".to_owned()),
        (Ok(user), Ok(group)) => Ok((user, group)),
        _ => Err("expected UID or UID:GID, as numbers".to_owned()),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, as in pool=builders".to_owned()),
    }
}

fn parse_cpu(text: &str) -> Result<String, String> {
    if is_cpu_quantity(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a number of CPUs, as in 2, 0.5 or 500m".to_owned())
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    let is_usable = url::Url::parse(&format!("http://{text}/"))
        .is_ok_and(|url| url.has_host() && url.path() == "/" && url.username().is_empty());
    if is_usable {
        Ok(text.to_owned())
    } else {
        Err("expected HOST or HOST:PORT, as in builder.example:8080".to_owned())
    }
}
