//! The user's settings for jobs in a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::bucket::BucketSettings;

/// The cluster to use, and how jobs run there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// The kubeconfig; `None`: `KUBECONFIG`, otherwise `~/.kube/config`, otherwise the pod that the program runs in.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than its current one.
    pub context: Option<String>,
    /// Settings that override the kubeconfig.
    pub client: ClientSettings,
    /// Whether to use only the service account of the pod that the program runs in, without any kubeconfig.
    pub is_in_cluster: bool,
    /// The namespace of the Jobs; `None`: the namespace of the context.
    pub namespace: Option<String>,
    /// The prefix of builder image names: `registry.example/`.
    pub image_prefix: String,
    /// Secrets of the namespace for pulling images.
    pub image_pull_secrets: Vec<String>,
    /// The service account of the pods; its token is not mounted.
    pub service_account: Option<String>,
    /// The user id for scripts; not 0.
    pub run_as_user: u32,
    /// The group id for scripts.
    pub run_as_group: u32,
    /// Labels that a node must have in addition to its architecture.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// The CPU request of a pod as a Kubernetes quantity: `1`, `500m`.
    pub cpu: String,
    /// Where trees are cached between jobs.
    pub cache: CacheVolume,
    /// The number of days after which an unused tree is removed from the cache volume.
    pub cache_days: u32,
    /// The address that the input server binds to; `None`: the address of this machine on the route to the cluster's
    /// API server, with any port.
    pub listen: Option<SocketAddr>,
    /// The `HOST` or `HOST:PORT` at which pods reach the input server; `None`: the bound address.
    pub address: Option<String>,
    /// The TLS files of the input server; `None`: no TLS.
    pub tls: Option<ServerTls>,
    /// The bucket that replaces the input server if pods cannot reach it.
    pub bucket: Option<BucketSettings>,
    /// How long a pod may take until its script starts.
    pub start_timeout: Duration,
    /// How long the cluster keeps finished Jobs that the program could not remove.
    pub keep_finished: Duration,
    /// The maximum number of Jobs created per second.
    pub creations_per_second: u32,
}

/// Settings that override the kubeconfig, like the flags of kubectl.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The name of a cluster in the kubeconfig.
    pub cluster: Option<String>,
    /// The name of a user in the kubeconfig.
    pub user: Option<String>,
    /// The URL of the API server.
    pub server: Option<String>,
    /// The server name that the certificate of the API server must have.
    pub tls_server_name: Option<String>,
    /// The certificate authority of the API server, a PEM file.
    pub certificate_authority: Option<PathBuf>,
    /// Whether the certificate of the API server is not verified.
    pub is_insecure: bool,
    /// A bearer token.
    pub token: Option<String>,
    /// The client certificate, a PEM file.
    pub client_certificate: Option<PathBuf>,
    /// The key of the client certificate.
    pub client_key: Option<PathBuf>,
    /// The user to act as.
    pub act_as: Option<String>,
    /// The UID of the user to act as, if permissions depend on it.
    pub act_as_uid: Option<String>,
    /// The groups to act as.
    pub act_as_groups: Vec<String>,
    /// Extra attributes of the user to act as: name and value; a name is repeated for each of its values.
    pub act_as_extra: Vec<(String, String)>,
    /// Whether responses are requested without compression.
    pub is_uncompressed: bool,
    /// The timeout of a request: `None` for a minute, zero for no timeout.
    pub request_timeout: Option<Duration>,
}

impl std::fmt::Debug for ClientSettings {
    /// Omits the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientSettings")
            .field("server", &self.server)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The TLS files of the input server, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate and its chain up to the authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The certificates that pods trust; `None`: the certificate itself.
    pub authority: Option<PathBuf>,
}

/// Where trees are cached between jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheVolume {
    /// No cache: each job downloads its own trees.
    #[default]
    None,
    /// A PersistentVolumeClaim of the namespace that all nodes share.
    Claim(String),
    /// A directory of each node, if the namespace's policy allows this.
    HostPath(String),
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            client: ClientSettings::default(),
            is_in_cluster: false,
            namespace: None,
            image_prefix: String::new(),
            image_pull_secrets: Vec::new(),
            service_account: None,
            run_as_user: super::super::sandbox::NOBODY,
            run_as_group: super::super::sandbox::NOBODY,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            cpu: "1".to_owned(),
            cache: CacheVolume::None,
            cache_days: 30,
            listen: None,
            address: None,
            tls: None,
            bucket: None,
            start_timeout: Duration::from_mins(10),
            keep_finished: Duration::from_mins(10),
            creations_per_second: 20,
        }
    }
}

