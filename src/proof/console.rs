//! Reads the result of each module from a boot's console: lines of the init program between lines of the kernel.

use super::report::{self, WORDS, is_warning};
use super::shown::{STEP, without_time};
use super::verdict::Verdict;

/// Taints set by every out-of-tree module without a valid signature: `O` and `E`.
const EXPECTED_TAINTS: i64 = 1 << 12 | 1 << 13;

/// The file in a boot's output directory with the text of the console.
pub const CONSOLE_FILE: &str = "console";

/// The text before qemu's exit status in the last line.
const EXIT: &str = "proof: qemu exit ";

/// The exit status of `timeout` if it had to kill qemu.
const TIMED_OUT: i32 = 124;

/// The prefix of the init program's messages about a probe.
const PROBE: &str = "bpf: ";

/// The error of a system call that the kernel does not have: `ENOSYS`.
const NO_SYSTEM_CALL: i64 = 38;

/// The prefix of a kernel panic message.
const PANIC: &str = "Kernel panic - ";

/// Prefixes of messages after which the kernel can no longer be trusted.
const CRASHES: &[&str] = &[
    "BUG: ",
    "Oops",
    "Internal error: ",
    PANIC,
    "Unable to handle kernel ",
    "general protection fault",
    "kernel BUG at ",
    "watchdog: BUG: ",
];

/// The result of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Verdicts of the first modules; empty if the boot did not reach the init program or the first module.
    pub verdicts: Vec<Verdict>,
    /// The kernel's panic message, or else the last line of the console that is not from the init program.
    pub last_words: String,
    /// The exit status of qemu, or of `timeout` if it had to kill qemu; `None` if it is not on the console.
    pub exit: Option<i32>,
    /// True if qemu did not end by itself while the last module of the verdicts was tested. That verdict says nothing
    /// certain about the module; it is [`Verdict::NotProven`] unless the boot timed out.
    pub is_cut: bool,
}

impl Boot {
    /// Returns true if qemu was killed because the boot timed out.
    pub fn has_timed_out(&self) -> bool {
        self.exit == Some(TIMED_OUT)
    }
}

/// The part of the console that belongs to one module.
#[derive(Default)]
struct Section<'a> {
    steps: Vec<(&'a str, i64)>,
    words: Vec<&'a str>,
}

/// Reads the console of a boot that should load `count` modules. The verdicts end with the first module that leaves the
/// kernel in an untrusted state.
pub fn read_console(text: &str, count: usize) -> Boot {
    let mut cpus = 0;
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut last_words = "the console is empty";
    let mut panic = None;
    let mut has_ended = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = without_time(line);
        let Some(step) = line.strip_prefix(STEP) else {
            last_words = line;
            if line.starts_with(PANIC) {
                panic = panic.or(Some(line));
            }
            if let Some(section) = sections.last_mut().filter(|_| !has_ended) {
                section.words.push(last_words);
            }
            continue;
        };
        let mut words = step.split_whitespace();
        let (Some(module), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let value = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match (module, name) {
            ("-1", "boot") => cpus = value,
            ("-1", "end") => has_ended = true,
            (module, "load") if module.parse() == Ok(sections.len()) => {
                sections.push(Section::default());
            }
            (module, name)
                if module
                    .parse()
                    .is_ok_and(|number: usize| number + 1 == sections.len()) =>
            {
                if let Some(section) = sections.last_mut() {
                    section.steps.push((name, value));
                }
            }
            _ => {}
        }
    }
    let exit = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(EXIT)?.parse().ok());
    let mut verdicts = Vec::new();
    let mut is_cut = false;
    for section in sections.iter().take(count) {
        let mut verdict = section.verdict(cpus);
        // A kernel that crashes or restarts ends qemu with status 0.
        is_cut = exit != Some(0) && section.is_unfinished(&verdict);
        if is_cut && exit != Some(TIMED_OUT) {
            verdict = section.ended_by_qemu(exit);
        }
        let is_sound = verdict.leaves_kernel_sound();
        verdicts.push(verdict);
        if !is_sound || is_cut {
            break;
        }
    }
    Boot {
        verdicts,
        last_words: panic.unwrap_or(last_words).to_owned(),
        exit,
        is_cut,
    }
}

