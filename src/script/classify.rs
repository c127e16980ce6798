//! What the log of a failed step says: the first compiler error, or what the toolchain lacks.
//!
//! In: the lines of one step's log, as they come. Out: [`LogFindings`]. Logs of good steps hold lines that look like
//! errors (configure checks that answer no, `expr: syntax error` in the probe's Makefile, programs that a Makefile
//! merely tries), so this is asked only about a step that failed, and it believes no tool that make did not see fail.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::SCRATCH;
use crate::failure::{CompilerError, Failure, FailureClass, Phase};

/// What the toolchain lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolchainDefect {
    /// A program that is not in the image.
    MissingProgram(String),
    /// A program of the kernel tree or image that is made for another machine.
    ForeignProgram(String),
    /// An option that the compiler does not know.
    UnknownFlag(String),
    /// A library, or a version of one, that a program needs.
    MissingLibrary(String),
    /// A header of a library that a program of the kernel is compiled with.
    MissingHeader(String),
    /// A compiler that the kernel's headers or Makefile refuse, in their words.
    RefusedCompiler(String),
}

impl fmt::Display for ToolchainDefect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingProgram(name) => write!(formatter, "the program {name} is missing"),
            Self::ForeignProgram(name) => {
                write!(formatter, "the program {name} is made for another machine")
            }
            Self::UnknownFlag(flag) => write!(formatter, "the compiler does not know {flag}"),
            Self::MissingLibrary(name) => write!(formatter, "the library {name} is missing"),
            Self::MissingHeader(name) => write!(formatter, "the library header {name} is missing"),
            Self::RefusedCompiler(words) => {
                write!(formatter, "the kernel refuses the compiler: {words}")
            }
        }
    }
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFindings {
    /// The first error of a compiler, linker, modpost or CMake.
    pub first_error: Option<CompilerError>,
    /// What the toolchain lacks.
    pub toolchain: Option<ToolchainDefect>,
}

impl LogFindings {
    /// The failure of a step whose script ended with `exit_code` and left this log.
    pub fn into_failure(self, phase: Phase, exit_code: i32) -> Failure {
        let class = match phase {
            _ if self.toolchain.is_some() => FailureClass::ToolchainMismatch,
            Phase::Configure => FailureClass::Configure,
            Phase::Prepare | Phase::Check => FailureClass::ToolchainMismatch,
            _ => FailureClass::Compile,
        };
        let message = match (&self.toolchain, &self.first_error) {
            (Some(defect), _) => defect.to_string(),
            (None, Some(error)) => error.to_string(),
            (None, None) => {
                format!("the script ended with exit code {exit_code} and named no error")
            }
        };
        Failure {
            class,
            phase,
            message,
            first_error: self.first_error,
            exit_code: Some(exit_code),
        }
    }
}

/// Reads the log of one step, line by line or in pieces that end anywhere.
pub struct LogClassifier {
    phase: Phase,
    findings: LogFindings,
    /// A program that could not be run; believed when make or the script then fails because of it.
    suspect: Option<ToolchainDefect>,
    /// The folders that nested makes have entered; relative paths begin in the last.
    folders: Vec<String>,
    /// A CMake error whose message is on the lines after it.
    cmake: Option<(String, u32)>,
    partial: Vec<u8>,
}

/// More of one line is not looked at; the longest compiler command of a kernel is about 4 KiB.
const LONGEST_LINE_BYTES: usize = 64 << 10;

