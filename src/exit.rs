//! Exit codes.

use std::process::ExitCode;

/// The exit status of the program.
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | every artifact of the plan is present |
/// | 1 | some artifacts are missing |
/// | 2 | the matrix, a lock, a list or the command line is invalid |
/// | 3 | infrastructure failure: no daemon, disk full, no network |
/// | 4 + 8 + 16 | of `known`: rules have expired, match nothing, or expect failures of builds that succeeded |
/// | 130 | interrupted |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Every artifact of the plan is present.
    Success,
    /// Some artifacts are missing.
    Incomplete,
    /// The matrix, a lock, a list or the command line is invalid.
    BadInput,
    /// The infrastructure failed.
    Infrastructure,
    /// A signal ended the run.
    Interrupted,
    /// Rules of a matrix are out of date; a sum of 4, 8 and 16.
    Findings(u8),
}

impl ExitStatus {
    /// Returns the status for the exit code of a run.
    pub fn of_run(code: u8) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::Incomplete,
            130 => Self::Interrupted,
            _ => Self::Infrastructure,
        }
    }

    /// Returns the status for the bits of findings; success if no bit is set.
    pub fn from_findings(bits: u8) -> Self {
        match bits {
            0 => Self::Success,
            bits => Self::Findings(bits),
        }
    }

    /// Returns the more severe of the two statuses, in the order 130, 3, 2, 1, findings, 0.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |status: Self| match status {
            Self::Findings(_) => (0, 0),
            status => (1, status.code()),
        };
        match (self, other) {
            (Self::Success, other) => other,
            (status, Self::Success) => status,
            (status, other) if rank(other) > rank(status) => other,
            (status, _) => status,
        }
    }

    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Incomplete => 1,
            Self::BadInput => 2,
            Self::Infrastructure => 3,
            Self::Interrupted => 130,
            Self::Findings(bits) => bits,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
