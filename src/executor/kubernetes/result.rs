//! Reads the result that a pod sent: one tar with the script's status, its log, and the content of `/out`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::time::Duration;

use crate::executor::{ExecutorError, Exit, Job, LogSink, output};
use crate::fs::blocking;

const RESULT_STATUS: &str = "status";

/// The maximum length of a status: a word and a number.
const STATUS_BYTES: u64 = 64;
const RESULT_LOG: &str = "log";

/// The end of the script, as reported by `pod/build.sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) exit: Exit,
    pub(super) wall: Duration,
}

/// Reads a result: writes the log to the sink and the outputs to the directory. Returns `None` if the script was killed
/// together with its container.
pub(super) async fn take(
    mut file: File,
    job: &Job,
    log: &mut dyn LogSink,
) -> Result<Option<Status>, ExecutorError> {
    let broken = |error: io::Error| ExecutorError::caused_by("failed to read a result", error);
    let mut status = read_head(&mut file, log).map_err(broken)?;
    if let Some(status) = &mut status {
        let (folder, limits) = (job.output.clone(), job.limits);
        let unpack = move || {
            file.rewind()?;
            output::unpack(&file, &folder, limits)
        };
        if !blocking(unpack).await.map_err(broken)? {
            status.exit = Exit::TooMuchOutput;
        }
    }
    Ok(status)
}

/// Reads the status and the log, which precede the outputs.
fn read_head(file: &mut File, log: &mut dyn LogSink) -> Result<Option<Status>, io::Error> {
    file.rewind()?;
    let mut status = None;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if name.as_os_str() == RESULT_STATUS {
            let mut text = String::new();
            (&mut entry).take(STATUS_BYTES).read_to_string(&mut text)?;
            status = parse_status(&text);
        } else if name.as_os_str() == RESULT_LOG {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = entry.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                log.write(&buffer[..count]);
            }
        } else {
            break;
        }
    }
    Ok(status)
}

fn parse_status(text: &str) -> Option<Status> {
    let (word, milliseconds) = text.trim().split_once(' ')?;
    let exit = match word {
        "timeout" => Exit::TimedOut,
        code => Exit::Code(code.parse().ok()?),
    };
    let wall = Duration::from_millis(milliseconds.parse().ok()?);
    Some(Status { exit, wall })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_code_or_a_timeout_and_a_time() {
        let status = |exit, milliseconds| {
            Some(Status {
                exit,
                wall: Duration::from_millis(milliseconds),
            })
        };
        assert_eq!(parse_status("0 15\n"), status(Exit::Code(0), 15));
        assert_eq!(parse_status("timeout 3001\n"), status(Exit::TimedOut, 3001));
        for text in ["", "0", "x 1", "1 x"] {
            assert_eq!(parse_status(text), None, "{text}");
        }
    }
}
