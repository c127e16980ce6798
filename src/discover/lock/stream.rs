//! Locks of hundreds of thousands of kernels: read, compared and written in parts, by all processors, without a copy of
//! the whole text.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::Path;

use rayon::prelude::*;

use super::format::{CHUNK_LINES, Common, Head, put_kernel, read_line};
use super::text::LockText;
use super::{Lock, LockedKernel};
use crate::fs::{FileError, PendingFile};

/// How much of a lock is read at once.
const PART_BYTES: u64 = 8 << 20;
/// How many such chunks wait to be written.
const CHUNKS: usize = 16;

impl Lock {
    /// Reads a lock part by part. `None` where anything about it is unusual: then it is read as a whole, which says what.
    pub(super) fn read_in_parts(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let size_bytes = file.metadata().ok()?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut first = String::new();
        file.read_line(&mut first).ok()?;
        let first = first.trim_end_matches('\n');
        let text = LockText { path, text: first };
        let head = Head::read(&text, std::iter::once((1, first))).ok()?;
        let mut kernels: Vec<LockedKernel> = Vec::new();
        let mut part = String::new();
        loop {
            part.clear();
            let read = (&mut file).take(PART_BYTES).read_to_string(&mut part);
            if read.ok()? == 0 {
                break;
            }
            // To the end of the line.
            file.read_line(&mut part).ok()?;
            let text = LockText { path, text: &part };
            let lines: Vec<&str> = part.lines().collect();
            let read: Option<Vec<Vec<LockedKernel>>> = lines
                .par_chunks(CHUNK_LINES)
                .map(|lines| {
                    let mut common = Common::default();
                    let kernels = lines
                        .iter()
                        .map(|line| read_line(&text, 1, line, &head, &mut common).ok());
                    kernels.collect()
                })
                .collect();
            if kernels.is_empty() {
                // Lines are of about one length: no room is left over in the end, and nothing has to be moved meanwhile.
                let parts = size_bytes / (part.len() as u64).max(1) + 1;
                let lines = lines.len() as u64 * parts;
                kernels.reserve_exact(usize::try_from(lines + lines / 64).unwrap_or_default());
            }
            kernels.extend(read?.into_iter().flatten());
        }
        let is_ordered = kernels
            .par_windows(2)
            .all(|pair| pair[0].key() < pair[1].key());
        is_ordered.then(|| head.lock(kernels))
    }

    /// The text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Memory takes everything.
        drop(self.write_to(&mut bytes));
        bytes
    }

    fn write_to(&self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.header_bytes())?;
        for chunks in self.kernels.chunks(CHUNKS * CHUNK_LINES) {
            let texts: Vec<Vec<u8>> = chunks
                .par_chunks(CHUNK_LINES)
                .map(|kernels| {
                    let mut text = Vec::new();
                    for locked in kernels {
                        put_kernel(&mut text, locked);
                    }
                    text
                })
                .collect();
            for text in texts {
                output.write_all(&text)?;
            }
        }
        Ok(())
    }

    /// Whether a file has this text already.
    pub fn is_in(&self, path: &Path) -> Result<bool, FileError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FileError::of("read", path)(error)),
        };
        let mut comparison = Comparison {
            file: BufReader::new(file),
            part: Vec::new(),
        };
        if self.write_to(&mut comparison).is_err() {
            return Ok(false);
        }
        let end = comparison.file.fill_buf();
        Ok(end.map_err(FileError::of("read", path))?.is_empty())
    }

    /// Writes the text durably to a file, replacing what was there.
    pub(super) fn write_file(&self, path: &Path) -> Result<(), FileError> {
        let mut file = PendingFile::create(path)?;
        self.write_to(&mut file)
            .map_err(FileError::of("write", path))?;
        file.keep()
    }
}

/// A file that has to be what is written to it.
struct Comparison {
    file: BufReader<File>,
    part: Vec<u8>,
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.resize(bytes.len(), 0);
        self.file.read_exact(&mut self.part)?;
        if self.part == bytes {
            Ok(bytes.len())
        } else {
            Err(io::Error::other("another text"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
