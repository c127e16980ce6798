//! Reads, compares and writes locks in parts. All processors work in parallel, and no copy of the whole text is made: a
//! lock can have hundreds of thousands of kernels.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::iter;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use memchr::memchr_iter;
use rayon::prelude::*;

use super::format::{CHUNK_LINES, Head, put_kernel, read_line};
use super::text::LockText;
use super::values::Values;
use super::{Lock, LockedKernel};
use crate::fs::{FileError, PendingFile};

/// The size of the part of a lock that one processor reads at once, in bytes.
const PART_BYTES: usize = 1 << 20;
/// The room for a line that continues after its part, in bytes. A longer line needs an allocation.
const LINE_BYTES: usize = 1 << 14;
/// The number of chunks of lines that are in memory before they are written.
const CHUNKS: usize = 16;

impl Lock {
    /// Reads a lock in parts. Returns `None` if anything in it is unusual. The caller then reads it as a whole to
    /// report the problem.
    pub(super) fn read_in_parts(path: &Path) -> Option<Self> {
        let file = &File::open(path).ok()?;
        let size = file.metadata().ok().filter(Metadata::is_file)?.len();
        let mut first = String::new();
        BufReader::new(file).read_line(&mut first).ok()?;
        let start = first.len() as u64;
        let first = first.trim_end_matches('\n');
        let head = Head::read(&LockText { path, text: first }, iter::once((1, first))).ok()?;
        let part_bytes = PART_BYTES as u64;
        let parts: Vec<Vec<LockedKernel>> = (0..size.saturating_sub(start).div_ceil(part_bytes))
            .into_par_iter()
            .map_init(room_for_part, |bytes, number| {
                let start = start + number * part_bytes;
                read_lines(file, start, start + part_bytes, bytes).ok()?;
                let text = str::from_utf8(bytes).ok()?;
                let mut kernels = Vec::with_capacity(memchr_iter(b'\n', bytes).count() + 1);
                let mut values = Values::default();
                let text = LockText { path, text };
                for line in lines(text.text) {
                    let kernel = read_line(&text, 1, line, &head, &mut values).ok()?;
                    // The order is checked here, while the kernels are in the processor's cache. A later check of a
                    // large lock would be slow.
                    if !kernels.last().is_none_or(|last| follows(last, &kernel)) {
                        return None;
                    }
                    kernels.push(kernel);
                }
                Some(kernels)
            })
            .collect::<Option<_>>()?;
        let mut kernels = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for mut part in parts {
            let is_after = |last| part.first().is_none_or(|first| follows(last, first));
            if !kernels.last().is_none_or(is_after) {
                return None;
            }
            kernels.append(&mut part);
        }
        Some(head.lock(kernels))
    }

    /// Returns the text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to a `Vec` never fails.
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

    /// Whether a file already has this text.
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

    /// Writes the text durably to a file, and replaces its old content.
    pub(super) fn write_file(&self, path: &Path) -> Result<(), FileError> {
        let mut file = PendingFile::create(path)?;
        self.write_to(&mut file)
            .map_err(FileError::of("write", path))?;
        file.keep()
    }
}

fn follows(last: &LockedKernel, next: &LockedKernel) -> bool {
    last.key() < next.key()
}

/// Returns the lines of a text. It is faster than `str::lines`, but keeps the `\r` of a Windows line end, which JSON
/// allows as white space.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let last = (!text.is_empty() && !text.ends_with('\n')).then_some(text.len());
    let ends = memchr_iter(b'\n', text.as_bytes()).chain(last);
    let mut start = 0;
    ends.map(move |end| {
        let line = &text[start..end];
        start = end + 1;
        line
    })
}

fn room_for_part() -> Vec<u8> {
    Vec::with_capacity(PART_BYTES + LINE_BYTES)
}

/// Reads the lines that start at `start` or later, and before `end`, into `bytes`.
fn read_lines(file: &File, start: u64, end: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    // A line starts at `start` only if the byte before it is a line end.
    let before = start.saturating_sub(1);
    let mut file = BufReader::new(At {
        file,
        position: before,
    });
    let first = before + file.skip_until(b'\n')? as u64;
    if first < end {
        (&mut file).take(end - 1 - first).read_to_end(bytes)?;
        file.read_until(b'\n', bytes)?;
    }
    Ok(())
}

/// A reader of a shared file with its own position.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A writer that compares the written bytes with a file. It fails at the first difference.
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