impl Section<'_> {
    fn verdict(&self, cpus: i64) -> Verdict {
        if let Some(trace) = self.report(|line| CRASHES.iter().any(|crash| line.starts_with(crash)))
        {
            return Verdict::Oops { trace };
        }
        if let Some(reason) = self.why_not_proven() {
            return Verdict::NotProven { reason };
        }
        if let Some(error) = self.step("loaded").filter(|&result| result < 0) {
            return Verdict::Refused {
                error,
                words: self.words(),
            };
        }
        if let Some(trace) = self.report(is_warning) {
            return Verdict::Warning { trace };
        }
        if let (Some(programs), Some(0)) = (self.step("programs"), self.step("loaded")) {
            return Verdict::TakenPrograms {
                programs,
                maps: self.step("maps").unwrap_or(0),
            };
        }
        let (Some(unloaded), Some(taints)) = (self.step("unloaded"), self.step("taints")) else {
            let after = self.last_step().to_owned();
            return Verdict::TimedOut { after };
        };
        if unloaded < 0 {
            return Verdict::NotUnloaded {
                error: unloaded,
                words: self.words(),
            };
        }
        if let Some(reason) = self.defect(cpus) {
            return Verdict::Unusable { reason };
        }
        let taints = taints & !EXPECTED_TAINTS;
        if taints != 0 {
            return Verdict::Tainted { taints };
        }
        Verdict::Loaded {
            devices: self.step("devices").unwrap_or(0),
            parameters: self.step("parameters").unwrap_or(0),
        }
    }

    fn last_step(&self) -> &str {
        self.steps.last().map_or("load", |(name, _)| name)
    }

    /// Whether the boot ended before the last step of a module that got this verdict.
    fn is_unfinished(&self, verdict: &Verdict) -> bool {
        let is_finished = match self.step("probe") {
            Some(_) => self.step("loaded").is_some(),
            None => self.step("taints").is_some(),
        };
        matches!(verdict, Verdict::TimedOut { .. } | Verdict::Warning { .. }) && !is_finished
    }

    /// Returns the verdict for a module during whose test qemu was killed or failed.
    fn ended_by_qemu(&self, exit: Option<i32>) -> Verdict {
        let exit = match exit {
            Some(status) => format!("qemu ended with exit status {status}"),
            None => "the console ends without the exit status of qemu,".to_owned(),
        };
        let after = self.last_step();
        Verdict::NotProven {
            reason: format!("{exit} during or after step `{after}`"),
        }
    }

    /// Returns why a probe could not be tested, if so.
    fn why_not_proven(&self) -> Option<String> {
        self.step("probe")?;
        if self.step("loaded") == Some(-NO_SYSTEM_CALL) {
            return Some(
                "the kernel has no system call bpf(2) (CONFIG_BPF_SYSCALL is not set)".to_owned(),
            );
        }
        self.step("unknown")?;
        let said = self.words.iter().find_map(|line| line.strip_prefix(PROBE));
        let reason = said.unwrap_or_default();
        Some(format!("this layout of a probe cannot be loaded: {reason}"))
    }

    /// Returns the first defect found in a loaded module.
    fn defect(&self, cpus: i64) -> Option<String> {
        if self.step("listed") != Some(1) {
            return Some("/proc/modules does not list it".to_owned());
        }
        let devices = self.step("devices").unwrap_or(0);
        if devices != 0 && devices != cpus {
            return Some(format!("it made {devices} devices for {cpus} processors"));
        }
        let failed = |name| self.step(name).filter(|&result| result < 0);
        if let Some(error) = failed("open") {
            return Some(format!("its device cannot be opened: error {}", -error));
        }
        if let Some(error) = failed("map") {
            return Some(format!("its device cannot be mapped: error {}", -error));
        }
        // Only a Falco driver counts its events.
        let is_idle = self.step("events") == Some(0);
        is_idle.then(|| "it recorded no event of the system calls".to_owned())
    }

    fn step(&self, name: &str) -> Option<i64> {
        let found = self.steps.iter().find(|(step, _)| *step == name)?;
        Some(found.1)
    }

    fn words(&self) -> String {
        // The reason for refusing a probe is printed by the init program, mixed with kernel messages.
        let of_probe = self
            .words
            .iter()
            .filter_map(|line| line.strip_prefix(PROBE));
        let mut words: Vec<&str> = match self.step("probe") {
            Some(_) => of_probe.collect(),
            None => Vec::new(),
        };
        if words.is_empty() {
            words.clone_from(&self.words);
        }
        words[..words.len().min(WORDS)].join("\n")
    }

    /// Returns the report that starts with the first match.
    fn report(&self, is_start: impl Fn(&str) -> bool) -> Option<String> {
        let start = self.words.iter().position(|line| is_start(line))?;
        Some(report::of_lines(&self.words, start))
    }
}

#[cfg(test)]
mod tests;
