//! What all sandboxes have in common: the command line, the environment, the fixed names.

use std::path::Path;

use super::{ExecutorError, Job};
use crate::fs::FileError;

/// The directory inside the sandbox that receives outputs.
pub(super) const OUT: &str = "/out";

/// The empty, writable directory inside the sandbox; also the home and working directory.
pub(super) const TMP: &str = "/tmp";

/// The default host name inside the sandbox.
pub(super) const HOSTNAME: &str = "builder";

/// The user and group id of `nobody`, used for scripts if this program runs as root.
pub(super) const NOBODY: u32 = 65534;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest single argument that Linux accepts, including its terminating zero byte.
const ARGUMENT_LIMIT_BYTES: usize = 128 << 10;

/// Returns the user and group id that a script runs with.
pub(super) fn user() -> (u32, u32) {
    let user = rustix::process::getuid();
    if user.is_root() {
        (NOBODY, NOBODY)
    } else {
        (user.as_raw(), rustix::process::getgid().as_raw())
    }
}

/// Makes the script's user the owner of the output directory.
pub(super) fn open_to_user(folder: &Path) -> Result<(), FileError> {
    if rustix::process::getuid().is_root() {
        let (user, group) = user();
        std::os::unix::fs::chown(folder, Some(user), Some(group))
            .map_err(FileError::of("change the owner of", folder))?;
    }
    Ok(())
}

/// Returns the command line that runs the job's script with the job's environment only. An image's own variables are
/// not part of its identity, so they must not be visible.
pub(super) fn command(job: &Job) -> Result<Vec<String>, ExecutorError> {
    if job.script.len() >= ARGUMENT_LIMIT_BYTES {
        return Err(ExecutorError::infrastructure(format!(
            "the script of {} has {} bytes; at most {} can be passed",
            job.name,
            job.script.len(),
            ARGUMENT_LIMIT_BYTES - 1
        )));
    }
    let fixed = [
        ("PATH", PATH),
        ("HOME", TMP),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
    ];
    let mut words = vec!["/usr/bin/env".to_owned(), "-i".to_owned()];
    // The last value of a variable counts, so a job can override the fixed ones.
    words.extend(fixed.iter().map(|(name, value)| format!("{name}={value}")));
    words.extend(
        job.environment
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    words.extend(["/bin/sh", "-e", "-c"].map(str::to_owned));
    words.push(job.script.clone());
    Ok(words)
}
