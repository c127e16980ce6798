//! Starts bubblewrap, forwards its output, and ends it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::{ExecutorError, Limits, LogSink};
use super::group::{Group, Usage};
use super::outer::Outer;
use super::seccomp;

const PROGRAM: &str = "bwrap";

/// Prevents the sandbox's processes from creating user namespaces, in which they would regain capabilities.
pub(super) const FORBID_NAMESPACES: &str = "--disable-userns";

/// Enters the control groups given before `--`, closes inherited files (an open directory would be a way out of the
/// sandbox), and executes the rest of the command line. Bubblewrap reports on file 3, our standard output, whether it
/// ran the script, and reads the filter for system calls, the first argument, from file 4. All output of the script
/// goes to standard error.
const ENTER: &str = r#"
filter=$1
shift
while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done
shift
for file in /proc/$$/fd/*; do
  number=${file##*/}
  if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
done
exec 3>&1 1>&2 4< "$filter" || exit 125
exec "$@"
"#;

/// A shell that can close file descriptors of more than one digit.
const SHELL: &str = "/bin/bash";

const BUFFER_BYTES: usize = 64 << 10;

/// How much of the end of the output is kept for later inspection.
const TAIL_BYTES: usize = 4096;

/// How a sandbox ended.
pub(super) enum Ended {
    /// The script ended with this code.
    Code(i32),
    TimedOut,
    TooMuchOutput,
    Cancelled,
    /// Bubblewrap failed before it ran the script, with this error message.
    NoSandbox(String),
}

/// A running sandbox, killed on drop.
pub(super) struct Process {
    id: u32,
    handle: OwnedFd,
    output: Receiver,
    report: oneshot::Receiver<io::Result<Report>>,
    tail: Vec<u8>,
}

/// The result once all processes of a sandbox have ended.
struct Report {
    /// The status that bubblewrap wrote to file 3.
    told: String,
    usage: Usage,
}

impl Process {
    /// Starts bubblewrap with these arguments, in the control group if there is one.
    pub(super) fn start(
        outer: &Outer,
        arguments: Vec<OsString>,
        group: Option<Group>,
        limits: Limits,
    ) -> Result<Self, ExecutorError> {
        let mut command = Command::new(SHELL);
        command.args(["-c", ENTER, SHELL]).arg(seccomp::file()?);
        if let Some(group) = &group {
            command.args(group.entrances());
        }
        let largest_file = format!("--fsize={}", limits.bytes_each());
        command.args(["--", "prlimit", &largest_file]);
        if group.is_none() {
            let memory = format!("--as={}", limits.memory_bytes);
            let processes = format!("--nproc={}", limits.processes);
            command.args([&memory, &processes]);
        }
        command.arg("--");
        command
            .args(outer.command())
            .args([PROGRAM, "--json-status-fd", "3", "--seccomp", "4"])
            .args(arguments);
        let failed = |error: io::Error| {
            ExecutorError::caused_by(format!("failed to start {PROGRAM}"), error)
        };
        let (output, writer) = io::pipe().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(writer);
        let output = Receiver::from_owned_fd(output.into()).map_err(failed)?;

        let (send_handle, handle) = std::sync::mpsc::sync_channel(1);
        let (send_report, mut report) = oneshot::channel();
        // The sandbox dies with the thread that started it, so that thread must live as long as the sandbox.
        let thread = std::thread::Builder::new().name("sandbox".to_owned());
        thread
            .spawn(move || {
                let ended = supervise(command, group, &send_handle);
                // A dropped sandbox has no receiver.
                drop(send_report.send(ended));
            })
            .map_err(failed)?;
        match handle.recv() {
            Ok((id, handle)) => Ok(Self {
                id,
                handle,
                output,
                report,
                tail: Vec::new(),
            }),
            // The thread has ended and reports the reason.
            Err(_) => Err(match report.try_recv() {
                Ok(Err(error)) => failed(error),
                _ => ExecutorError::infrastructure(format!("failed to start {PROGRAM}")),
            }),
        }
    }

