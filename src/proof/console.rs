//! What a boot's console says about each module: lines of the init program between those of the kernel.

use std::fmt;

use serde::Serialize;

use super::shown::STEP;

/// Taints of every module that is built outside of the kernel and not signed by its builder: `O` and `E`.
const EXPECTED_TAINTS: i64 = 1 << 12 | 1 << 13;

/// The file of a boot's output that has what its console showed.
pub const CONSOLE_FILE: &str = "console";

/// What stands before the exit status of qemu in the last line.
const EXIT: &str = "proof: qemu exit ";

/// The exit status of `timeout` where it had to end qemu.
const TIMED_OUT: i32 = 124;

/// What the init program's words about a probe start with.
const PROBE: &str = "bpf: ";

/// The error of a system call that the kernel does not have: `ENOSYS`.
const NO_SYSTEM_CALL: i64 = 38;

/// How many of the kernel's lines are kept as its words.
const WORDS: usize = 12;

/// Start of the message of a kernel that gives up.
const PANIC: &str = "Kernel panic - ";

/// Starts of messages after which the kernel's state is in doubt.
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

/// The result of a module or probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The kernel loaded it, could use it and unloaded it.
    Loaded {
        /// How many character devices it made.
        devices: i64,
        /// How many parameters it has.
        parameters: i64,
    },
    /// The kernel took all programs of a probe.
    #[serde(rename = "loaded")]
    TakenPrograms {
        /// How many programs it has.
        programs: i64,
        /// How many maps they use.
        maps: i64,
    },
    /// It was not tried: the kernel or the probe is not made for that.
    NotProven {
        /// Why.
        reason: String,
    },
    /// The kernel did not load it.
    Refused {
        /// The error number of the system call.
        error: i64,
        /// What the kernel printed.
        words: String,
    },
    /// The kernel crashed.
    Oops {
        /// The start of the crash's report.
        trace: String,
    },
    /// The kernel printed a warning with a trace.
    Warning {
        /// The start of the report.
        trace: String,
    },
    /// It was loaded and does not work.
    Unusable {
        /// What does not work.
        reason: String,
    },
    /// It marks the kernel as tainted for more than being built outside and unsigned.
    Tainted {
        /// The kernel's bits for the unexpected reasons.
        taints: i64,
    },
    /// It could not be unloaded.
    NotUnloaded {
        /// The error number of the system call.
        error: i64,
        /// What the kernel printed.
        words: String,
    },
    /// A step did not end within the time of the boot.
    TimedOut {
        /// The last step that ended, or `load`.
        after: String,
    },
}

impl Verdict {
    /// Whether the module may be published.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Loaded { .. } | Self::TakenPrograms { .. })
    }

    /// Whether the kernel can be trusted with another module.
    fn leaves_kernel_sound(&self) -> bool {
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
                write!(formatter, "refused, error {}: {words}", -error)
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
                write!(formatter, "cannot be unloaded, error {}: {words}", -error)
            }
            Self::TimedOut { after } => {
                write!(formatter, "the boot ended during or after step `{after}`")
            }
        }
    }
}

/// What one boot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Verdicts of the first modules; none if the boot did not reach the init program or the first module.
    pub verdicts: Vec<Verdict>,
    /// Why the kernel panicked, or else the last line of the console that is not the init program's.
    pub last_words: String,
    /// The exit status of qemu, or of `timeout` where it had to end qemu; none if the console does not say.
    pub exit: Option<i32>,
}

impl Boot {
    /// Whether qemu was ended since the time was over.
    pub fn has_timed_out(&self) -> bool {
        self.exit == Some(TIMED_OUT)
    }
}

/// What the console shows of one module.
#[derive(Default)]
struct Section<'a> {
    steps: Vec<(&'a str, i64)>,
    words: Vec<&'a str>,
}

/// Reads a console on which `count` modules were to be loaded. The verdicts end with the first module after which the
/// kernel is in doubt.
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
    let mut verdicts = Vec::new();
    for section in sections.iter().take(count) {
        let verdict = section.verdict(cpus);
        let is_sound = verdict.leaves_kernel_sound();
        verdicts.push(verdict);
        if !is_sound {
            break;
        }
    }
    Boot {
        verdicts,
        last_words: panic.unwrap_or(last_words).to_owned(),
        exit: text
            .lines()
            .find_map(|line| line.strip_prefix(EXIT)?.parse().ok()),
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
        if let Some(trace) = self.report(|line| line.starts_with("WARNING: ")) {
            return Verdict::Warning { trace };
        }
        if let (Some(programs), Some(0)) = (self.step("programs"), self.step("loaded")) {
            return Verdict::TakenPrograms {
                programs,
                maps: self.step("maps").unwrap_or(0),
            };
        }
        let (Some(unloaded), Some(taints)) = (self.step("unloaded"), self.step("taints")) else {
            let after = self.steps.last().map_or("load", |(name, _)| name);
            return Verdict::TimedOut {
                after: after.to_owned(),
            };
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

    /// Returns why a probe was not tried.
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

    /// Returns what of a loaded module does not work.
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
        let error = failed("map")?;
        Some(format!("its device cannot be mapped: error {}", -error))
    }

    fn step(&self, name: &str) -> Option<i64> {
        let found = self.steps.iter().find(|(step, _)| *step == name)?;
        Some(found.1)
    }

    fn words(&self) -> String {
        // A probe is refused for what the init program says about it, among words of the kernel.
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

    /// Returns the lines from the first that matches.
    fn report(&self, is_start: impl Fn(&str) -> bool) -> Option<String> {
        let start = self.words.iter().position(|line| is_start(line))?;
        let lines = &self.words[start..];
        Some(lines[..lines.len().min(WORDS)].join("\n"))
    }
}

/// Removes the kernel's time stamp: `[    4.693534] `.
fn without_time(line: &str) -> &str {
    let time = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    match time {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests;
