//! Connects to the cluster: creates the clients, checks the account's rights, and explains errors to the user.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::ExecutorError;
use super::settings::{ClientSettings, KubernetesSettings};
use super::watch::SILENCE_LIMIT;
use crate::error::chain;

/// The reason a cluster cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The user must change something.
    #[error("{message}")]
    Input {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// The cluster does not answer, or not as expected.
    #[error(transparent)]
    Infrastructure(#[from] ExecutorError),
}

impl KubernetesError {
    pub(super) fn input(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// The permissions that a run needs: verb, group, resource. deploy/base/role.yaml grants exactly these.
pub(super) const RIGHTS: [(&str, &str, &str); 7] = [
    ("create", "batch", "jobs"),
    ("get", "batch", "jobs"),
    ("list", "batch", "jobs"),
    ("delete", "batch", "jobs"),
    ("list", "", "pods"),
    ("watch", "", "pods"),
    ("list", "", "events"),
];

/// The default timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Reads the configuration without opening a connection.
pub(super) async fn configure(settings: &KubernetesSettings) -> Result<Config, KubernetesError> {
    let mut config = if settings.is_in_cluster {
        in_cluster()?
    } else {
        of_kubeconfig(settings).await?
    };
    overrule(&mut config, &settings.client)?;
    Ok(config)
}

async fn of_kubeconfig(settings: &KubernetesSettings) -> Result<Config, KubernetesError> {
    let unusable = |error: &dyn std::error::Error| {
        let place = match &settings.kubeconfig {
            Some(path) => path.display().to_string(),
            None => std::env::var("KUBECONFIG").unwrap_or_else(|_| "~/.kube/config".to_owned()),
        };
        KubernetesError::input(
            format!("kubeconfig {place} cannot be used: {}", chain(error)),
            "name one with --kubeconfig, or in KUBECONFIG; test it with `kubectl --kubeconfig FILE version`",
        )
    };
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        cluster: settings.client.cluster.clone(),
        user: settings.client.user.clone(),
    };
    if let Some(path) = &settings.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.map_err(|error| unusable(&error));
    }
    let is_in_a_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(_) if settings.context.is_none() && is_in_a_pod => in_cluster(),
        Err(error) => Err(unusable(&error)),
    }
}

/// Returns one client for short requests and one for the watch, which may be silent as long as the API server keeps it
/// open. Both detect a connection that died silently.
pub(super) fn clients(
    config: &Config,
    client: &ClientSettings,
) -> Result<(Client, Client), KubernetesError> {
    let make = |read_timeout| {
        let mut config = config.clone();
        config.read_timeout = read_timeout;
        Client::try_from(config)
            .map_err(|error| refusal("be reached with this configuration", &error))
    };
    let timeout = client.request_timeout.unwrap_or(REQUEST_TIMEOUT);
    let short = make(Some(timeout).filter(|time| !time.is_zero()))?;
    Ok((short, make(Some(SILENCE_LIMIT))?))
}

/// Applies the settings that override the kubeconfig.
fn overrule(config: &mut Config, client: &ClientSettings) -> Result<(), KubernetesError> {
    let text = |path: &PathBuf| path.display().to_string();
    if let Some(server) = &client.server {
        config.cluster_url = server.parse().map_err(|error| {
            KubernetesError::input(
                format!("`{server}` is not the URL of an API server: {error}"),
                "write https://HOST:PORT",
            )
        })?;
    }
    if let Some(path) = &client.certificate_authority {
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| {
                KubernetesError::input(
                    format!("{} contains no certificate: {error}", path.display()),
                    "specify a PEM file",
                )
            })?;
        config.root_cert = Some(certificates.iter().map(|der| der.to_vec()).collect());
        config.root_cert_file = None;
    }
    config.accept_invalid_certs |= client.is_insecure;
    config.disable_compression |= client.is_uncompressed;
    if client.tls_server_name.is_some() {
        config.tls_server_name.clone_from(&client.tls_server_name);
    }
    let user = &mut config.auth_info;
    if let Some(token) = &client.token {
        user.token = Some(token.clone().into());
        user.token_file = None;
    }
    if let Some(path) = &client.client_certificate {
        user.client_certificate = Some(text(path));
        user.client_certificate_data = None;
    }
    if let Some(path) = &client.client_key {
        user.client_key = Some(text(path));
        user.client_key_data = None;
    }
    if client.act_as.is_some() {
        user.impersonate.clone_from(&client.act_as);
        user.impersonate_uid.clone_from(&client.act_as_uid);
        user.impersonate_groups = Some(client.act_as_groups.clone());
        let mut extra: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in &client.act_as_extra {
            extra.entry(name.clone()).or_default().push(value.clone());
        }
        user.impersonate_user_extra = Some(extra);
    }
    Ok(())
}

fn in_cluster() -> Result<Config, KubernetesError> {
    Config::incluster().map_err(|error| {
        KubernetesError::input(
            format!("this is not a pod with a service account: {}", chain(&error)),
            "outside of a cluster, specify a kubeconfig; in a pod, do not disable automountServiceAccountToken",
        )
    })
}

/// Checks that the cluster answers and that the account has all required permissions.
pub(super) async fn check_rights(client: &Client, namespace: &str) -> Result<(), KubernetesError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for (verb, group, resource) in RIGHTS {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| refusal("check rights", &error))?;
        let status = answer.status.unwrap_or_default();
        if !status.allowed {
            let resource = if group.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}.{group}")
            };
            let because = status
                .reason
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            return Err(KubernetesError::input(
                format!("no right to {verb} {resource} in namespace {namespace}{because}"),
                "give this account the Role of deploy/base/role.yaml",
            ));
        }
    }
    Ok(())
}

/// Checks with a dry run that the namespace exists and accepts Jobs.
pub(super) async fn check_namespace(jobs: &Api<Job>, sample: &Job) -> Result<(), KubernetesError> {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match jobs.create(&parameters, sample).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal("create Jobs", &error)),
    }
}

/// Returns the error of one of the first requests; an error that the user can fix counts as invalid input.
pub(super) fn refusal(what: &str, error: &kube::Error) -> KubernetesError {
    match error {
        kube::Error::Api(status) if status.code == 401 => KubernetesError::input(
            format!("the cluster does not know this account: {}", status.message),
            "renew the credentials of the kubeconfig, or use another --kubernetes-context",
        ),
        kube::Error::Api(status) if matches!(status.code, 403 | 404 | 422) => {
            KubernetesError::input(
                format!("the cluster refuses to {what}: {}", status.message),
                "create the namespace, or give the account the Role of deploy/base/role.yaml",
            )
        }
        _ => failure(what, error).into(),
    }
}

/// Returns the error of a request.
pub(super) fn failure(what: &str, error: &kube::Error) -> ExecutorError {
    let said = match &error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    };
    ExecutorError::infrastructure(format!(
        "the Kubernetes API server failed to {what}: {said}"
    ))
}

/// Whether a request can be retried safely: the connection broke, or the API server is starting or overloaded.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Returns the address of this machine on the route to the API server.
pub(super) async fn local_address(config: &Config) -> Result<IpAddr, ExecutorError> {
    let host = config.cluster_url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let find = async {
        let mut found = tokio::net::lookup_host((host, port)).await?;
        let target = found
            .next()
            .ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let any = match target {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0; 16]),
        };
        // No packet is sent: this only looks up the route.
        let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
        socket.connect(target).await?;
        Ok(socket.local_addr()?.ip())
    };
    find.await.map_err(|error: std::io::Error| {
        ExecutorError::caused_by(format!("{host} cannot be reached"), error)
    })
}
