//! Finds the cause in the log of a failed step: the first compiler error, what the toolchain lacks, or what is wrong
//! with the kernel tree.
//!
//! In: the lines of one step's log, as they come. Out: [`LogFindings`]. Logs of successful steps also have lines that
//! look like errors (configure checks that answer no, `expr: syntax error` in the probe's Makefile, programs that a
//! Makefile merely tries). So only the logs of failed steps are classified, and a tool's error counts only if make
//! failed because of it.

mod findings;
mod machine;
mod patterns;

use regex::Regex;

use super::SCRATCH;
use crate::failure::{CompilerError, Phase};

pub(super) use machine::ANY as MACHINE_FAULTS;
use patterns::PATTERNS;

pub use findings::{LogFindings, ToolchainDefect};
pub use machine::MachineFault;

/// Classifies the log of one step, which is fed in lines or in arbitrary pieces.
pub struct LogClassifier {
    phase: Phase,
    findings: LogFindings,
    /// A program that could not be run; counts if make or the script then fails because of it.
    suspect: Option<ToolchainDefect>,
    /// The directories that nested makes have entered; relative paths start at the last one.
    folders: Vec<String>,
    /// A CMake error whose message is on the lines after it.
    cmake: Option<(String, u32)>,
    /// A possible cause; used if no other error is found.
    doubtful: Option<CompilerError>,
    partial: Vec<u8>,
}

/// The maximum line length that is examined; the longest compiler command of a kernel is about 4 KiB.
const LONGEST_LINE_BYTES: usize = 64 << 10;

/// The number of last lines in a message, and the maximum length of each.
const LAST_LINES: usize = 3;
const LAST_LINE_CHARACTERS: usize = 200;

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

    /// Adds the next bytes of the log, which may end in the middle of a line.
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

    /// Adds the next line, without its line break.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some((file, number)) = self.cmake.take() {
            if line.trim().is_empty() {
                self.cmake = Some((file, number));
            } else {
                self.look_for_defects(line);
                self.found(&file, number, line.trim());
            }
            return;
        }
        let patterns = &*PATTERNS;
        // Output of a configure check, printed by make's $(info): an answer, not an error.
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

    /// Adds a line to the last lines, unless it is noise.
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
        if self.findings.machine.is_none() {
            self.findings.machine = MachineFault::of_line(line);
        }
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
            self.found(&file, number, &found[3]);
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
            self.found(&file, number, &found[3]);
        } else if let Some(found) = patterns.objtool.captures(line) {
            let file = found.get(1).map_or("objtool", |file| file.as_str());
            let words = found.get(2).or_else(|| found.get(3));
            let words = words.map_or("", |words| words.as_str());
            let file = self.place(file);
            self.found(&file, 0, words);
        } else if let Some(found) = patterns.btf.captures(line) {
            self.doubtful
                .get_or_insert_with(|| CompilerError::new("BTF", 0, &found[1]));
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
                self.found(&file, number, &found[3]);
            }
        } else if let Some(found) = patterns.modpost.captures(line) {
            match (found.get(1), found.get(2), found.get(4)) {
                (Some(symbol), Some(module), _) => {
                    let file = self.place(module.as_str());
                    self.found(
                        &file,
                        0,
                        &format!("symbol {} is undefined", symbol.as_str()),
                    );
                }
                (_, _, Some(message)) => self.found("modpost", 0, message.as_str()),
                _ => {}
            }
        } else if let Some(found) = patterns.compiler_without_place.captures(line) {
            let name = line.split(':').next().unwrap_or_default().to_owned();
            self.found(&name, 0, &found[1]);
        } else if let Some(found) = patterns.linker.captures(line) {
            if !found[2].starts_with("warning") {
                self.found(&found[1], 0, &found[2]);
            }
        } else if let Some(found) = patterns.make_stop.captures(line) {
            let (file, number) = match (found.get(1), found.get(2)) {
                (Some(file), Some(number)) => (
                    self.place(file.as_str()),
                    number.as_str().parse().unwrap_or(0),
                ),
                _ => ("make".to_owned(), 0),
            };
            self.found(&file, number, &found[3]);
        }
    }

    fn found(&mut self, file: &str, line: u32, message: &str) {
        self.findings
            .first_error
            .get_or_insert_with(|| CompilerError::new(file, line, message));
    }

    /// Returns the path of a file, relative to the driver if the file is inside it.
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

    /// Returns the findings at the end of the log.
    pub fn finish(mut self) -> LogFindings {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&String::from_utf8_lossy(&line));
        }
        if self.findings.first_error.is_none() {
            self.findings.first_error = self.doubtful.take();
        }
        // If a script fails because a program is missing, nothing follows in the log.
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

/// Returns true if a line is an error: clang only warns about some unknown options, and continues.
fn is_error(line: &str) -> bool {
    line.contains("error: ")
}

/// Classifies a whole log.
pub fn classify_log<'a>(phase: Phase, lines: impl IntoIterator<Item = &'a str>) -> LogFindings {
    let mut classifier = LogClassifier::new(phase);
    for line in lines {
        classifier.line(line);
    }
    classifier.finish()
}

#[cfg(test)]
mod tests;