struct Patterns {
    entering: Regex,
    leaving: Regex,
    compiler: Regex,
    compiler_without_place: Regex,
    modpost: Regex,
    linker: Regex,
    cmake: Regex,
    make_stop: Regex,
    program: Regex,
    make_program: Regex,
    foreign: Regex,
    flag: Regex,
    library: Regex,
    refused: Regex,
    not_found_status: Regex,
    header: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    let pattern = |text: &str| Regex::new(text).expect("a valid pattern");
    Patterns {
        entering: pattern(r"^make(?:\[\d+\])?: Entering directory '(.+)'$"),
        leaving: pattern(r"^make(?:\[\d+\])?: Leaving directory '"),
        compiler: pattern(r"^([^\s:][^:]*):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$"),
        compiler_without_place: pattern(
            r"^(?:\S*gcc\S*|\S*clang\S*|cc1(?:plus)?|llc|\S*[/-]as|\S*objcopy|\S*strip): (?:fatal )?(?:error: )+(.+)$",
        ),
        modpost: pattern(
            r#"^(?:ERROR|FATAL): (?:modpost: )?(?:"([^"]+)" \[([^\]]+)\] (undefined!)|(.+))$"#,
        ),
        linker: pattern(r"^(\S*(?:[/-]|\b)ld(?:\.\w+)?): (.+)$"),
        cmake: pattern(r"^CMake Error(?: at (.+?):(\d+) \(.+\))?:\s*(.*)$"),
        make_stop: pattern(r"^(?:([^\s:]+):(\d+)|make(?:\[\d+\])?): \*\*\* (.+?)\.?  Stop\.$"),
        program: pattern(
            r"(?:^|: )(?:line )?(?:\d+: )?([^\s:]+): (?:command )?not found$|^env: ['‘](.+)['’]: No such file or directory$",
        ),
        make_program: pattern(
            r"^make(?:\[\d+\])?: (?:exec: )?([^\s:]+): (?:No such file or directory|not found)$",
        ),
        foreign: pattern(r"([^\s:]+): (?:cannot execute(?: binary file)?: )?(?:Exec format error)"),
        flag: pattern(
            r"(?:unrecognized command[- ]line option|unknown argument:?|unrecognized argument in option|unsupported option|unsupported argument '[^']*' to option) ['‘]?([^'’;]+)",
        ),
        library: pattern(
            r"error while loading shared libraries: ([^:]+):|version `([^']+)' not found|please install (lib[\w.+-]+)|cannot load plugin (\S+?):?(?:\s|$)",
        ),
        refused: pattern(
            r"^(?:\S+:\d+: )?\*\*\* (.*[Cc]ompiler.*?)\.?(?:  Stop\.)?$|error: (?:#error )?(Sorry, your (?:version of )?(?:\w+ )?(?:compiler|GCC).*)$",
        ),
        header: pattern(r": fatal error: (\S+\.h): No such file or directory$"),
        not_found_status: pattern(r"^make(?:\[\d+\])?: \*\*\* \[.*\] Error 12[67]$"),
    }
});

