//! Compressed kernels.

use std::io::Read;

use super::KERNEL_IMAGE_BYTES;

/// Returns the content of a compressed kernel, or `None` if the compression format is unknown. Trailing bytes are
/// ignored: some kernels append their size.
pub(super) fn unpack(bytes: &[u8]) -> Option<std::io::Result<Vec<u8>>> {
    Some(match bytes {
        [0x1f, 0x8b, ..] => read(flate2::read::GzDecoder::new(bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(bytes).and_then(|decoder| read(decoder.single_frame()))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => read(liblzma::read::XzDecoder::new(bytes)),
        [b'B', b'Z', b'h', ..] => read(bzip2::read::BzDecoder::new(bytes)),
        [0x5d, 0, 0, ..] => liblzma::stream::Stream::new_lzma_decoder(u64::MAX)
            .map_err(Into::into)
            .and_then(|stream| read(liblzma::read::XzDecoder::new_stream(bytes, stream))),
        _ => return None,
    })
}

fn read(decoder: impl Read) -> std::io::Result<Vec<u8>> {
    let mut found = Vec::new();
    decoder
        .take(KERNEL_IMAGE_BYTES + 1)
        .read_to_end(&mut found)?;
    if found.len() as u64 > KERNEL_IMAGE_BYTES {
        return Err(std::io::Error::other(format!(
            "it is larger than {} MiB",
            KERNEL_IMAGE_BYTES >> 20
        )));
    }
    Ok(found)
}
