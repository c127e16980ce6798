//! Decodes a list to text: gzip, a byte order mark and UTF-16 are decoded. A web page is an error.

use std::io::Read as _;

use super::DiscoverError;

/// The maximum size of a list, compressed or not, in bytes.
pub(super) const MOST_BYTES: u64 = 512 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of compressed files that are not read, with the name of the compression.
const OTHER_COMPRESSIONS: [(&[u8], &str); 4] = [
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Whether bytes are a web page. Many servers return one with status 200 instead of a file.
pub(super) fn is_web_page(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// Decodes the list `name`.
pub(super) fn text(name: &str, bytes: Vec<u8>) -> Result<String, DiscoverError> {
    let wrong = |message: String| DiscoverError::Format {
        name: name.to_owned(),
        message,
    };
    let mut others = OTHER_COMPRESSIONS.iter();
    if let Some((_, compression)) = others.find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(wrong(format!(
            "it is compressed with {compression}: decompress it, or compress it with gzip, the only compression of lists \
             that is read"
        )));
    }
    let bytes = if bytes.starts_with(&GZIP) {
        unzip(&bytes).map_err(wrong)?
    } else {
        bytes
    };
    let text = match wide(&bytes) {
        Some(unit) => utf16(&bytes, unit).map_err(wrong)?,
        None => utf8(bytes).map_err(wrong)?,
    };
    let head = text.trim_start();
    // Conflict markers are reported later, with their line.
    if head.starts_with('<') && !head.starts_with("<<<<<<< ") {
        return Err(wrong(
            "it is a web page (HTML or XML): use the URL of the file itself".to_owned(),
        ));
    }
    if head.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(text)
}

fn unzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut unzipped = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(MOST_BYTES + 1)
        .read_to_end(&mut unzipped)
        .map_err(|error| format!("it is damaged gzip: {error}"))?;
    if unzipped.len() as u64 > MOST_BYTES {
        return Err(format!(
            "it is larger than {} MiB after decompression",
            MOST_BYTES >> 20
        ));
    }
    Ok(unzipped)
}

/// Returns the function that makes a UTF-16 unit of two bytes, or `None` if the text is not UTF-16. UTF-16 is detected
/// by its byte order mark, or by the zero byte of an ASCII character at the start.
fn wide(bytes: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    match bytes {
        [0xff, 0xfe, ..] | [1..=u8::MAX, 0, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, 1..=u8::MAX, ..] => Some(u16::from_be_bytes),
        _ => None,
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err("it is UTF-16 with an incomplete character at its end".to_owned());
    }
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    let text = text.map_err(|_| "it is UTF-16 with an unpaired surrogate".to_owned())?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

fn utf8(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&UTF8_MARK) {
        bytes.drain(..UTF8_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..good])
            .matches('\n')
            .count();
        format!("line {} has bytes that are not UTF-8", line + 1)
    })
}
