//! The findings in a log, and the failure derived from them.

use std::fmt;
use std::path::Path;

use super::machine::{self, MachineFault};
use crate::failure::{CompilerError, Failure, FailureClass, Phase};

/// A defect of the toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolchainDefect {
    /// A program that is not in the image.
    MissingProgram(String),
    /// A program of the kernel tree or image that was built for another architecture.
    ForeignProgram(String),
    /// A program that is not executable.
    NotExecutable(String),
    /// An option that the compiler does not support.
    UnknownFlag(String),
    /// A library, or a version of one, that a program needs.
    MissingLibrary(String),
    /// A library header needed to compile a program of the kernel.
    MissingHeader(String),
    /// A compiler that the kernel's headers or Makefile reject, with their message.
    RefusedCompiler(String),
}

impl fmt::Display for ToolchainDefect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingProgram(name) => write!(formatter, "the program {name} is missing"),
            Self::ForeignProgram(name) => {
                write!(
                    formatter,
                    "the program {name} was built for another architecture"
                )
            }
            Self::NotExecutable(name) => write!(
                formatter,
                "the program {name} is not executable (its mode, or a noexec mount)"
            ),
            Self::UnknownFlag(flag) => write!(formatter, "the compiler does not support {flag}"),
            Self::MissingLibrary(name) => write!(formatter, "the library {name} is missing"),
            Self::MissingHeader(name) => write!(formatter, "the library header {name} is missing"),
            Self::RefusedCompiler(words) => {
                write!(formatter, "the kernel rejects the compiler: {words}")
            }
        }
    }
}

/// The findings in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFindings {
    /// The first error of a compiler, linker, modpost or CMake.
    pub first_error: Option<CompilerError>,
    /// The defect of the toolchain.
    pub toolchain: Option<ToolchainDefect>,
    /// Why the kernel tree is unusable: the message of its makefiles or the compiler.
    pub tree: Option<String>,
    /// The last lines that are not noise; shown if no pattern matched.
    pub last_lines: Vec<String>,
    /// The fault of the machine, if any.
    pub machine: Option<MachineFault>,
}

impl LogFindings {
    /// Returns the failure of a step whose script exited with `exit_code` and wrote this log.
    pub fn into_failure(self, phase: Phase, exit_code: i32) -> Failure {
        if let Some((class, message)) = self.fault_of_machine(exit_code) {
            return Failure {
                exit_code: Some(exit_code),
                ..Failure::new(class, phase, message)
            };
        }
        let class = match phase {
            _ if self.tree.is_some() => FailureClass::WrongHeaders,
            _ if self.toolchain.is_some() => FailureClass::ToolchainMismatch,
            Phase::Configure => FailureClass::Configure,
            Phase::Prepare | Phase::Check => FailureClass::ToolchainMismatch,
            _ => FailureClass::Compile,
        };
        let message = match (&self.tree, &self.toolchain, &self.first_error) {
            (Some(words), ..) => format!("the header tree is not complete: {words}"),
            (None, Some(defect), _) => defect.to_string(),
            (None, None, Some(error)) => error.to_string(),
            (None, None, None) if self.last_lines.is_empty() => {
                format!("the script ended with exit code {exit_code} and printed nothing")
            }
            (None, None, None) => format!(
                "the script ended with exit code {exit_code}; its last lines: {}",
                self.last_lines.join(" | ")
            ),
        };
        Failure {
            first_error: self.first_error,
            exit_code: Some(exit_code),
            ..Failure::new(class, phase, message)
        }
    }

    /// Blames the machine for a full file system if one of these directories is on a full disk; otherwise the job hit
    /// its own limit.
    pub fn blame_full_disk<const N: usize>(
        &mut self,
        folders: [&Path; N],
        is_full: impl Fn(&Path) -> bool,
    ) {
        if let Some(MachineFault::NoSpace(line)) = &self.machine
            && let Some(folder) = folders.into_iter().find(|folder| is_full(folder))
        {
            let message = format!("the disk of {} is full: {line}", folder.display());
            self.machine = Some(MachineFault::Other(message));
        }
    }

    /// Returns true if the log contains no error that a pattern matches.
    fn says_nothing(&self) -> bool {
        self.tree.is_none() && self.toolchain.is_none() && self.first_error.is_none()
    }

    /// Returns class and message if the machine, not the driver, is at fault.
    fn fault_of_machine(&self, exit_code: i32) -> Option<(FailureClass, String)> {
        let signal = machine::signal_of(exit_code);
        let fault = match (&self.machine, signal) {
            (Some(fault), _) => fault,
            (None, Some(machine::FILE_SIZE_SIGNAL)) => {
                &MachineFault::FileTooLarge("the script was killed by SIGXFSZ".to_owned())
            }
            (None, Some(signal)) => &MachineFault::Other(format!(
                "the script was killed by signal {signal}, and no limit of the job was the reason"
            )),
            (None, None) if machine::is_of_no_program(exit_code) && self.says_nothing() => {
                &MachineFault::Other(format!(
                    "the script ended with exit code {exit_code} and without an error message, as a container that the \
                     runtime has lost"
                ))
            }
            (None, None) => return None,
        };
        Some(match fault {
            MachineFault::NoSpace(line) => (
                FailureClass::TooMuchOutput,
                format!("the job's file system is full ({line}); raise `output` in the matrix"),
            ),
            MachineFault::FileTooLarge(line) => (
                FailureClass::TooMuchOutput,
                format!("a file became too large ({line}); raise `output` in the matrix"),
            ),
            MachineFault::Other(line) => (
                FailureClass::Infrastructure,
                format!("the step failed because of the machine: {line}"),
            ),
        })
    }
}
