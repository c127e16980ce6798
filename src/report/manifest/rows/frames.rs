//! The file of the rows: zstd frames that are compressed and decompressed independently of each other, and an index.
//!
//! The first frame has the first line, each further one some rows. The last is a skippable frame, which other zstd
//! readers ignore: the index with a line for each row of each frame, itself in zstd frames. It allows finding a build
//! and comparing nights without reading the rows, and shows that the file is complete.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memchr::memmem;
use rayon::prelude::*;
use serde::Deserialize;

use super::compressed::{FRAME_BYTES, compress, decoded, with_limits, zstd_frames};
use crate::fs::{self, FileError};
use crate::report::SCHEMA;

/// The first bytes of the index: a magic number that zstd reserves for skippable frames.
const INDEX_MAGIC: [u8; 4] = [0x5e, 0x2a, 0x4d, 0x18];

/// The first bytes of an index of older versions, which only has the names of builds and kernels.
const NAMES_MAGIC: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];

/// The number of bytes before the content of the index: its magic number and its length.
const INDEX_HEAD: usize = 8;

/// The reason why the rows of a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is cut off.
    #[error("{} is cut off or damaged: copy it again, or repeat the run", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// The file does not start with a schema.
    #[error("{} does not start with the schema of a manifest", path.display())]
    NoSchema {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version of the program.
    #[error("{} has manifest schema {found}, this version reads up to {SCHEMA}: use a newer driverkit-matrix", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: u32,
    },
    /// The rows belong to another run than the `run.json` beside them.
    #[error("{} belongs to run {found}, but the file beside it to run {expected}", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// The run that the file names.
        found: String,
        /// The run that was expected.
        expected: String,
    },
    /// A row is invalid.
    #[error("line {line} of {} is not a row of a manifest: {cause}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The cause.
        cause: serde_json::Error,
    },
}

/// Some rows with their lines of the index.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) lines: Vec<u8>,
    /// A line for each row.
    pub(super) index: Vec<u8>,
}

/// Compresses frames.
pub(super) struct FrameWriter<W> {
    writer: W,
    index: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Writes the frame of the first line.
    pub(super) fn new(mut writer: W, first_line: &[u8]) -> io::Result<Self> {
        writer.write_all(&compress(first_line)?)?;
        Ok(Self {
            writer,
            index: Vec::new(),
        })
    }

    /// Adds frames that were compressed together.
    pub(super) fn add(&mut self, frames: Vec<io::Result<Compressed>>) -> io::Result<()> {
        for frame in frames {
            let Compressed { lines, index } = frame?;
            self.writer.write_all(&lines)?;
            self.index.extend_from_slice(&index);
        }
        Ok(())
    }

    /// Writes the index.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.index.is_empty() {
            // Earlier versions expect a zstd frame.
            self.index = compress(b"")?;
        }
        let length = u32::try_from(self.index.len()).map_err(io::Error::other)?;
        self.writer.write_all(&INDEX_MAGIC)?;
        self.writer.write_all(&length.to_le_bytes())?;
        self.writer.write_all(&self.index)?;
        self.writer.flush()
    }
}

impl Frame {
    /// Compresses the rows and their lines of the index, each as a zstd frame.
    pub(super) fn compressed(mut self) -> io::Result<Compressed> {
        self.index.push(b'\n');
        Ok(Compressed {
            lines: compress(&self.lines)?,
            index: compress(&self.index)?,
        })
    }
}

/// A [`Frame`], compressed.
pub(super) struct Compressed {
    lines: Vec<u8>,
    index: Vec<u8>,
}

/// The fields of the first line that are checked.
#[derive(Deserialize)]
struct Header {
    schema: u32,
    run_id: String,
}

/// A file of rows whose first line has been checked.
pub(super) struct RowsFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The frames after the first, each with the number of its first line.
    frames: Vec<(Range<usize>, usize)>,
    /// A line for each row, with an empty line after those of each frame. Each text has the lines of one or more
    /// frames.
    index: Vec<Vec<u8>>,
    /// True if these lines are rows of this version's index.
    has_index_rows: bool,
}

