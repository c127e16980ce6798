//! Local files, read with the same checks as downloads.

use std::fs::metadata;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::Answer;
use super::body::Body;
use super::record::Validators;

/// The answer for a file that cannot be read.
pub(super) fn answer(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound => Answer::NoFile,
        _ => Answer::Read(error.to_string()),
    }
}

/// The size of a file in bytes, and its validators.
pub(super) fn validators(path: &Path) -> io::Result<(u64, Validators)> {
    let metadata = metadata(path)?;
    crate::fs::check_is_file(&metadata)?;
    let modified = metadata.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let validators = Validators {
        etag: None,
        last_modified: Some(since.as_nanos().to_string()),
    };
    Ok((metadata.len(), validators))
}

/// Copies a file into `body`.
pub(super) fn read(path: &Path, body: &mut Body) -> Result<(), Answer> {
    let mut file = crate::fs::open_file(path).map_err(|error| answer(&error))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => body.write(&buffer[..count])?,
            Err(error) => return Err(answer(&error)),
        }
    }
}
