//! Logs of steps: compressed, limited in size, durable.
//!
//! Input: the output of a job, as it comes. Output: a zstd file whose first line is the command that repeats this
//! build. Of a long log, the head and the tail are stored, with a line between them that has the number of omitted
//! bytes: the first error is near the start, the last messages are at the end. While a job runs, its log is a plain
//! file that can be followed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use zstd::stream::{read::Decoder, write::Encoder};

use crate::executor::LogSink;
use crate::fs::{FileError, PendingFile};

/// The compression level: logs become tens of times smaller, at hundreds of megabytes per second.
const LEVEL: i32 = 3;

/// The largest log that is read, uncompressed; larger than any log that this program writes.
const READ_LIMIT_BYTES: u64 = 64 << 20;

/// How much of a log is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes at the start.
    pub head_bytes: usize,
    /// Bytes at the end.
    pub tail_bytes: usize,
}

impl Default for LogLimits {
    /// 4 MiB each.
    fn default() -> Self {
        Self {
            head_bytes: 4 << 20,
            tail_bytes: 4 << 20,
        }
    }
}

/// Returns the path of an artifact's log relative to `out/`, from the artifact's path there:
/// `.logs/8.1.0+driver/x86_64/falco_debian_6.1.0_1.ko.log.zst`.
pub fn log_path(artifact_path: &Path) -> PathBuf {
    let mut name = Path::new(super::LOG_FOLDER)
        .join(artifact_path)
        .into_os_string();
    name.push(".log.zst");
    name.into()
}

/// A log being written; removed if dropped before [`Self::finish`].
pub struct LogWriter {
    path: PathBuf,
    /// The first line and the head, uncompressed.
    head: PendingFile,
    limits: LogLimits,
    head_bytes: usize,
    tail: VecDeque<u8>,
    left_out_bytes: u64,
    error: Option<io::Error>,
}

impl LogWriter {
    /// Starts a log with its first line, usually the command that repeats the build.
    pub fn create(path: &Path, first_line: &str, limits: LogLimits) -> Result<Self, FileError> {
        let mut head = PendingFile::create(path)?;
        let first_line = first_line.replace(['\n', '\r'], " ");
        writeln!(head, "{first_line}").map_err(FileError::of("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            head,
            limits,
            head_bytes: 0,
            tail: VecDeque::new(),
            left_out_bytes: 0,
            error: None,
        })
    }

    /// Returns the path of the plain file that has the first line and the head while the log is written. It is
    /// removed when the log is finished or dropped.
    pub fn live_path(&self) -> &Path {
        self.head.temporary_path()
    }

    /// Compresses the log and makes it durable under its name. Also returns the error of an earlier write.
    pub fn finish(self) -> Result<(), FileError> {
        let path = self.path.clone();
        let pending = PendingFile::create(&path)?;
        self.compress(pending)
            .map_err(FileError::of("write", path))?
            .keep()
    }

    fn compress(mut self, pending: PendingFile) -> io::Result<PendingFile> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut encoder = Encoder::new(pending, LEVEL)?;
        encoder.include_checksum(true)?;
        let head = self.head.file();
        head.seek(SeekFrom::Start(0))?;
        io::copy(head, &mut encoder)?;
        if self.left_out_bytes > 0 {
            encoder.write_all(marker(self.left_out_bytes).as_bytes())?;
        }
        let (first, second) = self.tail.as_slices();
        encoder.write_all(first)?;
        encoder.write_all(second)?;
        encoder.finish()
    }
}

impl LogSink for LogWriter {
    fn write(&mut self, bytes: &[u8]) {
        let room = self.limits.head_bytes - self.head_bytes;
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.head_bytes += head.len();
        if self.error.is_none() {
            self.error = self.head.write_all(head).err();
        }
        // Bytes that exceed the tail are dropped at once.
        let (lost, rest) = rest.split_at(rest.len().saturating_sub(self.limits.tail_bytes));
        let too_many = (self.tail.len() + rest.len()).saturating_sub(self.limits.tail_bytes);
        self.tail.drain(..too_many);
        self.tail.extend(rest);
        self.left_out_bytes += (lost.len() + too_many) as u64;
    }
}

