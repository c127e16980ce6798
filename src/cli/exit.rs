//! Exit codes.

use std::process::ExitCode;

use crate::run::RunResult;

/// How the program ends.
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | everything that was wanted is there |
/// | 1 | some artifacts are not there |
/// | 2 | the matrix, a lock, a list or the command line is wrong |
/// | 3 | something around the program is broken: no daemon, disk full, no network |
/// | 130 | interrupted |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Everything that was wanted is there.
    Success = 0,
    /// Some artifacts are not there.
    Incomplete = 1,
    /// The matrix, a lock, a list or the command line is wrong.
    BadInput = 2,
    /// Something around the program is broken.
    Infrastructure = 3,
    /// A signal ended the run.
    Interrupted = 130,
}

impl ExitStatus {
    /// How the program ends after a run.
    pub(super) fn of(result: &RunResult) -> Self {
        match result.exit_code() {
            0 => Self::Success,
            1 => Self::Incomplete,
            130 => Self::Interrupted,
            _ => Self::Infrastructure,
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
