//! The file of the rows: zstd frames that are compressed and decompressed independently of each other, and an index.
//!
//! The first frame has the first line, each further one some rows. The last is a skippable frame, which other zstd
//! readers ignore: the index with a line for each row of each frame, itself in zstd frames. It allows finding a build
//! and comparing nights without reading the rows, and shows that the file is complete.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memchr::memmem;
use rayon::prelude::*;
use serde::Deserialize;
use zstd::zstd_safe;

use crate::fs::{self, FileError};
use crate::report::SCHEMA;

/// A fast level that is small enough: digests do not compress at any level.
const LEVEL: i32 = 3;

/// The maximum size of a decompressed frame in bytes: files of early versions have all rows in one.
const FRAME_BYTES: u64 = 512 << 20;

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

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
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
    /// A line for each row, with an empty line after those of each frame. Each text has the lines of one or more frames.
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
        let first_line = decompress(path, &bytes[first])?;
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
        // Earlier versions wrote the whole index as one zstd frame.
        let frames_of_index = zstd_frames(index).ok_or_else(cut_off)?;
        let index: Vec<Vec<u8>> = frames_of_index
            .into_par_iter()
            .map(|range| decompress(path, &index[range]))
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
                    let wanted = lines.filter(|(row, _)| rows.contains(row));
                    wanted.map(|(row, line)| read(line, first + row)).collect()
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
        let lines = decompress(&self.path, &self.bytes[range.clone()])?;
        read(&lines, *first)
    }
}

/// Returns the ranges of consecutive zstd frames; `None` if the last one is cut off.
fn zstd_frames(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = start + zstd_safe::find_frame_compressed_size(&bytes[start..]).ok()?;
        ranges.push(start..end);
        start = end;
    }
    Some(ranges)
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
        while let Some(position) = finder.find(&lines[start..]) {
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

fn decompress(path: &Path, frame: &[u8]) -> Result<Vec<u8>, RowsError> {
    decoded(frame, FRAME_BYTES).map_err(|error| FileError::of("read", path)(error).into())
}

/// Decompresses a frame of at most `limit_bytes`: a manifest may come from a destination that others can write to.
fn decoded(frame: &[u8], limit_bytes: u64) -> io::Result<Vec<u8>> {
    // A frame tells its size, which need not be true.
    let told = zstd_safe::get_frame_content_size(frame).ok().flatten();
    let told = told.filter(|&size| size <= limit_bytes).unwrap_or_default();
    let mut bytes = Vec::with_capacity(usize::try_from(told).unwrap_or_default() + 1);
    let decoder = zstd::Decoder::new(frame)?;
    decoder.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        let message = format!(
            "a frame is larger than {} MiB when decompressed",
            limit_bytes >> 20
        );
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_LINE: &[u8] = b"{\"schema\":2,\"run_id\":\"night\"}\n";

    fn frames() -> [Frame; 2] {
        [("5.4.1", "5.4.2"), ("5.4.3", "5.4.1")].map(|(first, second)| Frame {
            lines: format!("row {first}\nrow {second}\n").into_bytes(),
            index: format!("[{first:?}]\n[{second:?}]\n").into_bytes(),
        })
    }

    fn found(file: &[u8], texts: &[&str]) -> Vec<(String, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("builds.jsonl.zst");
        fs::write(&path, file).unwrap();
        let rows = RowsFile::open(&path, "night").unwrap();
        let read = |line: &[u8], number| Ok((String::from_utf8_lossy(line).into_owned(), number));
        rows.find(texts, read).unwrap()
    }

    #[test]
    fn rows_are_found_by_their_lines_in_the_index() {
        let mut file = Vec::new();
        let mut writer = FrameWriter::new(&mut file, FIRST_LINE).unwrap();
        let compressed = frames().map(Frame::compressed);
        writer.add(compressed.into()).unwrap();
        writer.finish().unwrap();
        let row = |release: &str, number| (format!("row {release}"), number);
        assert_eq!(found(&file, &["5.4.1"]), [row("5.4.1", 2), row("5.4.1", 5)]);
        assert_eq!(
            found(&file, &["5.4.3", "4.2"]),
            [row("5.4.2", 3), row("5.4.3", 4)]
        );
        assert_eq!(found(&file, &["row"]), []);
    }

    #[test]
    fn an_index_that_is_one_zstd_frame_is_read() {
        let mut file = compress(FIRST_LINE).unwrap();
        let mut index = Vec::new();
        for frame in frames() {
            file.extend(compress(&frame.lines).unwrap());
            index.extend(frame.index);
            index.push(b'\n');
        }
        let index = compress(&index).unwrap();
        file.extend(INDEX_MAGIC);
        file.extend(u32::try_from(index.len()).unwrap().to_le_bytes());
        file.extend(index);
        assert_eq!(found(&file, &["5.4.3"]), [("row 5.4.3".to_owned(), 4)]);
    }

    #[test]
    fn a_frame_larger_than_its_limit_is_refused() {
        let bomb = zstd::encode_all(&vec![0; 3 << 20][..], 3).unwrap();
        assert!(bomb.len() < 1 << 10);
        assert_eq!(decoded(&bomb, 3 << 20).unwrap().len(), 3 << 20);
        let error = decoded(&bomb, 2 << 20).unwrap_err().to_string();
        assert_eq!(error, "a frame is larger than 2 MiB when decompressed");
    }
}