impl FromStr for CacheVolume {
    type Err = String;

    /// Parses `none`, `pvc:NAME` or `host:/FOLDER`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("pvc", name)) if is_name(name) => Ok(Self::Claim(name.to_owned())),
            Some(("host", folder)) if folder.starts_with('/') && folder != "/" => {
                Ok(Self::HostPath(folder.to_owned()))
            }
            _ => Err("write pvc:NAME, host:/FOLDER or none".to_owned()),
        }
    }
}

/// A taint that pods tolerate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; empty: all taints.
    pub key: String,
    /// The taint's value; `None`: any.
    pub value: Option<String>,
    /// The taint's effect; `None`: any.
    pub effect: Option<String>,
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl FromStr for Toleration {
    type Err = String;

    /// Parses `KEY[=VALUE][:EFFECT]`, the format of `kubectl taint`; `:EFFECT` alone tolerates all taints with that
    /// effect.
    fn from_str(text: &str) -> Result<Self, String> {
        let (taint, effect) = match text.rsplit_once(':') {
            Some((taint, effect)) if EFFECTS.contains(&effect) => (taint, Some(effect.to_owned())),
            Some((_, effect)) => {
                return Err(format!(
                    "invalid taint effect `{effect}`: expected one of {}",
                    EFFECTS.join(", ")
                ));
            }
            None => (text, None),
        };
        let (key, value) = match taint.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (taint, None),
        };
        if key.is_empty() && (value.is_some() || effect.is_none()) {
            return Err("write KEY[=VALUE][:EFFECT], as in builders=only:NoSchedule".to_owned());
        }
        Ok(Self {
            key: key.to_owned(),
            value,
            effect,
        })
    }
}

/// Whether the string is a valid object name, for example of a namespace, a claim or a secret.
pub fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().is_some_and(|&byte| is_inner(byte))
            && bytes.last().is_some_and(|&byte| is_inner(byte))
            && bytes.iter().all(|&byte| is_inner(byte) || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Whether the string is a CPU quantity: `2`, `0.5`, `500m`.
pub fn is_cpu_quantity(text: &str) -> bool {
    let number = text.strip_suffix('m').unwrap_or(text);
    number.parse::<f64>().is_ok_and(|value| value > 0.0)
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_read_as_taints_are_written() {
        let read = |text: &str| text.parse::<Toleration>();
        let toleration = |key: &str, value: Option<&str>, effect: Option<&str>| Toleration {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            effect: effect.map(str::to_owned),
        };
        assert_eq!(
            read("a/b=c:NoSchedule"),
            Ok(toleration("a/b", Some("c"), Some("NoSchedule")))
        );
        assert_eq!(read("spot"), Ok(toleration("spot", None, None)));
        assert_eq!(
            read(":NoExecute"),
            Ok(toleration("", None, Some("NoExecute")))
        );
        for text in ["", "=x", "a:Never", "a=b:"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cache_volumes_are_claims_or_folders() {
        assert_eq!(
            "pvc:trees".parse(),
            Ok(CacheVolume::Claim("trees".to_owned()))
        );
        assert_eq!(
            "host:/var/cache/x".parse(),
            Ok(CacheVolume::HostPath("/var/cache/x".to_owned()))
        );
        assert_eq!("none".parse(), Ok(CacheVolume::None));
        for text in ["", "trees", "pvc:", "pvc:A_b", "host:relative", "host:/"] {
            assert!(text.parse::<CacheVolume>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_quantities() {
        assert!(is_name("a-b.c1") && !is_name("-a") && !is_name("A") && !is_name(""));
        assert!(is_cpu_quantity("2") && is_cpu_quantity("500m") && is_cpu_quantity("0.5"));
        assert!(!is_cpu_quantity("0") && !is_cpu_quantity("1e3") && !is_cpu_quantity("x"));
    }
}
