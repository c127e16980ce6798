//! Connects to the daemon, and turns connection errors into messages with advice.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::super::ExecutorError;
use super::address::{DockerAddress, Kind};
use super::ssh::Bridge;
use crate::error::chain;
use crate::fs::{blocking, in_words};
use crate::kernel::Architecture;

/// The first API version that has everything used here (Docker 20.10).
const LEAST_API: (u32, u32) = (1, 41);

/// How long the daemon may take to begin a response. The response to an image import begins only at its end.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(15);

/// A connection to a daemon that has answered.
pub(super) struct Connection {
    pub(super) docker: Docker,
    pub(super) is_podman: bool,
    /// The ssh bridge that carries the connections, if the daemon is behind ssh.
    pub(super) bridge: Option<Bridge>,
}

/// Connects, and asks the daemon for its version and architecture.
pub(super) async fn connect(address: &DockerAddress) -> Result<Connection, ExecutorError> {
    let shown = address.as_str();
    let of_client = address.clone();
    let (docker, bridge) = blocking(move || client(&of_client)).await?;
    let docker = docker.with_timeout(ANSWER_TIMEOUT);
    let version = match docker.version().await {
        Ok(version) => version,
        Err(error) => {
            let words = match &bridge {
                Some(bridge) => bridge.words().await,
                None => String::new(),
            };
            if words.is_empty() {
                let shown = shown.to_owned();
                return Err(blocking(move || unreachable(&shown, error)).await);
            }
            let message = format!("no Docker daemon answers at {shown}: {words}");
            return Err(ExecutorError::infrastructure(message));
        }
    };
    check_architecture(address, version.arch.as_deref())?;
    let api = version.api_version.unwrap_or_default();
    let parts = api.split_once('.');
    let numbers = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    if numbers < Some(LEAST_API) {
        return Err(ExecutorError::infrastructure(format!(
            "the Docker daemon at {shown} has API version {api}; at least 1.41 (Docker 20.10) is required"
        )));
    }
    let mut components = version.components.into_iter().flatten();
    Ok(Connection {
        docker,
        is_podman: components.any(|component| component.name == "Podman Engine"),
        bridge,
    })
}

/// Creates a client that is not connected yet.
fn client(address: &DockerAddress) -> Result<(Docker, Option<Bridge>), ExecutorError> {
    let shown = address.as_str();
    let local = |path: &str| Docker::connect_with_unix(path, 0, API_DEFAULT_VERSION);
    let client = match &address.kind {
        Kind::Unix => local(shown),
        Kind::Tcp {
            server,
            certificates: None,
        } => Docker::connect_with_http(server, 0, API_DEFAULT_VERSION),
        Kind::Tcp {
            server,
            certificates: Some(folder),
        } => Docker::connect_with_ssl(
            server,
            &folder.join("key.pem"),
            &folder.join("cert.pem"),
            &folder.join("ca.pem"),
            0,
            API_DEFAULT_VERSION,
        ),
        Kind::Ssh { destination, port } => {
            let bridge = Bridge::open(destination, *port).map_err(|error| {
                let message = format!("failed to open a socket for {shown}");
                ExecutorError::caused_by(message, error)
            })?;
            let client = local(&bridge.address()).map_err(|error| unreachable(shown, error))?;
            return Ok((client, Some(bridge)));
        }
    };
    match client {
        Ok(client) => Ok((client, None)),
        Err(error) => Err(unreachable(shown, error)),
    }
}