impl LogClassifier {
    /// Starts with an empty log.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            findings: LogFindings::default(),
            suspect: None,
            folders: Vec::new(),
            cmake: None,
            partial: Vec::new(),
        }
    }

    /// Takes the next bytes of the log; they may end anywhere in a line.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.append(&bytes[..end]);
            let line = std::mem::take(&mut self.partial);
            self.line(&String::from_utf8_lossy(&line));
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE_BYTES.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Takes the next line, without its end.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some((file, number)) = self.cmake.take() {
            if line.trim().is_empty() {
                self.cmake = Some((file, number));
            } else {
                self.look_for_defects(line);
                self.found(file, number, line.trim());
            }
            return;
        }
        let patterns = &*PATTERNS;
        // Output of a check that make's $(info) prints; an answer, not an error.
        if line.starts_with("[configure-") {
            return;
        }
        if let Some(found) = patterns.entering.captures(line) {
            self.folders.push(found[1].to_owned());
            return;
        }
        if patterns.leaving.is_match(line) {
            self.folders.pop();
            return;
        }
        self.look_for_defects(line);
        if self.findings.first_error.is_none() {
            self.look_for_errors(line);
        }
    }

    fn look_for_defects(&mut self, line: &str) {
        if self.findings.toolchain.is_some() {
            return;
        }
        let patterns = &*PATTERNS;
        let capture = |pattern: &Regex| {
            let found = pattern.captures(line)?;
            let group = found.iter().skip(1).flatten().next()?;
            Some(group.as_str().trim().to_owned())
        };
        if patterns.not_found_status.is_match(line) {
            self.findings.toolchain = self.suspect.take();
        } else if let Some(flag) = is_error(line).then(|| capture(&patterns.flag)).flatten() {
            self.findings.toolchain = Some(ToolchainDefect::UnknownFlag(flag));
        } else if let Some(name) = (self.phase == Phase::Prepare)
            .then(|| capture(&patterns.header))
            .flatten()
        {
            self.findings.toolchain = Some(ToolchainDefect::MissingHeader(name));
        } else if let Some(words) = capture(&patterns.refused) {
            self.findings.toolchain = Some(ToolchainDefect::RefusedCompiler(words));
        } else if let Some(name) = capture(&patterns.library) {
            self.findings.toolchain = Some(ToolchainDefect::MissingLibrary(name));
        } else if let Some(name) = capture(&patterns.foreign) {
            self.suspect = Some(ToolchainDefect::ForeignProgram(name));
        } else if let Some(name) =
            capture(&patterns.make_program).or_else(|| capture(&patterns.program))
        {
            self.suspect = Some(ToolchainDefect::MissingProgram(name));
        } else if line.contains("No CMAKE_C_COMPILER could be found")
            || line.contains("No CMAKE_CXX_COMPILER could be found")
        {
            self.findings.toolchain = Some(ToolchainDefect::MissingProgram("c++".to_owned()));
        }
    }

    fn look_for_errors(&mut self, line: &str) {
        let patterns = &*PATTERNS;
        if let Some(found) = patterns.compiler.captures(line) {
            let number = found[2].parse().unwrap_or(0);
            let file = self.place(&found[1]);
            self.found(file, number, &found[3]);
        } else if let Some(found) = patterns.cmake.captures(line) {
            let file = found.get(1).map_or("CMakeLists.txt", |file| file.as_str());
            let file = file.strip_prefix(SCRATCH).unwrap_or(file);
            let file = file
                .trim_start_matches('/')
                .trim_start_matches("source/")
                .to_owned();
            let number = found
                .get(2)
                .and_then(|number| number.as_str().parse().ok())
                .unwrap_or(0);
            if found[3].is_empty() {
                self.cmake = Some((file, number));
            } else {
                self.found(file, number, &found[3]);
            }
        } else if let Some(found) = patterns.modpost.captures(line) {
            match (found.get(1), found.get(2), found.get(4)) {
                (Some(symbol), Some(module), _) => {
                    let file = self.place(module.as_str());
                    self.found(file, 0, &format!("symbol {} is undefined", symbol.as_str()));
                }
                (_, _, Some(message)) => self.found("modpost".to_owned(), 0, message.as_str()),
                _ => {}
            }
        } else if let Some(found) = patterns.compiler_without_place.captures(line) {
            let name = line.split(':').next().unwrap_or_default().to_owned();
            self.found(name, 0, &found[1]);
        } else if let Some(found) = patterns.linker.captures(line) {
            if !found[2].starts_with("warning") {
                self.found(found[1].to_owned(), 0, &found[2]);
            }
        } else if let Some(found) = patterns.make_stop.captures(line) {
            let (file, number) = match (found.get(1), found.get(2)) {
                (Some(file), Some(number)) => (
                    self.place(file.as_str()),
                    number.as_str().parse().unwrap_or(0),
                ),
                _ => ("make".to_owned(), 0),
            };
            self.found(file, number, &found[3]);
        }
    }

    fn found(&mut self, file: String, line: u32, message: &str) {
        self.findings
            .first_error
            .get_or_insert_with(|| CompilerError {
                file,
                line,
                message: message.to_owned(),
            });
    }

    /// A file's path, relative to the driver where it lies in it.
    fn place(&self, file: &str) -> String {
        let mut path = match self.folders.last() {
            Some(folder) if !file.starts_with('/') => format!("{folder}/{file}"),
            _ => file.to_owned(),
        };
        while path.contains("//") || path.contains("/./") {
            path = path.replace("//", "/").replace("/./", "/");
        }
        let driver = format!("{SCRATCH}/driver/");
        match path.strip_prefix(&driver) {
            Some(relative) => relative.to_owned(),
            None => path,
        }
    }

    /// The findings, once the log has ended.
    pub fn finish(mut self) -> LogFindings {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&String::from_utf8_lossy(&line));
        }
        // A script that fails for want of a program says nothing after it.
        if self.findings.toolchain.is_none() && self.findings.first_error.is_none() {
            self.findings.toolchain = self.suspect.take();
        }
        if self.phase == Phase::Configure
            && matches!(
                self.findings.toolchain,
                Some(ToolchainDefect::UnknownFlag(_))
            )
        {
            self.findings.toolchain = None;
        }
        self.findings
    }
}

/// Whether a line is an error: clang warns of options that it does not know, and goes on.
fn is_error(line: &str) -> bool {
    line.contains("error: ")
}

/// Reads a whole log.
pub fn classify_log<'a>(phase: Phase, lines: impl IntoIterator<Item = &'a str>) -> LogFindings {
    let mut classifier = LogClassifier::new(phase);
    for line in lines {
        classifier.line(line);
    }
    classifier.finish()
}

#[cfg(test)]
mod tests;
