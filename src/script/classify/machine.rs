//! What a log says about the machine: full disks, broken disks, programs that were killed.
//!
//! None of it is the driver's doing, and none of it need happen again: a failure with such a line is never an outcome.

use std::sync::LazyLock;

use regex::Regex;

/// A line that says that a file system is full: the job's own, which has a limit, or the machine's.
const NO_SPACE: &str = r"No space left on device('|\.|\)| at .* line [0-9]+\.?)?$";

/// A line that says that a file became larger than the job's limit (SIGXFSZ, EFBIG).
const FILE_TOO_LARGE: &str = r"File size limit exceeded|: File too large('|\.)?$|signal 25( |,|$)";

/// A line of a disk that fails, of a program that was killed, or of a compiler that broke. Bad memory, the kernel's OOM
/// killer and a disk that fails under a mapped file all end in an internal compiler error, with a signal or with a
/// failed assertion, and the log does not tell them from a bug of the compiler.
const OTHERS: &str = concat!(
    r"(Disk quota exceeded|Input/output error|Stale file handle)('|\.|\)| at .* line [0-9]+\.?)?$",
    r"|[Kk]illed signal terminated program|terminated (with|by) signal 9",
    r"|(^|: )([0-9]+ )?Killed( *$|  )",
    r"|\*\*\* \[.*\] (Killed|Terminated|Bus error|Error (135|137|143))",
    r"|internal compiler error: ",
    r"|unable to execute command: (Segmentation fault|Bus error|Killed|Aborted)",
    r"|^check .* was interrupted",
);

/// All of these as one pattern, in the syntax that `grep -E` and this program share: a configure check whose log has
/// such a line has answered nothing.
pub(in crate::script) static ANY: LazyLock<String> =
    LazyLock::new(|| format!("{NO_SPACE}|{FILE_TOO_LARGE}|{OTHERS}"));

/// What the machine did, in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineFault {
    /// A file system is full.
    NoSpace(String),
    /// A file became larger than it may be.
    FileTooLarge(String),
    /// A disk failed, or a program was killed.
    Other(String),
}

struct Patterns {
    no_space: Regex,
    file_too_large: Regex,
    others: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    let pattern = |text: &str| Regex::new(text).expect("a valid pattern");
    Patterns {
        no_space: pattern(NO_SPACE),
        file_too_large: pattern(FILE_TOO_LARGE),
        others: pattern(OTHERS),
    }
});

impl MachineFault {
    /// What a line of a log says about the machine.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        let said = || line.trim().to_owned();
        if PATTERNS.no_space.is_match(line) {
            Some(Self::NoSpace(said()))
        } else if PATTERNS.file_too_large.is_match(line) {
            Some(Self::FileTooLarge(said()))
        } else {
            PATTERNS.others.is_match(line).then(|| Self::Other(said()))
        }
    }
}

/// The signal that an exit code above 128 stands for.
pub(super) fn signal_of(exit_code: i32) -> Option<i32> {
    (129..=192).contains(&exit_code).then(|| exit_code - 128)
}

/// The signal of a process that wrote beyond its largest file.
pub(super) const FILE_SIZE_SIGNAL: i32 = 25;
