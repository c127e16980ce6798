//! Standard output: data for people and machines.

use std::io::{self, BufWriter, Write};

use super::CliError;

/// Writes to standard output; a reader that has gone away, as `head` does, is no error.
pub fn ignore_broken_pipe(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut output).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::Infrastructure {
            message: format!("failed to write to standard output: {error}"),
        }),
    }
}

/// Writes a text to standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    ignore_broken_pipe(|output| output.write_all(text.as_bytes()))
}

/// Writes rows in columns: the cells of each column padded to its widest, those in `right` to the right.
pub(super) fn write_columns<const N: usize>(
    output: &mut dyn Write,
    right: [bool; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = Vec::new();
        for ((cell, width), is_right) in row.iter().zip(widths).zip(right) {
            if is_right {
                write!(line, "{cell:>width$}  ")?;
            } else {
                write!(line, "{cell:<width$}  ")?;
            }
        }
        output.write_all(line.trim_ascii_end())?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

/// `1 kernel`, `2 kernels`.
pub(super) fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "matrix") => format!("{number} matrices"),
        _ => format!("{number} {noun}s"),
    }
}