/// Returns the line that replaces the omitted bytes.
fn marker(left_out_bytes: u64) -> String {
    format!("\n[driverkit-matrix: {left_out_bytes} bytes of this log were left out here]\n")
}

/// Reads a log; bytes that are not UTF-8 become `U+FFFD`.
pub fn read_log(path: &Path) -> Result<String, FileError> {
    let read = || {
        let mut bytes = Vec::new();
        let decoder = Decoder::new(File::open(path)?)?;
        let size_bytes = decoder.take(READ_LIMIT_BYTES).read_to_end(&mut bytes)?;
        if size_bytes as u64 == READ_LIMIT_BYTES {
            return Err(io::Error::other("larger than any log of this program"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_err(FileError::of("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use proptest::prelude::*;

    fn limits(head_bytes: usize, tail_bytes: usize) -> LogLimits {
        LogLimits {
            head_bytes,
            tail_bytes,
        }
    }

    #[test]
    fn a_log_is_named_after_its_artifact() {
        assert_eq!(
            log_path(Path::new("8.1.0+driver/x86_64/falco_debian_6.1.0_1.ko")),
            Path::new(".logs/8.1.0+driver/x86_64/falco_debian_6.1.0_1.ko.log.zst")
        );
    }

    #[test]
    fn an_unfinished_log_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.log.zst");
        let mut old = LogWriter::create(&path, "run it", LogLimits::default()).unwrap();
        old.write(b"old\n");
        old.finish().unwrap();
        let mut new = LogWriter::create(&path, "run it", LogLimits::default()).unwrap();
        new.write(b"new\n");
        drop(new);
        assert_eq!(read_log(&path).unwrap(), "run it\nold\n");
        assert_eq!(
            std::fs::read_dir(folder.path().join("a")).unwrap().count(),
            1
        );
    }

    #[test]
    fn line_breaks_in_the_first_line_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log.zst");
        let log = LogWriter::create(&path, "run a\nb", LogLimits::default()).unwrap();
        log.finish().unwrap();
        assert_eq!(read_log(&path).unwrap(), "run a b\n");
    }

    #[test]
    fn a_damaged_log_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log.zst");
        let mut log = LogWriter::create(&path, "run", LogLimits::default()).unwrap();
        log.write(&[b'x'; 10_000]);
        log.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 3);
        crate::fs::write(&path, bytes).unwrap();
        let error = read_log(&path).unwrap_err().to_string();
        assert!(
            error.contains("failed to read") && error.contains("b.log.zst"),
            "{error}"
        );
    }

    #[test]
    fn a_log_can_be_read_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log.zst");
        let mut log = LogWriter::create(&path, "run", LogLimits::default()).unwrap();
        log.write(b"  CC main.o\n");
        let live = log.live_path().to_owned();
        assert_eq!(fs::read_to_string(&live).unwrap(), "run\n  CC main.o\n");
        log.finish().unwrap();
        assert!(!live.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However the input is split: the log has all bytes, or exactly head and tail with the number of omitted
        /// bytes.
        #[test]
        fn a_log_has_all_bytes_or_exactly_head_and_tail(
            pieces in proptest::collection::vec(proptest::collection::vec(b'a'..=b'z', 0..40), 0..12),
            head_bytes in 0_usize..60,
            tail_bytes in 0_usize..60,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("b.log.zst");
            let mut log = LogWriter::create(&path, "run", limits(head_bytes, tail_bytes)).unwrap();
            for piece in &pieces {
                log.write(piece);
            }
            log.finish().unwrap();
            let all = String::from_utf8(pieces.concat()).unwrap();
            let expected = match all.len().checked_sub(head_bytes + tail_bytes) {
                Some(left_out) if left_out > 0 => format!(
                    "run\n{}\n[driverkit-matrix: {left_out} bytes of this log were left out here]\n{}",
                    &all[..head_bytes],
                    &all[all.len() - tail_bytes..],
                ),
                _ => format!("run\n{all}"),
            };
            prop_assert_eq!(read_log(&path).unwrap(), expected);
        }
    }
}
