//! The settings of a build in a cluster besides the build itself: where pods run, and how the cluster is reached.

use std::path::PathBuf;
use std::time::Duration;

use super::names::check_cluster_name;
use super::reader::Reader;
use super::values::Values;
use crate::diagnostic::Diagnostic;

/// Where and as which user pods run, validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequest {
    /// The namespace; `None` for `default`.
    pub namespace: Option<String>,
    /// The user that containers run as; `None` if the command line does not set one.
    pub run_as_user: Option<u32>,
    /// The secret for pulling images.
    pub image_pull_secret: Option<String>,
}

impl PodRequest {
    /// Validates the values; the error has all faults.
    pub fn read(values: &Values) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(values);
        let pods = Self {
            namespace: reader.parsed("namespace", |text| check_cluster_name(text, false)),
            run_as_user: reader.parsed("run-as-user", |text| {
                text.parse().map_err(|_| {
                    format!("`{text}` is not a user ID: expected a number such as 65534")
                })
            }),
            image_pull_secret: reader
                .parsed("image-pull-secret", |text| check_cluster_name(text, true)),
        };
        if reader.faults.is_empty() {
            Ok(pods)
        } else {
            Err(reader.faults)
        }
    }
}

/// How a cluster is reached from outside, as in `kubectl`: missing values come from the kubeconfig file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientRequest {
    /// The kubeconfig file; `None` for `KUBECONFIG`, then `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the file.
    pub context: Option<String>,
    /// The cluster of the file.
    pub cluster: Option<String>,
    /// The user of the file.
    pub user: Option<String>,
    /// The URL of the API server.
    pub server: Option<String>,
    /// The name to verify the server's certificate against.
    pub tls_server_name: Option<String>,
    /// True if the server's certificate is not verified.
    pub is_insecure: bool,
    /// True if compression of responses is disabled.
    pub is_uncompressed: bool,
    /// The file with the certificate authority.
    pub certificate_authority: Option<PathBuf>,
    /// The file with the client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// The file with the client's key.
    pub client_key: Option<PathBuf>,
    /// The bearer token; never shown.
    pub token: Option<String>,
    /// The user to act as.
    pub impersonated_user: Option<String>,
    /// The groups to act as.
    pub impersonated_groups: Vec<String>,
    /// Extra attributes of the user to act as: names and values.
    pub impersonated_extra: Vec<(String, String)>,
    /// The user id to act as.
    pub impersonated_uid: Option<String>,
    /// The timeout of a request; zero for no limit, `None` for the default.
    pub request_timeout: Option<Duration>,
}

impl std::fmt::Debug for ClientRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientRequest")
            .field("kubeconfig", &self.kubeconfig)
            .field("context", &self.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl ClientRequest {
    /// Validates the values; the error has all faults.
    pub fn read(values: &Values) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(values);
        let text = |key| values.text(key).map(str::to_owned);
        let mut file = |key| {
            reader.parsed(key, |text| {
                let path = PathBuf::from(text);
                if path.is_file() {
                    Ok(path)
                } else {
                    Err(format!("file {text} does not exist"))
                }
            })
        };
        let kubeconfig = file("kubeconfig");
        let certificate_authority = file("certificate-authority");
        let client_certificate = file("client-certificate");
        let client_key = file("client-key");
        let server = reader.parsed("server", |text| match url::Url::parse(text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(text.to_owned()),
            _ => Err(format!("`{text}` is not an http or https URL")),
        });
        let impersonated_extra = extra(&mut reader);
        let request_timeout = reader.parsed("request-timeout", parse_request_timeout);
        let client = Self {
            kubeconfig,
            context: text("context"),
            cluster: text("cluster"),
            user: text("user"),
            server,
            tls_server_name: text("tls-server-name"),
            is_insecure: reader.is_set("insecure-skip-tls-verify"),
            is_uncompressed: reader.is_set("disable-compression"),
            certificate_authority,
            client_certificate,
            client_key,
            token: text("token"),
            impersonated_user: text("as"),
            impersonated_groups: values.items("as-group").to_vec(),
            impersonated_extra,
            impersonated_uid: text("as-uid"),
            request_timeout,
        };
        let is_more = !client.impersonated_extra.is_empty()
            || !client.impersonated_groups.is_empty()
            || client.impersonated_uid.is_some();
        if is_more && client.impersonated_user.is_none() {
            reader.faults.push(Diagnostic::error(
                "`as-group`, `as-uid` and `as-user-extra` need a user to act as: `as` is missing",
            ));
        }
        if client.client_certificate.is_some() != client.client_key.is_some() {
            reader.faults.push(Diagnostic::error(
                "`client-certificate` and `client-key` must be given together: one of them is missing",
            ));
        }
        if client.is_insecure && client.certificate_authority.is_some() {
            reader.faults.push(Diagnostic::error(
                "`certificate-authority` cannot be used with `insecure-skip-tls-verify`: omit one of the two",
            ));
        }
        if reader.faults.is_empty() {
            Ok(client)
        } else {
            Err(reader.faults)
        }
    }
}

/// Reads the names and values of `as-user-extra`.
fn extra(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let parts = |text: &str| {
        let (name, value) = text.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_lowercase(), value.to_owned()))
    };
    let items = reader.list("as-user-extra", |text| match parts(text) {
        Some(_) => Ok(()),
        None => Err(format!(
            "invalid `{text}`: expected NAME=VALUE, such as scopes=view"
        )),
    });
    items.iter().filter_map(|text| parts(text)).collect()
}

/// Parses a time such as `30s`, `2m` or `0` for no limit; a plain number counts seconds.
fn parse_request_timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .ok_or_else(|| {
            format!("invalid time `{text}`: expected a value such as 30s or 2m, or 0 for no limit")
        })
}
