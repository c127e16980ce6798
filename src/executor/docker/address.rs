//! The address of a Docker daemon.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// The address of a Docker daemon, in the form of `DOCKER_HOST` and `--docker-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerAddress {
    text: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A Unix socket on this machine.
    Unix,
    /// TCP, with TLS if `certificates` is set.
    Tcp {
        /// `tcp://host:port`, without path and query.
        server: String,
        /// The directory with `ca.pem`, `cert.pem` and `key.pem`.
        certificates: Option<PathBuf>,
    },
    /// A connection through `ssh`.
    Ssh {
        /// `host` or `user@host`.
        destination: String,
        port: Option<u16>,
    },
}

/// Why a string is not the address of a Docker daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid address of a Docker daemon `{text}`: {reason}; expected unix:///PATH, tcp://HOST:PORT, tcp://HOST:PORT?certificates=/DIR for TLS, or ssh://[USER@]HOST[:PORT]"
)]
pub struct ParseDockerAddressError {
    text: String,
    reason: &'static str,
}

impl DockerAddress {
    /// The default socket of a daemon on this machine.
    pub(super) fn usual() -> Self {
        Self {
            text: "unix:///var/run/docker.sock".to_owned(),
            kind: Kind::Unix,
        }
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl FromStr for DockerAddress {
    type Err = ParseDockerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kind = parse(text).map_err(|reason| ParseDockerAddressError {
            text: text.to_owned(),
            reason,
        })?;
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

fn parse(text: &str) -> Result<Kind, &'static str> {
    if let Some(path) = text.strip_prefix("unix://") {
        return if path.starts_with('/') {
            Ok(Kind::Unix)
        } else {
            Err("the path of the socket is not absolute")
        };
    }
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or("the host is missing")?;
    match url.scheme() {
        "tcp" | "http" | "https" => {
            let port = url.port_or_known_default().ok_or("the port is missing")?;
            let mut certificates = None;
            for (name, value) in url.query_pairs() {
                if name != "certificates" {
                    return Err("the only option is `certificates`");
                }
                if !value.starts_with('/') {
                    return Err("the path in `certificates` is not absolute");
                }
                certificates = Some(PathBuf::from(value.as_ref()));
            }
            Ok(Kind::Tcp {
                server: format!("tcp://{host}:{port}"),
                certificates: certificates.or_else(|| usual_certificates(url.scheme())),
            })
        }
        "ssh" => {
            // ssh would parse either as an option.
            if host.starts_with('-') || url.username().starts_with('-') {
                return Err("a user or host must not start with a dash");
            }
            if !matches!(url.path(), "" | "/") || url.password().is_some() {
                return Err("an ssh URL may have only a user, a host and a port");
            }
            Ok(Kind::Ssh {
                destination: match url.username() {
                    "" => host.to_owned(),
                    user => format!("{user}@{host}"),
                },
                port: url.port(),
            })
        }
        _ => Err("unknown scheme"),
    }
}

/// The directory where the docker client looks for certificates if `https` or `DOCKER_TLS_VERIFY` requires TLS.
fn usual_certificates(scheme: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if scheme != "https" && variable("DOCKER_TLS_VERIFY").is_none() {
        return None;
    }
    let folder = variable("DOCKER_CERT_PATH").map(PathBuf::from);
    folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses() {
        for (text, kind) in [
            ("unix:///run/docker.sock", Kind::Unix),
            (
                "tcp://10.0.0.1:2376?certificates=/etc/docker/a%20b",
                Kind::Tcp {
                    server: "tcp://10.0.0.1:2376".to_owned(),
                    certificates: Some("/etc/docker/a b".into()),
                },
            ),
            (
                "ssh://builder@[::1]:2222",
                Kind::Ssh {
                    destination: "builder@[::1]".to_owned(),
                    port: Some(2222),
                },
            ),
            (
                "ssh://host",
                Kind::Ssh {
                    destination: "host".to_owned(),
                    port: None,
                },
            ),
        ] {
            let address: DockerAddress = text.parse().unwrap();
            assert_eq!(address.kind, kind, "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "docker.sock",
            "unix://docker.sock",
            "tcp://host",
            "tcp://:1",
            "tcp://h:1?x=y",
            "tcp://h:1?certificates=here",
            "ssh://-oProxyCommand=x",
            "ssh://h/path",
            "ssh://u:p@h",
            "npipe:////./pipe/x",
        ] {
            assert!(text.parse::<DockerAddress>().is_err(), "{text}");
        }
    }
}
