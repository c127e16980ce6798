//! The text of a boot's console, in bounded memory and without control characters.

use std::io::{self, Read};

use crate::failure::printable;

/// The maximum length of a line; the rest is dropped.
const LINE_BYTES: usize = 1 << 10;

/// The maximum number of bytes kept from lines of the kernel and modules, and again from lines of the init program.
const KEPT_BYTES: usize = 4 << 20;

/// The prefix of the init program's lines.
pub(super) const STEP: &str = "proof: ";

/// Removes what the kernel writes before a message: its time, `[    4.693534] `, and the task or processor that printed
/// it, `[    T1] `, if `CONFIG_PRINTK_CALLER` is set.
pub(super) fn without_time(line: &str) -> &str {
    fn in_brackets(text: &str) -> Option<(&str, &str)> {
        text.strip_prefix('[')?.split_once(']')
    }
    let is_caller = |text: &str| {
        let number = text.trim().strip_prefix(['T', 'C']);
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let rest = match in_brackets(line) {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => return line,
    };
    let rest = match in_brackets(rest) {
        Some((caller, rest)) if is_caller(caller) => rest,
        _ => rest,
    };
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// Collects the text of a console.
#[derive(Debug, Default)]
pub struct Shown {
    text: String,
    line: Vec<u8>,
    kernel_bytes: usize,
    step_bytes: usize,
}

impl Shown {
    /// Reads a console to its end.
    pub fn read(mut console: impl Read) -> io::Result<Self> {
        let mut shown = Self::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match console.read(&mut buffer)? {
                0 => return Ok(shown),
                length => shown.add(&buffer[..length]),
            }
        }
    }

    /// Adds bytes, which may end in the middle of a line.
    pub fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let left = LINE_BYTES - self.line.len();
            self.line.extend(part.iter().copied().take(left));
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim();
        let kept = if without_time(line).starts_with(STEP) {
            &mut self.step_bytes
        } else {
            &mut self.kernel_bytes
        };
        if *kept + line.len() <= KEPT_BYTES {
            *kept += line.len();
            self.text.push_str(&printable(line));
            self.text.push('\n');
        }
        self.line.clear();
    }

    /// Returns the lines that were kept.
    pub fn into_text(mut self) -> String {
        self.end_line();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_steps_survive_a_flood_of_output() {
        let flood = "x".repeat(1 << 20) + "\n";
        let mut shown = Shown::default();
        shown.add(b"proof: -1 boot 1\nto the \x1b[31mend\x07\npro");
        shown.add(b"of: 0 load\n");
        let step = "[   65.093534][    T1] proof: 0 loaded 0\n";
        for _ in 0..64 {
            shown.add(flood.as_bytes());
            shown.add("y\n".repeat(1 << 18).as_bytes());
        }
        shown.add(step.as_bytes());
        shown.add(b"proof: -1 end\nproof: qemu exit 0");
        let text = shown.into_text();
        assert!(text.len() < 10 << 20, "{}", text.len());
        assert!(
            text.starts_with(
                "proof: -1 boot 1\nto the \u{fffd}[31mend\u{fffd}\nproof: 0 load\nxxx"
            )
        );
        assert!(text.ends_with(&format!("{step}proof: -1 end\nproof: qemu exit 0\n")));
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES));
    }
}