impl RowsFile {
    /// Opens the file of run `run_id`, which must have a supported schema.
    pub(super) fn open(path: &Path, run_id: &str) -> Result<Self, RowsError> {
        let bytes = fs::read(path)?;
        let cut_off = || RowsError::CutOff {
            path: path.to_owned(),
        };
        let mut ranges = zstd_frames(&bytes).ok_or_else(cut_off)?;
        let first = ranges.first().cloned().ok_or_else(cut_off)?;
        let first_line = decompress(path, &bytes[first], FRAME_BYTES)?;
        let Ok(header) = serde_json::from_slice::<Header>(&first_line) else {
            return Err(RowsError::NoSchema {
                path: path.to_owned(),
            });
        };
        if header.schema > SCHEMA {
            return Err(RowsError::NewerSchema {
                path: path.to_owned(),
                found: header.schema,
            });
        }
        if header.run_id != run_id {
            return Err(RowsError::OtherRun {
                path: path.to_owned(),
                found: header.run_id,
                expected: run_id.to_owned(),
            });
        }
        let index = ranges.pop().filter(|_| !ranges.is_empty());
        let index = index.and_then(|range| bytes[range].split_at_checked(INDEX_HEAD));
        let (head, index) = index.ok_or_else(cut_off)?;
        let has_index_rows = head.starts_with(&INDEX_MAGIC);
        if !has_index_rows && !head.starts_with(&NAMES_MAGIC) {
            return Err(cut_off());
        }
        let frames_of_index = zstd_frames(index)
            .and_then(|frames| with_limits(index, frames, FRAME_BYTES))
            .ok_or_else(cut_off)?;
        let index: Vec<Vec<u8>> = frames_of_index
            .into_par_iter()
            .map(|(range, limit_bytes)| decompress(path, &index[range], limit_bytes))
            .collect::<Result<_, _>>()?;
        let counts: Vec<usize> = frames_of(&index)
            .map(|lines| memchr::memchr_iter(b'\n', lines).count())
            .collect();
        if counts.len() + 1 != ranges.len() {
            return Err(cut_off());
        }
        let mut line = 2;
        let frames = ranges.into_iter().skip(1).zip(counts);
        let frames = frames
            .map(|(range, count)| {
                let first = line;
                line += count;
                (range, first)
            })
            .collect();
        Ok(Self {
            path: path.to_owned(),
            bytes,
            frames,
            index,
            has_index_rows,
        })
    }

    /// Reads all frames on all cores: passes the lines of each, with the number of its first line counted from 1, to
    /// `read`.
    pub(super) fn read<T: Send>(
        &self,
        read: impl Fn(&[u8], usize) -> Result<T, RowsError> + Sync,
    ) -> Result<Vec<T>, RowsError> {
        let frames = self.frames.par_iter();
        frames.map(|frame| self.read_frame(frame, &read)).collect()
    }

    /// Passes the lines of the index to `read`, one frame at a time, on all cores. Returns `None` if an older version
    /// wrote the file.
    pub(super) fn read_index<T: Send>(
        &self,
        read: impl Fn(&[u8]) -> serde_json::Result<T> + Sync,
    ) -> Result<Option<Vec<T>>, RowsError> {
        if !self.has_index_rows {
            return Ok(None);
        }
        let frames: Vec<&[u8]> = frames_of(&self.index).collect();
        let found: serde_json::Result<Vec<T>> = frames.into_par_iter().map(&read).collect();
        found.map(Some).map_err(|_| RowsError::CutOff {
            path: self.path.clone(),
        })
    }

    /// Passes each row whose line of the index contains one of `texts`, with the number of its line in the file counted
    /// from 1, to `read`; works on all cores.
    pub(super) fn find<T: Send>(
        &self,
        texts: &[&str],
        read: impl Fn(&[u8], usize) -> Result<T, RowsError> + Sync,
    ) -> Result<Vec<T>, RowsError> {
        let frames: Vec<_> = self.frames.iter().zip(frames_of(&self.index)).collect();
        let found: Result<Vec<Vec<T>>, RowsError> = frames
            .into_par_iter()
            .map(|(frame, index)| {
                let rows = lines_with(index, texts);
                if rows.is_empty() {
                    return Ok(Vec::new());
                }
                self.read_frame(frame, |lines, first| {
                    let lines = lines.split(|&byte| byte == b'\n').enumerate();
                    let wanted = lines.filter(|(row, line)| rows.contains(row) && !line.is_empty());
                    let wanted: Vec<T> = wanted
                        .map(|(row, line)| read(line, first + row))
                        .collect::<Result<_, _>>()?;
                    if wanted.len() < rows.len() {
                        return Err(RowsError::CutOff {
                            path: self.path.clone(),
                        });
                    }
                    Ok(wanted)
                })
            })
            .collect();
        Ok(found?.into_iter().flatten().collect())
    }

    fn read_frame<T>(
        &self,
        (range, first): &(Range<usize>, usize),
        read: impl Fn(&[u8], usize) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        let lines = decompress(&self.path, &self.bytes[range.clone()], FRAME_BYTES)?;
        read(&lines, *first)
    }
}

/// Returns the lines of the index for each frame.
fn frames_of(index: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    index.iter().flat_map(|text| {
        let mut rest = &text[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = memmem::find(rest, b"\n\n").map_or(rest.len(), |end| end + 1);
            let (lines, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            Some(lines)
        })
    })
}

/// Returns the numbers, from 0, of the lines that contain one of `texts`.
fn lines_with(lines: &[u8], texts: &[&str]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for text in texts {
        let finder = memmem::Finder::new(text);
        let (mut start, mut number) = (0, 0);
        while start < lines.len()
            && let Some(position) = finder.find(&lines[start..])
        {
            let position = start + position;
            number += memchr::memchr_iter(b'\n', &lines[start..position]).count();
            found.insert(number);
            let end = memchr::memchr(b'\n', &lines[position..]);
            let Some(end) = end else { break };
            start = position + end + 1;
            number += 1;
        }
    }
    found
}

fn decompress(path: &Path, frame: &[u8], limit_bytes: u64) -> Result<Vec<u8>, RowsError> {
    decoded(frame, limit_bytes).map_err(|error| FileError::of("read", path)(error).into())
}

#[cfg(test)]
mod tests;
