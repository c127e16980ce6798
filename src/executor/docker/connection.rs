//! Finds the daemon and says what to do when there is none.

use std::io;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;

use super::super::ExecutorError;

/// The first API version that has everything used here (Docker 20.10).
const LEAST_API: (u32, u32) = (1, 41);

const USUAL_ADDRESS: &str = "unix:///var/run/docker.sock";

/// How long the daemon may take to begin its answer. Importing an image answers only at its end.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(15);

/// Connects, and asks the daemon for its version.
pub(super) async fn connect(address: Option<&str>) -> Result<Docker, ExecutorError> {
    let shown = address.unwrap_or(USUAL_ADDRESS);
    let docker = Docker::connect_with_host(shown)
        .map_err(|error| unreachable(shown, error))?
        .with_timeout(ANSWER_TIMEOUT);
    let version = docker
        .version()
        .await
        .map_err(|error| unreachable(shown, error))?;
    let api = version.api_version.unwrap_or_default();
    let parts = api.split_once('.');
    let numbers = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    if numbers < Some(LEAST_API) {
        return Err(ExecutorError::infrastructure(format!(
            "the Docker daemon at {shown} has API version {api}; 1.41 (Docker 20.10) is the least"
        )));
    }
    Ok(docker)
}

fn unreachable(address: &str, error: Error) -> ExecutorError {
    let advice = match io_kind(&error) {
        Some(io::ErrorKind::PermissionDenied) => {
            "this user may not use it: run as root or join the group `docker`, or take `--executor local`"
        }
        _ => {
            "install and start one (Debian: package docker.io), set DOCKER_HOST, or take `--executor local`"
        }
    };
    ExecutorError::caused_by(
        format!(
            "no Docker daemon answers at {address}: {}; {advice}",
            chain(&error)
        ),
        error,
    )
}

/// The I/O error at the bottom, if it is one.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        if let Some(Error::SocketNotFoundError(_)) = error.downcast_ref() {
            return Some(io::ErrorKind::NotFound);
        }
        next = error.source();
    }
    None
}

/// The error with its causes, each said once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

/// An error of the daemon while it was to do something: `start the container`.
pub(super) fn failure(action: &str, error: Error) -> ExecutorError {
    ExecutorError::caused_by(
        format!("the Docker daemon failed to {action}: {}", chain(&error)),
        error,
    )
}

/// Whether the daemon answered with this HTTP status.
pub(super) fn has_status(error: &Error, status: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}
