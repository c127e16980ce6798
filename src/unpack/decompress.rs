//! Decompression within limits.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use liblzma::stream::{CONCATENATED, Stream};

use super::{Limits, UnpackError};

/// The most memory that an xz stream may ask for; the strongest preset takes 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// The largest zstd window, as the exponent of two: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Archives smaller than this are never taken for a trap.
const RATIO_FLOOR_BYTES: u64 = 16 << 20;

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
    /// By the first bytes of compressed data.
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

    /// By the start of a tarball.
    pub(super) fn of_tarball(head: &[u8]) -> Option<Self> {
        let is_plain = head.get(257..262) == Some(b"ustar");
        Self::of(head).or(is_plain.then_some(Self::None))
    }
}

/// Which limit was exceeded; told apart from an error of the data, which it reaches the reader as.
pub(super) type Exceeded = Rc<Cell<Option<UnpackError>>>;

/// Reads what is in `compressed`, as long as it stays within the limits.
pub(super) fn decompress(
    compression: Compression,
    compressed: impl Read + 'static,
    limits: Limits,
) -> Result<(impl Read, Exceeded), UnpackError> {
    let compressed_bytes = Rc::new(Cell::new(0));
    let exceeded = Exceeded::default();
    let counted = BufReader::with_capacity(
        64 << 10,
        Counted {
            inner: compressed,
            bytes: Rc::clone(&compressed_bytes),
        },
    );
    let metered = Metered {
        inner: decoder(compression, counted).map_err(UnpackError::Broken)?,
        bytes: 0,
        compressed_bytes,
        limits,
        exceeded: Rc::clone(&exceeded),
    };
    Ok((metered, exceeded))
}

fn decoder(
    compression: Compression,
    compressed: impl BufRead + 'static,
) -> io::Result<Box<dyn Read>> {
    Ok(match compression {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(compressed)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(compressed, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

struct Metered<R> {
    inner: R,
    bytes: u64,
    compressed_bytes: Rc<Cell<u64>>,
    limits: Limits,
    exceeded: Exceeded,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        let ratio_bytes = self
            .compressed_bytes
            .get()
            .saturating_mul(self.limits.ratio);
        let error = if self.bytes > self.limits.size_bytes {
            UnpackError::TooLarge(self.limits.size_bytes)
        } else if self.bytes > ratio_bytes.max(RATIO_FLOOR_BYTES) {
            UnpackError::Ratio(self.limits.ratio)
        } else {
            return Ok(count);
        };
        self.exceeded.set(Some(error));
        Err(io::Error::other("too large"))
    }
}
