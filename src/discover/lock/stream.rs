//! Locks of hundreds of thousands of kernels: read, compared and written in parts, by all processors, without a copy of
//! the whole text.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::Path;

use rayon::prelude::*;

use super::format::{CHUNK_LINES, Head, put_kernel, read_line};
use super::text::LockText;
use super::values::Values;
use super::{Lock, LockedKernel};
use crate::fs::{FileError, PendingFile};

/// How much of a lock one processor reads at once, in bytes.
const PART_BYTES: u64 = 1 << 20;
/// How many such chunks wait to be written.
const CHUNKS: usize = 16;

impl Lock {
    /// Reads a lock part by part. `None` where anything about it is unusual: then it is read as a whole, which says what.
    pub(super) fn read_in_parts(path: &Path) -> Option<Self> {
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).ok()?);
        let mut first = String::new();
        file.read_line(&mut first).ok()?;
        let first = first.trim_end_matches('\n');
        let text = LockText { path, text: first };
        let head = Head::read(&text, std::iter::once((1, first))).ok()?;
        let mut parts: Vec<(usize, Vec<LockedKernel>)> = Parts { file }
            .enumerate()
            .par_bridge()
            .map(|(number, part)| {
                let part = String::from_utf8(part.ok()?).ok()?;
                let text = LockText { path, text: &part };
                let mut values = Values::default();
                let kernels = part
                    .lines()
                    .map(|line| read_line(&text, 1, line, &head, &mut values).ok());
                let kernels: Vec<LockedKernel> = kernels.collect::<Option<_>>()?;
                // While they are at hand: to fetch those of a large lock from memory again takes long.
                is_ordered(&kernels).then_some((number, kernels))
            })
            .collect::<Option<_>>()?;
        parts.sort_unstable_by_key(|(number, _)| *number);
        let are_ordered = parts.windows(2).all(|pair| {
            let ((_, left), (_, right)) = (&pair[0], &pair[1]);
            let (last, first) = (left.last(), right.first());
            last.zip(first)
                .is_some_and(|(last, first)| last.key() < first.key())
        });
        let mut kernels = Vec::with_capacity(parts.iter().map(|(_, part)| part.len()).sum());
        for (_, part) in parts {
            kernels.extend(part);
        }
        are_ordered.then(|| head.lock(kernels))
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

fn is_ordered(kernels: &[LockedKernel]) -> bool {
    kernels.is_sorted_by(|left, right| left.key() < right.key())
}

/// The parts of a text, each of whole lines.
struct Parts {
    file: BufReader<File>,
}

impl Iterator for Parts {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut part = Vec::new();
        let mut read = || {
            (&mut self.file).take(PART_BYTES).read_to_end(&mut part)?;
            self.file.read_until(b'\n', &mut part)
        };
        match read() {
            Ok(_) if part.is_empty() => None,
            Ok(_) => Some(Ok(part)),
            Err(error) => Some(Err(error)),
        }
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
