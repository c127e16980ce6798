//! What the log of a failed step says: the first compiler error, what the toolchain lacks, or what is wrong with the
//! kernel tree.
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
    /// A program that may not be executed.
    NotExecutable(String),
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
            Self::NotExecutable(name) => write!(
                formatter,
                "the program {name} may not be executed (its mode, or a mount without exec)"
            ),
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
    /// Why the kernel tree cannot be built against, in the words of its makefiles or the compiler.
    pub tree: Option<String>,
    /// The last lines that are not noise: what is shown where no pattern matched.
    pub last_lines: Vec<String>,
}

impl LogFindings {
    /// The failure of a step whose script ended with `exit_code` and left this log.
    pub fn into_failure(self, phase: Phase, exit_code: i32) -> Failure {
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
    /// What may be the reason, or only a complaint: believed where nothing else is found.
    doubtful: Option<CompilerError>,
    partial: Vec<u8>,
}

/// More of one line is not looked at; the longest compiler command of a kernel is about 4 KiB.
const LONGEST_LINE_BYTES: usize = 64 << 10;

/// How many last lines a message shows, and how much of each.
const LAST_LINES: usize = 3;
const LAST_LINE_CHARACTERS: usize = 200;

struct Patterns {
    entering: Regex,
    leaving: Regex,
    compiler: Regex,
    internal_error: Regex,
    assembler: Regex,
    objtool: Regex,
    btf: Regex,
    tree: Regex,
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
    sanitizer: Regex,
    not_executable: Regex,
    noise: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    let pattern = |text: &str| Regex::new(text).expect("a valid pattern");
    Patterns {
        entering: pattern(r"^make(?:\[\d+\])?: Entering directory '(.+)'$"),
        leaving: pattern(r"^make(?:\[\d+\])?: Leaving directory '"),
        compiler: pattern(r"^([^\s:][^:]*):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$"),
        internal_error: pattern(
            r"^([^\s:][^:]*)(?::(\d+))?(?::\d+)?: (internal compiler error: .+)$",
        ),
        // gas: `main.s: Fatal error: ...`, `{standard input}:12: Fatal error: ...`, `{standard input}:12: Error: ...`.
        assembler: pattern(
            r"^([^\s:]+|\{standard input\})(?::(\d+))?: (?:Fatal error|Error): (.+)$",
        ),
        objtool: pattern(r"^(\S+): error: (objtool: .+)$|^error: (objtool: .+)$"),
        btf: pattern(
            r"^(libbpf: (?:failed|Error|error).*|Failed to parse base BTF.*|FAILED: load BTF.*)$",
        ),
        tree: pattern(
            r"(Kernel configuration is invalid)|fatal error: (\S*generated/(?:autoconf|rustc_cfg|uapi/\S+|asm/\S+)\S*: No such file or directory)|(No rule to make target ['‘]\S*(?:include/config/auto\.conf|include/generated/\S+)['’])",
        ),
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
            r"(?:^|: )(?:line )?(?:\d+: )?([^\s:]+): (?:command )?not found$|^env: ['‘](.+)['’]: No such file or directory$|^(?:/\S+/)?(?:ba|da)?sh: (?:line )?\d+: ([^\s:]+): No such file or directory$",
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
        sanitizer: pattern(r"unrecognized argument to ['‘](-f\S+?=)['’] option: ['‘]([^'’]+)['’]"),
        not_executable: pattern(r"(?:^|: )(?:exec: )?([^\s:]*/[^\s:]+): Permission denied$"),
        // What make and kbuild print of every step, and what shells echo.
        noise: pattern(
            r"^\s*$|^make(?:\[\d+\])?: (?:Entering|Leaving) directory|^make(?:\[\d+\])?: \*\*\* (?:\[.*\] Error \d+|Waiting for unfinished jobs)|^\s{2}[A-Z][A-Z0-9_]{1,12}\s+(?:\[M\]\s+)?\S+$|^\++ |^[-=~*#^\s|]+$",
        ),
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
            doubtful: None,
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
        self.remember(line);
        self.look_for_defects(line);
        if self.findings.first_error.is_none() {
            self.look_for_errors(line);
        }
    }

    /// Keeps a line among the last ones, unless it is noise.
    fn remember(&mut self, line: &str) {
        if PATTERNS.noise.is_match(line) {
            return;
        }
        let lines = &mut self.findings.last_lines;
        if lines.len() == LAST_LINES {
            lines.remove(0);
        }
        let mut line = line.trim();
        if let Some((end, _)) = line.char_indices().nth(LAST_LINE_CHARACTERS) {
            line = &line[..end];
        }
        lines.push(line.to_owned());
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
        if self.findings.tree.is_none() {
            self.findings.tree = capture(&patterns.tree);
        }
        if patterns.not_found_status.is_match(line) {
            self.findings.toolchain = self.suspect.take();
        } else if let Some(found) = patterns.sanitizer.captures(line) {
            let flag = format!("{}{}", &found[1], &found[2]);
            self.findings.toolchain = Some(ToolchainDefect::UnknownFlag(flag));
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
        } else if let Some(name) = capture(&patterns.not_executable) {
            self.suspect = Some(ToolchainDefect::NotExecutable(name));
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
        } else if let Some(found) = patterns
            .internal_error
            .captures(line)
            .or_else(|| patterns.assembler.captures(line))
        {
            let number = found
                .get(2)
                .and_then(|number| number.as_str().parse().ok())
                .unwrap_or(0);
            let file = self.place(&found[1]);
            self.found(file, number, &found[3]);
        } else if let Some(found) = patterns.objtool.captures(line) {
            let file = found.get(1).map_or("objtool", |file| file.as_str());
            let words = found.get(2).or_else(|| found.get(3));
            let words = words.map_or("", |words| words.as_str());
            let file = self.place(file);
            self.found(file, 0, words);
        } else if let Some(found) = patterns.btf.captures(line) {
            self.doubtful.get_or_insert_with(|| CompilerError {
                file: "BTF".to_owned(),
                line: 0,
                message: found[1].to_owned(),
            });
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
        if self.findings.first_error.is_none() {
            self.findings.first_error = self.doubtful.take();
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
