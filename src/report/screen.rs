//! The terminal that the live display is drawn on.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use rustix::termios::{Winsize, tcgetwinsize};

/// The lines and columns of a terminal that does not report its size.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// Standard error, drawn so that no remnants stay on the screen.
///
/// indicatif fills each line up to the right edge of the terminal. Text written after that, such as the `^C` that the
/// terminal echoes, begins a line that indicatif does not know of and never clears; and a terminal that becomes
/// narrower wraps full lines. Here, a line ends where its text ends, and the cursor waits at the left edge of the
/// last line.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<Drawing>);

/// The output of the next flush.
#[derive(Debug, Default)]
struct Drawing {
    bytes: String,
    /// True if the cursor is at the end of a line.
    is_behind_line: bool,
    /// True if the next text is the padding of a line.
    is_filler_next: bool,
}

impl Drawing {
    fn line(&mut self, text: &str) {
        if std::mem::take(&mut self.is_filler_next) {
            return;
        }
        if self.is_behind_line {
            self.bytes += "\r\n";
        }
        self.bytes += text.trim_end();
        self.is_behind_line = true;
        self.is_filler_next = true;
    }

    fn clear_line(&mut self) {
        self.bytes += "\r\x1b[2K";
        self.is_behind_line = false;
    }

    fn take(&mut self) -> String {
        if self.is_behind_line {
            self.bytes.push('\r');
        }
        std::mem::take(self).bytes
    }
}

/// Returns the number of lines and columns of the terminal.
pub(super) fn size() -> (u16, u16) {
    match tcgetwinsize(io::stderr()) {
        Ok(Winsize { ws_row, ws_col, .. }) if ws_row > 0 && ws_col > 0 => (ws_row, ws_col),
        _ => USUAL_SIZE,
    }
}

impl Screen {
    fn drawing(&self) -> MutexGuard<'_, Drawing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_cursor(&self, number: usize, direction: char) {
        if number > 0 {
            let mut drawing = self.drawing();
            drawing.bytes += "\x1b[";
            drawing.bytes += &number.to_string();
            drawing.bytes.push(direction);
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size().1
    }

    fn height(&self) -> u16 {
        size().0
    }

    fn move_cursor_up(&self, number: usize) -> io::Result<()> {
        self.move_cursor(number, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, number: usize) -> io::Result<()> {
        self.move_cursor(number, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, number: usize) -> io::Result<()> {
        self.move_cursor(number, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, number: usize) -> io::Result<()> {
        self.move_cursor(number, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        let mut drawing = self.drawing();
        drawing.bytes += text;
        drawing.bytes += "\r\n";
        Ok(())
    }

    /// Receives lines and their padding in turn.
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawing().line(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.drawing().clear_line();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let bytes = self.drawing().take();
        let mut output = io::stderr().lock();
        output.write_all(bytes.as_bytes())?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_lines_have_no_trailing_blanks_and_end_at_the_left() {
        let mut drawing = Drawing::default();
        for text in ["one  ", "   ", "", "  ", "[=> ]", ""] {
            drawing.line(text);
        }
        assert_eq!(drawing.take(), "one\r\n\r\n[=> ]\r");
        drawing.clear_line();
        drawing.line("two");
        assert_eq!(drawing.take(), "\r\x1b[2Ktwo\r");
        assert_eq!(drawing.take(), "");
    }
}
