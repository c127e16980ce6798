//! Faults of the machine in a log: full disks, broken disks, killed programs.
//!
//! The driver is not to blame and the fault may not recur, so a failure with such a line is never cached.

use std::sync::LazyLock;

use regex::Regex;

/// Matches what programs write after the text of an error number, up to the end of the line: quotes, the place in a Perl
/// script, the number in Rust, the file in Python.
macro_rules! end_of_error {
    () => {
        r"('|\.|\)| at .* line [0-9]+\.?| \(os error [0-9]+\)|: '[^']*')?$"
    };
}

/// Matches the message of a full file system: the job's own, which has a limit, or the machine's.
const NO_SPACE: &str = concat!("No space left on device", end_of_error!());

/// Matches the message of a file that exceeds the job's limit (SIGXFSZ, EFBIG).
const FILE_TOO_LARGE: &str = r"File size limit exceeded|: File too large('|\.)?$|signal 25( |,|$)";

/// Matches messages of a failing disk, a killed program or a crashed compiler. Bad memory, the kernel's OOM killer and
/// a disk that fails under a mapped file all end in an internal compiler error, with a signal or a failed assertion.
/// The log does not distinguish them from a compiler bug.
const OTHERS: &str = concat!(
    r"(Disk quota exceeded|Input/output error|Stale file handle|Read-only file system|Cannot allocate memory",
    r"|fork: (retry: )?Resource temporarily unavailable)",
    end_of_error!(),
    r"|out of memory allocating [0-9]+ bytes|LLVM ERROR: out of memory|virtual memory exhausted",
    r"|([Kk]illed|Terminated) signal terminated program|terminated (with|by) signal 9",
    r"|(^|: ) *([0-9]+ +)?(Killed|Terminated|Bus error|Segmentation fault|Aborted)( \(core dumped\))?( *$|  )",
    r"|\*\*\* \[.*\] (Killed|Terminated|Bus error|Segmentation fault|Aborted|Error (129|13[0-9]|14[0-3]))",
    r"|internal compiler error: |frontend command failed (with exit code 1[2-4][0-9]|due to signal)",
    r"|unable to execute command: (Segmentation fault|Bus error|Killed|Aborted)",
    r"|^check .* was interrupted",
);

/// All of these as one pattern, in the syntax that `grep -E` and this program share: a configure check with such a line
/// in its log has no valid answer.
pub(in crate::script) static ANY: LazyLock<String> =
    LazyLock::new(|| format!("{NO_SPACE}|{FILE_TOO_LARGE}|{OTHERS}"));

/// A fault of the machine, with the line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineFault {
    /// A file system is full.
    NoSpace(String),
    /// A file exceeded the size limit.
    FileTooLarge(String),
    /// A disk failed, a program was killed, or a compiler crashed.
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
    /// Returns the fault that a line of a log reports.
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

/// Returns the signal encoded in an exit code above 128.
pub(super) fn signal_of(exit_code: i32) -> Option<i32> {
    (129..=192).contains(&exit_code).then(|| exit_code - 128)
}

/// Returns true for an exit code above those of signals: container runtimes report 255 for a container that they lost.
pub(super) fn is_of_no_program(exit_code: i32) -> bool {
    exit_code > 192
}

/// The signal for exceeding the file size limit: SIGXFSZ.
pub(super) const FILE_SIZE_SIGNAL: i32 = 25;
