//! Runs openssl and signing commands: without a terminal for prompts, with a time limit, and without secrets in errors.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{About, SignError};
use crate::fs::in_words;

/// The time limit for signing one module, in case a token hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// The maximum number of lines of a program's stderr in an error.
const LINES: usize = 3;

/// Returns the command to run openssl with these arguments.
pub(super) fn openssl<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

/// Runs a program and returns its standard output if it succeeded. `doing` describes the task for the error message.
pub(super) async fn output(
    command: &mut Command,
    about: About,
    doing: &str,
    secret: Option<&str>,
) -> Result<Vec<u8>, SignError> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let running = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let Ok(ended) = tokio::time::timeout(LIMIT, running).await else {
        let seconds = LIMIT.as_secs();
        let message = format!("failed to {doing}: `{name}` did not finish within {seconds} s");
        return Err(SignError::new(about, message));
    };
    let output = ended.map_err(|error| {
        let message = format!(
            "failed to {doing}: `{name}` cannot be run: {}",
            in_words(&error)
        );
        let about = if name == "openssl" {
            About::Machine
        } else {
            about
        };
        let error = SignError::new(about, message);
        match about {
            About::Machine => error.with_help("install openssl, version 3 or later"),
            _ => error,
        }
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = format!("failed to {doing}: {}", words_of(&output, secret));
    Err(SignError::new(about, message))
}

/// Returns the stderr of a failed program, without `secret`.
fn words_of(output: &Output, secret: Option<&str>) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) => text.replace(secret, crate::redact::HIDDEN),
        None => text.into_owned(),
    };
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && *line != "Engine \"pkcs11\" set.");
    let mut said: Vec<&str> = Vec::new();
    for line in lines.map(reason).take(LINES) {
        // openssl and its engine may say the same.
        if !said.contains(&line) {
            said.push(line);
        }
    }
    if said.is_empty() {
        return output.status.to_string();
    }
    said.join("; ")
}

/// Extracts the reason from a line of openssl's error stack: `803B...:error:1C80:Provider
/// routines:function:reason:file.c:149:more`.
fn reason(line: &str) -> &str {
    let mut parts = line.split(':');
    match (parts.nth(1), parts.nth(3)) {
        (Some("error"), Some(reason)) => reason,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_contains_the_reason_and_no_secret() {
        let script = "echo 'Engine \"pkcs11\" set.' >&2; echo 'no key at hunter2' >&2; \
                      echo 'no key at hunter2' >&2; echo '80AB:error:1C8:Provider routines:f:bad decrypt:c.c:124:' >&2; exit 1";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let error = output(&mut command, About::Key, "read the key", Some("hunter2")).await;
        let message = error.unwrap_err().message;
        assert_eq!(
            message,
            "failed to read the key: no key at ***; bad decrypt"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let mut command = Command::new("/nowhere/sign-file");
        let error = output(&mut command, About::Command, "sign", None).await;
        let error = error.unwrap_err();
        assert!(error.message.contains("`/nowhere/sign-file` cannot be run"));
        assert_eq!(error.about, About::Command);
    }
}
