//! zstd frames, with limits for frames that somebody else may have written.

use std::io::{self, Read as _};
use std::ops::Range;

use zstd::zstd_safe;

/// A fast level that is small enough: digests do not compress at any level.
const LEVEL: i32 = 3;

/// The maximum size of a decompressed frame in bytes: files of early versions have all rows in one.
pub(super) const FRAME_BYTES: u64 = 512 << 20;

/// The maximum memory that is reserved for a frame because of its stated size, in bytes.
const RESERVED_BYTES: usize = 16 << 20;

/// Compresses bytes as a zstd frame with a checksum.
pub(super) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

/// Returns the ranges of consecutive zstd frames; `None` if the last one is cut off.
pub(super) fn zstd_frames(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let end = start + zstd_safe::find_frame_compressed_size(&bytes[start..]).ok()?;
        ranges.push(start..end);
        start = end;
    }
    Some(ranges)
}

/// Returns the zstd frames of an index with the maximum size of each when decompressed, in bytes. Returns `None` if they
/// are too large together, or one of several does not state its size. Earlier versions wrote a single frame.
pub(super) fn with_limits(
    index: &[u8],
    frames: Vec<Range<usize>>,
    limit_bytes: u64,
) -> Option<Vec<(Range<usize>, u64)>> {
    if let [only] = &frames[..] {
        return Some(vec![(only.clone(), limit_bytes)]);
    }
    let mut left_bytes = limit_bytes;
    let frames = frames.into_iter().map(|range| {
        let bytes = content_bytes(&index[range.clone()])?;
        left_bytes = left_bytes.checked_sub(bytes)?;
        Some((range, bytes))
    });
    frames.collect()
}

/// Returns the size of a zstd frame when decompressed, as the frame states it, in bytes.
fn content_bytes(frame: &[u8]) -> Option<u64> {
    zstd_safe::get_frame_content_size(frame).ok().flatten()
}

/// Decompresses a frame of at most `limit_bytes`: a manifest may come from a destination that others can write to.
pub(super) fn decoded(frame: &[u8], limit_bytes: u64) -> io::Result<Vec<u8>> {
    // The stated size need not be true.
    let stated = content_bytes(frame).unwrap_or_default().min(limit_bytes);
    let stated = usize::try_from(stated).unwrap_or_default();
    let mut bytes = Vec::with_capacity(stated.min(RESERVED_BYTES) + 1);
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
    use std::io::Write as _;

    use super::*;

    #[test]
    fn frames_of_an_index_that_are_too_large_together_are_refused() {
        let frame = compress(&vec![0; 3 << 20]).unwrap();
        let limited = |index: &[u8], limit| with_limits(index, zstd_frames(index)?, limit);
        assert_eq!(limited(&frame, 1), Some(vec![(0..frame.len(), 1)]));
        let two = [&frame[..], &frame].concat();
        assert_eq!(limited(&two, (6 << 20) - 1), None);
        let sizes = limited(&two, 6 << 20).unwrap();
        let sizes = sizes.iter().map(|(_, bytes)| *bytes);
        assert_eq!(sizes.collect::<Vec<_>>(), [3 << 20, 3 << 20]);
        // Frames of a stream do not state their size.
        let mut stream = zstd::Encoder::new(Vec::new(), LEVEL).unwrap();
        stream.write_all(b"rows").unwrap();
        stream.flush().unwrap();
        let stream = stream.finish().unwrap();
        assert_eq!(limited(&[&frame[..], &stream].concat(), 6 << 20), None);
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