fn unreachable(address: &str, error: Error) -> ExecutorError {
    if io_error(&error).map(io::Error::kind) == Some(io::ErrorKind::PermissionDenied) {
        let socket = Path::new(address.strip_prefix("unix://").unwrap_or(address));
        let group = std::fs::metadata(socket).map(|metadata| metadata.gid());
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let help = match group.ok().and_then(|group| group_name(&groups, group)) {
            Some(group) if group != "root" => format!(
                "the socket belongs to group `{group}`: join it (`sudo usermod --append --groups {group} $USER`) and \
                 log in again, or use `--executor local`"
            ),
            _ => "run as root, or use `--executor local`".to_owned(),
        };
        let message = format!("no permission to open the socket of the Docker daemon at {address}");
        return ExecutorError::infrastructure(message).with_help(help);
    }
    let message = format!("no Docker daemon answers at {address}");
    ExecutorError::caused_by(message, DaemonError(error)).with_help(
        "install and start one (Debian: package docker.io), set DOCKER_HOST, or use `--executor local`",
    )
}

/// Looks up the name of a group id in the content of /etc/group.
fn group_name(groups: &str, wanted: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(wanted)).then_some(name)
    })
}

/// Returns the first I/O error in the chain of causes.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        // This variant is transparent: `source` skips the I/O error and returns the cause of that error.
        if let Some(Error::IOError { err }) = error.downcast_ref() {
            return Some(err);
        }
        next = error.source();
    }
    None
}

/// An error of a connection to a daemon, displayed without the jargon of the HTTP client or the kernel.
#[derive(Debug)]
pub(super) struct DaemonError(pub(super) Error);

impl fmt::Display for DaemonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        if let Some(cause) = io_error(error) {
            return formatter.write_str(&in_words(cause));
        }
        match error {
            Error::SocketNotFoundError(path) => write!(formatter, "{path} does not exist"),
            Error::RequestTimeoutError => formatter.write_str("the daemon did not answer in time"),
            Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
                let mut last: &dyn std::error::Error = error;
                while let Some(cause) = last.source() {
                    last = cause;
                }
                write!(formatter, "{last}")
            }
            other => formatter.write_str(&chain(other)),
        }
    }
}

impl std::error::Error for DaemonError {}

/// An error of the daemon during an action such as `start the container`.
pub(super) fn failure(action: &str, error: Error) -> ExecutorError {
    let message = format!("the Docker daemon failed to {action}");
    ExecutorError::caused_by(message, DaemonError(error))
}

/// The daemon closed the connection on which it would have reported the end of a container.
#[derive(Debug, thiserror::Error)]
#[error("a container was running")]
pub(super) struct HungUp;

/// Whether the connection failed, as when the daemon stops, rather than the action itself.
pub(super) fn is_lost(error: &ExecutorError) -> bool {
    let ExecutorError::Infrastructure {
        source: Some(source),
        ..
    } = error
    else {
        return false;
    };
    source.is::<HungUp>()
        || matches!(
            source.downcast_ref(),
            Some(DaemonError(
                Error::HyperResponseError { .. }
                    | Error::HyperLegacyError { .. }
                    | Error::IOError { .. }
                    | Error::SocketNotFoundError(_)
                    | Error::RequestTimeoutError
            ))
        )
}

/// Whether the daemon answered with this HTTP status.
pub(super) fn has_status(error: &Error, status: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// Checks that a daemon can run images for the architecture of this machine.
fn check_architecture(
    address: &DockerAddress,
    architecture: Option<&str>,
) -> Result<(), ExecutorError> {
    let host = Architecture::of_host();
    match architecture {
        Some(found) if found != host.as_str() && found != host.machine() => {
            Err(ExecutorError::infrastructure(format!(
                "the Docker daemon at {address} runs on {found}, but the builder images are for {host}"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_that_may_not_be_opened_names_its_group() {
        assert_eq!(
            group_name("root:x:0:\ndocker:x:997:ann,bob\n", 997),
            Some("docker")
        );
        assert_eq!(group_name("root:x:0:\nbroken\n", 997), None);
        let refused = || Error::IOError {
            err: io::ErrorKind::PermissionDenied.into(),
        };
        let error = unreachable("unix:///nonexistent/docker.sock", refused());
        assert_eq!(
            error.to_string(),
            "no permission to open the socket of the Docker daemon at unix:///nonexistent/docker.sock"
        );
        assert_eq!(error.help(), Some("run as root, or use `--executor local`"));
    }
}