    /// The id of the process that creates the sandbox.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Forwards output until the sandbox ends or must be ended; returns when all its processes are gone.
    pub(super) async fn follow(
        &mut self,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
        deadline: Instant,
        too_much: impl Future<Output = ()>,
    ) -> Result<(Ended, Usage), ExecutorError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut is_open = true;
        let deadline = tokio::time::sleep_until(deadline.into());
        tokio::pin!(deadline, too_much);
        let (early, report) = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break (Some(Ended::Cancelled), None),
                () = &mut deadline => break (Some(Ended::TimedOut), None),
                () = &mut too_much => break (Some(Ended::TooMuchOutput), None),
                count = self.output.read(&mut buffer), if is_open => match count {
                    Ok(0) | Err(_) => is_open = false,
                    Ok(count) => self.pass_on(&buffer[..count], log),
                },
                report = &mut self.report => break (None, Some(report)),
            }
        };
        self.kill();
        if is_open && !matches!(early, Some(Ended::Cancelled)) {
            self.drain(&mut buffer, log).await;
        }
        let report = match report {
            Some(report) => report,
            None => (&mut self.report).await,
        };
        let report = match report {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                let message = format!("failed to wait for {PROGRAM}: {error}");
                return Err(ExecutorError::caused_by(message, error));
            }
            Err(error) => {
                return Err(ExecutorError::caused_by(
                    "the task that waits for a process was aborted",
                    error,
                ));
            }
        };
        let mut usage = report.usage;
        usage
            .was_out_of_memory
            .get_or_insert_with(|| self.said_out_of_memory());
        let ended = early.or_else(|| exit_code(&report.told).map(Ended::Code));
        Ok((ended.unwrap_or_else(|| self.no_sandbox()), usage))
    }

    /// Forwards the remaining output. All writers are gone or being killed, so the end is near.
    async fn drain(&mut self, buffer: &mut [u8], log: &mut dyn LogSink) {
        while let Ok(count) = self.output.read(buffer).await {
            if count == 0 {
                break;
            }
            self.pass_on(&buffer[..count], log);
        }
    }

    fn pass_on(&mut self, bytes: &[u8], log: &mut dyn LogSink) {
        log.write(bytes);
        self.tail.extend_from_slice(bytes);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }

    /// Whether the end of the output reports a failed allocation. Without a control group, OOM kills are not counted,
    /// but a program whose allocation failed usually says so at its end.
    fn said_out_of_memory(&self) -> bool {
        let text = String::from_utf8_lossy(&self.tail);
        let words = [
            "out of memory",
            "Cannot allocate memory",
            "memory exhausted",
        ];
        words.iter().any(|words| text.contains(words))
    }

    fn no_sandbox(&self) -> Ended {
        Ended::NoSandbox(String::from_utf8_lossy(&self.tail).trim().to_owned())
    }

    fn kill(&self) {
        // The process may already be gone. The kernel ends everything inside together with it.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the command until all its processes are gone.
fn supervise(
    mut command: Command,
    group: Option<Group>,
    send_handle: &std::sync::mpsc::SyncSender<(u32, OwnedFd)>,
) -> io::Result<Report> {
    let mut child = command.spawn()?;
    // The command holds the write end of the output pipe, whose reader waits for the end.
    drop(command);
    let handle = Pid::from_raw(child.id().try_into().unwrap_or_default())
        .ok_or_else(|| io::Error::other("no process id"))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    let sent = handle.and_then(|handle| {
        let sent = send_handle.send((child.id(), handle));
        sent.map_err(io::Error::other)
    });
    if let Err(error) = sent {
        // Without the handle, the sandbox could not be stopped later.
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    let mut told = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut told)?;
    }
    child.wait()?;
    // Everything inside is being killed; removing the group waits until it is gone.
    let usage = group.as_ref().map(Group::usage).unwrap_or_default();
    drop(group);
    Ok(Report { told, usage })
}

/// Returns the script's exit code, or `None` if the script never ran.
fn exit_code(told: &str) -> Option<i32> {
    serde_json::Deserializer::from_str(told)
        .into_iter::<serde_json::Value>()
        .filter_map(Result::ok)
        .find_map(|document| document.get("exit-code")?.as_i64()?.try_into().ok())
}

/// Returns the version of bubblewrap.
pub(super) async fn version() -> Result<String, ExecutorError> {
    let output = bubblewrap(&["--version"]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .last()
        .unwrap_or_default()
        .to_owned())
}

/// Checks that sandboxes can be created; the error says what to do. Returns whether bubblewrap can forbid namespaces in
/// a sandbox, which requires version 0.8 and a writable `/proc/sys`.
pub(super) async fn check_sandbox() -> Result<bool, ExecutorError> {
    let usual = "--unshare-all --unshare-user --uid 65534 --ro-bind / / --proc /proc --dev /dev /bin/sh -c :";
    let usual: Vec<&str> = usual.split(' ').collect();
    let forbidding: Vec<&str> = std::iter::once(FORBID_NAMESPACES)
        .chain(usual.iter().copied())
        .collect();
    if try_out(&forbidding).await?.status.success() {
        return Ok(true);
    }
    let output = try_out(&usual).await?;
    if output.status.success() {
        return Ok(false);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim().trim_end_matches('.');
    let help = if rustix::process::getuid().is_root() {
        "as root, it needs the capability CAP_SYS_ADMIN, and user namespaces for the user nobody"
    } else {
        "it needs user namespaces"
    };
    Err(ExecutorError::infrastructure(format!(
        "executor `local` cannot create a sandbox on this machine: {words}; {help} (sysctl \
         kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0, \
         kernel.apparmor_restrict_unprivileged_userns=0; inside a container they are mostly forbidden): allow them or \
         use `--executor docker`"
    )))
}

/// Creates a sandbox the same way as for a job.
async fn try_out(arguments: &[&str]) -> Result<std::process::Output, ExecutorError> {
    let outer = Outer::new(None).command();
    let words = outer.iter().map(OsString::as_os_str);
    let arguments = arguments.iter().map(OsStr::new);
    let words: Vec<&OsStr> = words
        .chain(std::iter::once(OsStr::new(PROGRAM)))
        .chain(arguments)
        .collect();
    // The first word is the program in both cases.
    bubblewrap(&words[1..]).await
}

async fn bubblewrap(
    arguments: &[impl AsRef<OsStr>],
) -> Result<std::process::Output, ExecutorError> {
    let output = tokio::process::Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await;
    output.map_err(|error| {
        let message = if error.kind() == io::ErrorKind::NotFound {
            "executor `local` needs the program bwrap: install package bubblewrap".to_owned()
        } else {
            format!("failed to start {PROGRAM}: {error}")
        };
        ExecutorError::caused_by(message, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_told_last() {
        let start = "{\n    \"child-pid\": 17,\n    \"net-namespace\": 4\n}\n";
        assert_eq!(exit_code(start), None);
        assert_eq!(
            exit_code(&format!("{start}{{ \"exit-code\": 3 }}\n")),
            Some(3)
        );
        assert_eq!(exit_code(""), None);
        assert_eq!(exit_code("rubbish"), None);
    }
}
