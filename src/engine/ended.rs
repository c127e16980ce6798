//! The limits of a build's jobs, and the failures of jobs that end with an error.

use std::time::Duration;

use crate::engine::halt::Halt;
use crate::error::chain;
use crate::executor::{Completion, ExecutorError, Exit, Limits};
use crate::failure::{Failure, FailureClass, Phase};
use crate::plan::Build;
use crate::script::{self, LogFindings};

/// Returns the failure of a job that did not exit with code 0, if it is one.
pub(super) fn failure_of(
    completion: &Completion,
    findings: &LogFindings,
    phase: Phase,
    limits: Limits,
) -> Option<Failure> {
    let failure = match completion.exit {
        Exit::Code(0) => return None,
        Exit::Code(code) => findings.clone().into_failure(phase, code),
        Exit::TimedOut => Failure::new(
            FailureClass::Timeout,
            phase,
            format!(
                "took longer than {} s; raise `timeout` in the matrix",
                limits.timeout.as_secs()
            ),
        ),
        Exit::OutOfMemory => Failure::new(
            FailureClass::OutOfMemory,
            phase,
            out_of_memory(limits, completion.resources.peak_memory_bytes),
        ),
        Exit::TooMuchOutput => Failure::new(
            FailureClass::TooMuchOutput,
            phase,
            format!(
                "wrote more than {} MiB or {} files to /out; raise `output` or `output_files` in the matrix: /out and \
                 /tmp may use half of it each",
                (limits.output_bytes / 2) >> 20,
                limits.output_files / 2
            ),
        ),
        Exit::Cancelled => Failure::new(FailureClass::Cancelled, phase, "interrupted"),
    };
    Some(failure)
}

fn out_of_memory(limits: Limits, peak_bytes: Option<u64>) -> String {
    let limit = limits.memory_bytes >> 20;
    let seen = peak_bytes.map_or_else(String::new, |bytes| {
        format!(" (highest use seen: {} MiB)", bytes >> 20)
    });
    format!("needed more than {limit} MiB; raise `memory` in the matrix{seen}")
}

/// Returns the limits of a build's jobs.
pub(super) fn limits_of(build: &Build) -> Limits {
    let settings = &build.settings;
    Limits {
        timeout: settings.timeout.max(Duration::from_secs(1)),
        memory_bytes: settings.memory_bytes,
        output_bytes: settings.output_bytes.unwrap_or(settings.memory_bytes),
        output_files: settings.output_files,
        processes: settings.processes,
    }
}

/// Returns the failure of a job whose script cannot be created.
pub(crate) fn script_failure(error: &script::ScriptError) -> Halt {
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    Failure::new(
        FailureClass::Configure,
        Phase::Configure,
        format!("{error} {cause}"),
    )
    .into()
}

/// Records the end of a job for `--log`.
pub(super) fn trace_end(job: &str, completion: &Result<Completion, ExecutorError>) {
    match completion {
        Ok(Completion { exit, resources }) => {
            tracing::debug!(job, ?exit, wall = ?resources.wall, "a job ended");
        }
        Err(error) => tracing::debug!(job, error = chain(error), "a job could not run"),
    }
}
