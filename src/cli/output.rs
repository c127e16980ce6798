//! Standard output: data for people and machines.

use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};

use super::CliError;
use crate::diagnostic::printable;
use crate::kernel::Kernel;
use crate::text::separated;

/// Writes to standard output. A reader that closes it early, as `head` does, is not an error.
pub fn ignore_broken_pipe(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    let mut pipe = Pipe::new(io::stdout().lock());
    let mut buffered = BufWriter::with_capacity(1 << 16, &mut pipe);
    let mut output = Printable {
        output: &mut buffered,
        cut: Vec::new(),
    };
    let written = write(&mut output).and_then(|()| output.flush());
    // Dropping the buffer itself would try to write its remaining content again.
    drop(buffered.into_parts());
    match written {
        Err(error) if !pipe.is_closed => Err(CliError::infrastructure(format!(
            "failed to write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Records that the reader has closed the pipe: encoders wrap the write error in errors of other kinds.
struct Pipe<W> {
    output: W,
    is_closed: bool,
}

impl<W: Write> Pipe<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            is_closed: false,
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_closed |=
            matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.output.flush();
        self.note(flushed)
    }
}

/// Standard output for progress lines. A reader that has closed the pipe does not stop the work.
pub(super) fn progress() -> impl Write {
    Printable {
        output: Progress(io::stdout()),
        cut: Vec::new(),
    }
}

struct Progress<W>(W);

impl<W: Write> Write for Progress<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Replaces control characters of foreign texts, which must never reach a terminal. All standard output passes
/// through it.
struct Printable<W> {
    output: W,
    /// The first bytes of a character whose remaining bytes are still to come.
    cut: Vec<u8>,
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_harmless = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        if self.cut.is_empty() && bytes.iter().all(is_harmless) {
            self.output.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let mut text = std::mem::take(&mut self.cut);
        text.extend_from_slice(bytes);
        let mut chunks = text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for (position, part) in chunk.valid().split('\t').enumerate() {
                if position > 0 {
                    self.output.write_all(b"\t")?;
                }
                self.output.write_all(printable(part).as_bytes())?;
            }
            let invalid = chunk.invalid();
            let is_cut = chunks.peek().is_none()
                && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_cut {
                self.cut = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.output.write_all("\u{fffd}".as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The output format of a command.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct AnswerFormat {
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    format: TextOrJson,
    /// The same as --format json
    #[arg(long, hide = true, conflicts_with = "format", help_heading = "Output")]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TextOrJson {
    /// Text for people
    #[default]
    Text,
    /// JSON
    Json,
}

impl AnswerFormat {
    /// Returns true if the output is JSON.
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == TextOrJson::Json
    }
}

/// Writes a value as JSON to standard output.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    ignore_broken_pipe(|output| {
        serde_json::to_writer_pretty(&mut *output, value).map_err(io::Error::from)?;
        writeln!(output)
    })
}

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    ignore_broken_pipe(|output| output.write_all(text.as_bytes()))
}

/// Returns the number of a kernel's packages as text.
pub(super) fn packages(kernel: &Kernel) -> String {
    match kernel.packages.len() {
        // The URLs are computed from the kernel's name.
        0 => "computed".to_owned(),
        number => separated(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced_and_split_characters_are_kept() {
        for step in 1..4 {
            let mut output = Printable {
                output: Vec::new(),
                cut: Vec::new(),
            };
            for part in b"a\tb\n\x1b[2J\x07 \xc3\xbc\xc2\x9b\xff\r!".chunks(step) {
                output.write_all(part).unwrap();
            }
            let shown = String::from_utf8(output.output).unwrap();
            assert_eq!(
                shown,
                "a\tb\n\u{fffd}[2J\u{fffd} \u{fc}\u{fffd}\u{fffd}\u{fffd}!"
            );
        }
    }
}
