//! Formats numbers, sizes and tables for display.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes rows in columns: the cells of each column padded to its widest, those in `right` aligned to the right.
pub fn write_columns<const N: usize>(
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

/// Returns a CSV field that no spreadsheet interprets as a formula: a `'` is put before a first character that would
/// start one.
pub fn no_formula(field: &str) -> Cow<'_, str> {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{field}"))
    } else {
        Cow::Borrowed(field)
    }
}

/// Returns a number with its thousands separated: `51,472`.
pub fn separated(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun: `1 kernel`, `2 kernels`.
pub fn count(number: usize, noun: &str) -> String {
    let is_one = number == 1;
    let number = separated(number);
    match (is_one, noun) {
        (true, _) => format!("1 {noun}"),
        (_, "matrix") => format!("{number} matrices"),
        (_, "loss") => format!("{number} losses"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns a size for display, in the units that matrices use: `512 bytes`, `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    let shift = match bytes {
        0..0x400 => return format!("{bytes} bytes"),
        0x400..0x10_0000 => 10,
        0x10_0000..0x4000_0000 => 20,
        _ => 30,
    };
    let unit = UNITS[shift / 10 - 1];
    let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    let whole_text = separated(usize::try_from(whole).unwrap_or(usize::MAX));
    if shift == 10 {
        return format!("{whole_text} {unit}");
    }
    format!("{whole_text}.{} {unit}", (rest * 10) >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_look_like_formulas_are_quoted() {
        for (field, written) in [
            ("=cmd", "'=cmd"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("6.1.0+1=-@", "6.1.0+1=-@"),
            ("", ""),
        ] {
            assert_eq!(no_formula(field), written);
        }
    }

    #[test]
    fn counts_have_separators_and_plurals() {
        assert_eq!(separated(0), "0");
        assert_eq!(separated(999), "999");
        assert_eq!(separated(51_472), "51,472");
        assert_eq!(separated(1_000_000), "1,000,000");
        assert_eq!(count(1, "build"), "1 build");
        assert_eq!(count(0, "build"), "0 builds");
    }

    #[test]
    fn sizes_have_binary_units() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1 KiB"),
            (1_500_000, "1.4 MiB"),
            (2 << 30, "2.0 GiB"),
            (3_000 << 30, "3,000.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
