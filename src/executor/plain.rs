//! Runs jobs on this machine without any isolation, for machines on which no sandbox can be created.
//!
//! There are no guarantees: a script runs as the user of this process, even if that is root. Do not use this for
//! untrusted drivers (SECURITY.md).
//!
//! Input: a [`Job`] with this machine's own compilers. Output: see [`Executor`], except that a script sees everything
//! that this process sees, and only its run time and the content of `/out` are limited. Scripts get the paths that
//! other executors mount at fixed places from environment variables (`templates/prelude.sh`); header trees must be
//! installed at their usual paths.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{
    Completion, Executor, ExecutorError, Exit, Job, LogSink, Resources, Toolchain, output, sandbox,
    writes,
};
use crate::digest::{KeyBuilder, Sha256};

const BUFFER_BYTES: usize = 64 << 10;

/// The mount point of the driver in a sandbox.
const DRIVER: &str = "/driver";

/// Runs jobs without a sandbox.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainExecutor;

impl PlainExecutor {
    /// Returns the identity, in keys, of a toolchain of this machine that is not isolated from the rest of the machine.
    pub fn identity(toolchain: Sha256) -> Sha256 {
        KeyBuilder::new("without a sandbox", 1)
            .field("toolchain", toolchain)
            .key()
    }

    async fn run_plain(
        self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        if let Toolchain::Image { name, .. } = &job.toolchain {
            return Err(ExecutorError::Image {
                image: name.clone(),
                message: "an image needs a sandbox; use this machine's compilers".to_owned(),
            });
        }
        job.without_network("local")?;
        let scratch = tempfile::Builder::new()
            .prefix("driverkit-matrix-")
            .tempdir()
            .map_err(|error| ExecutorError::caused_by("no scratch directory", error))?;
        let mut job = job.clone();
        let mut tell = |name: &str, path: &Path| {
            let pair = (name.to_owned(), path.display().to_string());
            job.environment.push(pair);
        };
        tell("DRIVERKIT_MATRIX_SCRATCH", scratch.path());
        tell("DRIVERKIT_MATRIX_OUT", &job.output.clone());
        for mount in &job.mounts.clone() {
            if mount.target == Path::new(DRIVER) {
                tell("DRIVERKIT_MATRIX_DRIVER", &mount.source);
            } else if !mount.target.is_dir() {
                return Err(ExecutorError::infrastructure(format!(
                    "{} is missing; without a sandbox, it must be installed",
                    mount.target.display()
                )));
            }
        }
        let words = sandbox::command(&job)?;
        let failed =
            |error: std::io::Error| ExecutorError::caused_by("failed to start a script", error);
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true);
        let start = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the write ends of the pipe.
        drop(command);
        let mut output =
            tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        let exit = follow(&mut child, &mut output, log, cancel, &job)
            .await
            .map_err(failed)?;
        let resources = Resources {
            wall: start.elapsed(),
            ..Resources::default()
        };
        Ok(output::take_over(&job, Completion { exit, resources })?)
    }
}

/// Passes output on until the script and all its children have ended or must be ended.
async fn follow(
    child: &mut Child,
    output: &mut (impl AsyncRead + Unpin),
    log: &mut dyn LogSink,
    cancel: &CancellationToken,
    job: &Job,
) -> std::io::Result<Exit> {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let deadline = tokio::time::sleep(job.limits.timeout);
    tokio::pin!(deadline);
    let too_much = writes::exceed(&job.output, job.limits);
    tokio::pin!(too_much);
    let mut buffer = vec![0; BUFFER_BYTES];
    let early = loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break Some(Exit::Cancelled),
            () = &mut deadline => break Some(Exit::TimedOut),
            () = &mut too_much => break Some(Exit::TooMuchOutput),
            count = output.read(&mut buffer) => match count? {
                // All writers have ended.
                0 => break None,
                count => log.write(&buffer[..count]),
            },
        }
    };
    if let (Some(group), Some(_)) = (group, early) {
        // The group may already be gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().await?;
    Ok(early.unwrap_or_else(|| Exit::Code(status.code().unwrap_or(137))))
}

#[async_trait]
impl Executor for PlainExecutor {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        Ok("without a sandbox".to_owned())
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.run_plain(job, log, cancel).await
    }
}
