//! Decompression within limits, in a separate thread.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};
use tokio_util::sync::CancellationToken;

use super::{Limits, UnpackError};

/// The maximum memory for an xz stream; the strongest preset needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// The maximum number of threads for an xz stream.
const XZ_THREADS: usize = 4;

/// The maximum zstd window, as a power of two: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The decompressed size up to which an archive is never treated as a decompression bomb.
const RATIO_FLOOR_BYTES: u64 = 16 << 20;

/// The size of the chunks passed between threads.
const CHUNK_BYTES: usize = 256 << 10;

/// The maximum number of waiting chunks: the writer is slow with small files, and fast with large ones.
const CHUNKS: usize = 8;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    /// Detects the compression from the first bytes of compressed data.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if head.starts_with(b"BZh") {
            Some(Self::Bzip2)
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Some(Self::Xz)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// Detects the compression from the start of a tarball.
    pub(super) fn of_tarball(head: &[u8]) -> Option<Self> {
        let is_plain = head.get(257..262) == Some(b"ustar");
        Self::of(head).or(is_plain.then_some(Self::None))
    }
}

/// Decompresses `compressed` in a separate thread and passes the data to `unpack`, which reads it to its end, or until
/// `stop` is cancelled. So the calling thread only has to write.
pub(super) fn decompressed<T>(
    compression: Compression,
    compressed: impl Read + Send,
    limits: &Limits,
    stop: &CancellationToken,
    unpack: impl FnOnce(&mut Chunks) -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let (full_sender, full) = sync_channel(CHUNKS);
    let (empty, empty_receiver) = channel();
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            produce(
                compression,
                compressed,
                limits,
                &full_sender,
                &empty_receiver,
            )
        });
        let mut chunks = Chunks {
            full,
            empty,
            current: Vec::new(),
            position: 0,
            has_ended: false,
            stop: stop.clone(),
        };
        let result = unpack(&mut chunks);
        let has_ended = chunks.has_ended;
        // The other thread may be waiting for a receiver of its chunks.
        drop(chunks);
        let produced = producer.join().unwrap_or_else(|_| {
            let panicked = io::Error::other("the decompressor panicked");
            Err(UnpackError::Broken(panicked))
        });
        match produced {
            _ if result.is_err() && stop.is_cancelled() => Err(UnpackError::Stopped),
            // An error in the data looks like its end to the reader.
            Err(error) if has_ended => Err(error),
            _ => result,
        }
    })
}

/// Decompressed data from the other thread.
pub(super) struct Chunks {
    full: Receiver<Vec<u8>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    has_ended: bool,
    stop: CancellationToken,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            if self.stop.is_cancelled() {
                return Err(io::Error::other(UnpackError::Stopped));
            }
            let Ok(next) = self.full.recv() else {
                self.has_ended = true;
                return Ok(0);
            };
            // The receiver is gone once everything is decompressed.
            drop(self.empty.send(std::mem::replace(&mut self.current, next)));
            self.position = 0;
        }
        let count = (&self.current[self.position..]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

/// Decompresses until the end, a limit, or until the reader is dropped.
fn produce(
    compression: Compression,
    compressed: impl Read,
    limits: &Limits,
    full: &SyncSender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), UnpackError> {
    let compressed_bytes = Cell::new(0_u64);
    let counted = Counted {
        inner: compressed,
        bytes: &compressed_bytes,
    };
    let mut decoder = decoder(compression, BufReader::with_capacity(64 << 10, counted))
        .map_err(UnpackError::Broken)?;
    let mut bytes = 0_u64;
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let count = read_up_to(&mut decoder, &mut chunk).map_err(UnpackError::Broken)?;
        if count == 0 {
            return Ok(());
        }
        bytes += count as u64;
        if bytes > limits.size_bytes {
            return Err(UnpackError::TooLarge(limits.size_bytes));
        }
        let most_bytes = compressed_bytes.get().saturating_mul(limits.ratio);
        if bytes > most_bytes.max(RATIO_FLOOR_BYTES) {
            return Err(UnpackError::Ratio(limits.ratio));
        }
        chunk.truncate(count);
        if full.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// Reads until `buffer` is full or the input ends, and returns the number of bytes.
pub(super) fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn decoder<'a>(
    compression: Compression,
    compressed: impl BufRead + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(compressed)),
        Compression::Xz => Box::new(XzStreams {
            current: Some(XzDecoder::new_stream(compressed, xz_stream()?)),
        }),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// Concatenated xz streams.
struct XzStreams<R: BufRead> {
    current: Option<XzDecoder<R>>,
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.current {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let rest = self.current.take().map(XzDecoder::into_inner);
            self.current = rest.map_or(Ok(None), next_stream)?;
        }
        Ok(0)
    }
}

/// Returns the next stream in `rest`, skipping zeros before it.
fn next_stream<R: BufRead>(mut rest: R) -> io::Result<Option<XzDecoder<R>>> {
    loop {
        let bytes = rest.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        if bytes.is_empty() {
            return Ok(None);
        } else if zeros == 0 {
            return Ok(Some(XzDecoder::new_stream(rest, xz_stream()?)));
        }
        rest.consume(zeros);
    }
}

/// Packages are compressed in independent blocks, so several are decompressed in parallel, as dpkg does.
fn xz_stream() -> io::Result<Stream> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = u32::try_from(processors.min(XZ_THREADS)).unwrap_or(1);
    let stream = MtStreamBuilder::new()
        .threads(threads)
        .memlimit_threading(XZ_MEMORY_BYTES / 2)
        .memlimit_stop(XZ_MEMORY_BYTES)
        .decoder()?;
    Ok(stream)
}

struct Counted<'a, R> {
    inner: R,
    bytes: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}
