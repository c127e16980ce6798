//! The result of a module or probe in a proof.

use std::fmt;

use serde::Serialize;

use super::report;
use crate::failure::CompilerError;

/// The result of a module or probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The kernel loaded, used and unloaded the module.
    Loaded {
        /// The number of character devices that it created.
        devices: i64,
        /// The number of its parameters.
        parameters: i64,
    },
    /// The kernel loaded all programs of a probe.
    #[serde(rename = "loaded")]
    TakenPrograms {
        /// The number of programs.
        programs: i64,
        /// The number of maps that they use.
        maps: i64,
    },
    /// It could not be tested, because the kernel or the probe does not support it.
    NotProven {
        /// The reason.
        reason: String,
    },
    /// The kernel refused to load it.
    Refused {
        /// The error number of the system call.
        error: i64,
        /// What the kernel printed.
        words: String,
    },
    /// The kernel crashed.
    Oops {
        /// The start of the crash report.
        trace: String,
    },
    /// The kernel printed a warning with a trace.
    Warning {
        /// The start of the report.
        trace: String,
    },
    /// It was loaded but does not work.
    Unusable {
        /// What does not work.
        reason: String,
    },
    /// It taints the kernel for other reasons than being out-of-tree and unsigned.
    Tainted {
        /// The kernel's taint bits for the unexpected reasons.
        taints: i64,
    },
    /// It could not be unloaded.
    NotUnloaded {
        /// The error number of the system call.
        error: i64,
        /// What the kernel printed.
        words: String,
    },
    /// A step did not finish before the boot timed out.
    TimedOut {
        /// The last step that finished, or `load`.
        after: String,
    },
}

impl Verdict {
    /// Returns true if the module or probe may be published.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Loaded { .. } | Self::TakenPrograms { .. })
    }

    /// Returns the headline of the kernel's report about a crash or a defect, with the place in its code.
    pub fn first_error(&self) -> Option<CompilerError> {
        match self {
            Self::Oops { trace } | Self::Warning { trace } => {
                Some(CompilerError::new("kernel", 0, &report::headline(trace)))
            }
            _ => None,
        }
    }

    /// Returns true if the kernel can still be used to test another module.
    pub(super) fn leaves_kernel_sound(&self) -> bool {
        self.is_good() || matches!(self, Self::Refused { .. } | Self::NotProven { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded {
                devices,
                parameters,
            } => write!(
                formatter,
                "loaded ({devices} devices, {parameters} parameters)"
            ),
            Self::TakenPrograms { programs, maps } => {
                write!(formatter, "loaded ({programs} programs, {maps} maps)")
            }
            Self::NotProven { reason } => write!(formatter, "not proven: {reason}"),
            Self::Refused { error, words } => {
                write!(formatter, "refused, {}", with_words(*error, words))
            }
            Self::Oops { trace } => write!(formatter, "the kernel crashed: {trace}"),
            Self::Warning { trace } => write!(formatter, "the kernel warned: {trace}"),
            Self::Unusable { reason } => write!(formatter, "loaded, but {reason}"),
            Self::Tainted { taints } => {
                write!(
                    formatter,
                    "loaded, but it taints the kernel: bits {taints:#x}"
                )
            }
            Self::NotUnloaded { error, words } => {
                write!(
                    formatter,
                    "cannot be unloaded, {}",
                    with_words(*error, words)
                )
            }
            Self::TimedOut { after } => {
                write!(formatter, "the boot ended during or after step `{after}`")
            }
        }
    }
}

/// The names of the errors with which modules usually fail.
const ERRORS: &[(i64, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (19, "ENODEV"),
    (22, "EINVAL"),
    (28, "ENOSPC"),
    (38, "ENOSYS"),
    (74, "EBADMSG"),
    (95, "EOPNOTSUPP"),
    (110, "ETIMEDOUT"),
    (126, "ENOKEY"),
    (129, "EKEYREJECTED"),
];

/// Returns an error number with what the kernel printed.
fn with_words(error: i64, words: &str) -> String {
    let error = -error;
    if !words.is_empty() {
        return format!("error {error}: {words}");
    }
    let name = ERRORS.iter().find(|(number, _)| *number == error);
    let name = name.map(|(_, name)| format!(" ({name})"));
    format!(
        "error {error}{}; the kernel printed nothing",
        name.unwrap_or_default()
    )
}
