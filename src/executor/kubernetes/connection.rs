//! Reaching the cluster: the client, its rights, and what its errors mean to a person.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::super::ExecutorError;
use super::settings::KubernetesSettings;

/// Why a cluster cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The person must change something.
    #[error("{message}")]
    Input {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The cluster does not answer, or not as it should.
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

/// What a run does to the cluster: verb, group, resource. deploy/base/role.yaml gives these and nothing else.
pub(super) const RIGHTS: [(&str, &str, &str); 7] = [
    ("create", "batch", "jobs"),
    ("get", "batch", "jobs"),
    ("list", "batch", "jobs"),
    ("delete", "batch", "jobs"),
    ("list", "", "pods"),
    ("watch", "", "pods"),
    ("list", "", "events"),
];

/// Reads the configuration; opens no connection.
pub(super) async fn configure(settings: &KubernetesSettings) -> Result<Config, KubernetesError> {
    let unusable = |error: &dyn std::fmt::Display| {
        let place = match &settings.kubeconfig {
            Some(path) => path.display().to_string(),
            None => std::env::var("KUBECONFIG").unwrap_or_else(|_| "~/.kube/config".to_owned()),
        };
        KubernetesError::input(
            format!("kubeconfig {place} cannot be used: {error}"),
            "name one with --kubeconfig, or in KUBECONFIG; `kubectl --kubeconfig FILE version` tries it",
        )
    };
    if settings.is_in_cluster {
        return in_cluster();
    }
    let has_context = settings.context.is_some();
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &settings.kubeconfig {
        let kubeconfig =
            Kubeconfig::read_from(path).map_err(|error| unusable(&with_causes(&error)))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| unusable(&with_causes(&error)));
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(_) if !has_context && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            in_cluster()
        }
        Err(error) => Err(unusable(&with_causes(&error))),
    }
}

fn in_cluster() -> Result<Config, KubernetesError> {
    Config::incluster().map_err(|error| {
        KubernetesError::input(
            format!("this is no pod with a service account: {}", with_causes(&error)),
            "outside of a cluster name a kubeconfig; in a pod do not turn off automountServiceAccountToken",
        )
    })
}

/// Makes sure that the cluster answers and that all rights are there.
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
            .create(&kube::api::PostParams::default(), &review)
            .await
            .map_err(|error| refusal("ask for rights", error))?;
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

/// An error of the very first requests: what a person can mend is bad input.
pub(super) fn refusal(what: &str, error: kube::Error) -> KubernetesError {
    match &error {
        kube::Error::Api(status) if status.code == 401 => KubernetesError::input(
            format!("the cluster does not know this account: {}", status.message),
            "renew the credentials of the kubeconfig, or take another --kubernetes-context",
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

/// An error of a request, in the words of this program.
pub(super) fn failure(what: &str, error: kube::Error) -> ExecutorError {
    let said = match &error {
        kube::Error::Api(status) => status.message.clone(),
        other => with_causes(other),
    };
    ExecutorError::caused_by(
        format!("the Kubernetes API server failed to {what}: {said}"),
        Shown(error),
    )
}

/// An error whose text has been told already.
#[derive(Debug, thiserror::Error)]
#[error("{}", short(.0))]
struct Shown(kube::Error);

fn short(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(_) => "it answered so",
        _ => "no answer came",
    }
}

/// Whether the same request may succeed later, and cannot have done harm before: the connection broke, or the API
/// server is starting, or has too much to do.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The address of this machine from which the API server is reached.
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
        // No packet is sent: this only asks for the route.
        let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
        socket.connect(target).await?;
        Ok(socket.local_addr()?.ip())
    };
    find.await.map_err(|error: std::io::Error| {
        ExecutorError::caused_by(format!("{host} cannot be reached"), error)
    })
}
