//! The kernel's reports about crashes and defects on a console: which lines start one, and which of its lines matter.

/// The maximum number of console lines in a verdict.
pub(super) const WORDS: usize = 12;

/// The lines before the functions of a trace, on amd64 and on arm64.
const TRACES: &[&str] = &["Call Trace:", "Call trace:"];

/// Prefixes of lines about registers, the processor and page tables, and of the frame around a report.
const UNIMPORTANT: &[&str] = &[
    "------------[ cut here",
    "====",
    "<",
    "CM = ",
    "CPU: ",
    "Code: ",
    "Data abort info:",
    "EA = ",
    "EC = ",
    "ESR = ",
    "FSC = ",
    "Hardware name:",
    "ISV = ",
    "Mem abort info:",
    "Modules linked in:",
    "PGD ",
    "SET = ",
    "Unloaded tainted modules:",
    "WnR = ",
    "lr : ",
    "pmr_save: ",
    "pstate: ",
    "sp : ",
    "swapper pgtable: ",
    "user pgtable: ",
];

/// Returns true if a line reports a defect that does not stop the kernel.
pub(super) fn is_warning(line: &str) -> bool {
    let is_start = |prefix: &&str| line.starts_with(*prefix);
    let is_stall = || {
        let message = line.strip_prefix("rcu: ").unwrap_or(line);
        let is_rcu = message.len() < line.len() || message.starts_with("INFO: rcu");
        is_rcu
            && message.starts_with("INFO: ")
            && message.contains("detected")
            && message.contains("stall")
    };
    is_trace(line)
        || [
            "WARNING: ",
            "UBSAN: ",
            "sysfs: cannot create duplicate filename",
        ]
        .iter()
        .any(is_start)
        || (line.starts_with("INFO: task ") && line.contains(" blocked "))
        || is_stall()
}

/// Returns the report that starts at a line: the headline, the place in the code and the trace, without registers.
pub(super) fn of_lines(lines: &[&str], start: usize) -> String {
    let mut start = start;
    if is_trace(lines[start]) {
        // The message is printed before the trace.
        let before = lines[..start].iter().rposition(|line| is_important(line));
        start = before.unwrap_or(start);
    }
    let end = lines[start..]
        .iter()
        .position(|line| line.starts_with("---[ end trace"));
    let lines = &lines[start..end.map_or(lines.len(), |end| start + end)];
    let is_certain = |line: &&str| is_function(line) && !is_doubtful(line);
    let has_certain = lines.iter().any(is_certain);
    let important = |line: &&&str| is_important(line) && !(has_certain && is_doubtful(line));
    let rest = lines.iter().skip(1).filter(important);
    let shown: Vec<&str> = lines
        .iter()
        .take(1)
        .chain(rest)
        .take(WORDS)
        .copied()
        .collect();
    shown.join("\n")
}

/// Returns the first line of a report, with the place in the code.
pub(super) fn headline(report: &str) -> String {
    let mut lines = report.lines();
    let headline = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| {
        let place = line.strip_prefix("RIP: ").or(line.strip_prefix("pc : "))?;
        Some(place.split_once(':').map_or(place, |(_, place)| place))
    });
    match place {
        Some(place) if !headline.contains(place) => format!("{headline}, at {place}"),
        _ => headline.to_owned(),
    }
}

fn is_trace(line: &str) -> bool {
    TRACES.contains(&line.trim())
}

/// Returns true for a function of a trace: `falco_init+0x10/0x1000 [falco]`.
fn is_function(line: &str) -> bool {
    line.contains("+0x")
}

/// Returns true for an address on the stack that may not be a caller.
fn is_doubtful(line: &str) -> bool {
    line.trim_start().starts_with("? ")
}

fn is_important(line: &str) -> bool {
    let line = line.trim_start();
    let is_unimportant = UNIMPORTANT.iter().any(|prefix| line.starts_with(prefix));
    !is_unimportant && !is_register(line) && !is_page_table(line)
}

/// Returns true for `RAX: 0000000000000000 RBX: ...`, `x29: ...`, `CS:  0010 ...`, and for the place in a user's program.
fn is_register(line: &str) -> bool {
    let Some((name, values)) = line.split_once(':') else {
        return false;
    };
    let name = name.trim();
    let is_name = name.len() <= 4
        && !line.starts_with("BUG: ")
        && !line.starts_with("RIP: 0010:")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'x');
    let value = values.split_whitespace().next().unwrap_or_default();
    let is_number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'x' | b'(' | b')'))
    };
    is_name && !value.is_empty() && is_number(value) && !is_function(value)
}

/// Returns true for `[0000000000000000] pgd=...`.
fn is_page_table(line: &str) -> bool {
    line.starts_with('[') && line.contains("] pgd=")
}

#[cfg(test)]
mod tests;
