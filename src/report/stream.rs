//! A run's events as lines of JSON, for programs that follow it.

use std::io::Write;

use super::{ReportError, Reporter};
use crate::event::Event;
use crate::fs::FileError;

/// Writes each event as one line of JSON.
pub struct JsonLines<W>(Option<W>);

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self(Some(output))
    }
}

impl<W: Write + Send> Reporter for JsonLines<W> {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        let Some(output) = &mut self.0 else {
            return Ok(());
        };
        let written = serde_json::to_writer(&mut *output, event)
            .map_err(std::io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .and_then(|()| output.flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                // The reader has gone; the run continues.
                self.0 = None;
                Ok(())
            }
            written => Ok(written.map_err(FileError::of("write", "standard output"))?),
        }
    }
}
